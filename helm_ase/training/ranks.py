"""Processes of a run that torchrun or Slurm has started."""

import os

from helm_ase.errors import SettingError
from helm_ase.training.recipe import Compute


def processes_outside() -> int:
    """Processes that torchrun or Slurm has started; 1 if neither has."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ.get("WORLD_SIZE", "1"))
    return int(os.environ.get("SLURM_NTASKS", "1")) if "SLURM_PROCID" in os.environ else 1


def is_first_process() -> bool:
    """Whether this process writes what only one may write."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def check_processes(compute: Compute) -> None:
    """Refuse to start if the number of processes is not that of the recipe.

    Raises
    ------
    SettingError
        If torchrun or Slurm has started another number of processes than the recipe names.
    """
    outside, inside = processes_outside(), compute.devices * compute.nodes
    if outside not in (1, inside):
        raise SettingError(
            f"{outside} processes were started, but the recipe names {compute.devices} devices on "
            f"{compute.nodes} nodes: they must be as many"
        )
