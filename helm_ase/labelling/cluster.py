"""Dask workers: local processes, those of a running scheduler, or jobs of a batch system."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from helm_ase.errors import SettingError
from helm_ase.system.worker_process import ignoring_interrupts

BATCH_SYSTEMS = {
    "htcondor": "HTCondorCluster", "local": "LocalCluster", "lsf": "LSFCluster", "moab": "MoabCluster",
    "oar": "OARCluster", "pbs": "PBSCluster", "sge": "SGECluster", "slurm": "SLURMCluster",
}  # fmt: skip
"""Name on the command line → class of dask-jobqueue (``local``: batch scripts run on this machine)."""


QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "500ms",
}
"""Dask settings that make it monitor workers less often; by default this costs some percent of a core."""


@dataclass(frozen=True)
class ClusterSettings:
    """Settings of the workers: local processes, a running scheduler, or batch jobs."""

    workers: int | None = None
    """Local workers, each one thread; default: one per core this process may use."""
    scheduler: str | None = None
    """Address (``tcp://host:8786``) or scheduler file (``.json``) of a running Dask cluster."""
    batch_system: str | None = None
    """dask-jobqueue class to use; queue, wall time and so on come from dask-jobqueue's own configuration."""
    jobs: int = 1
    """Number of batch jobs to submit."""

    def __post_init__(self) -> None:
        if self.scheduler and self.batch_system:
            raise SettingError("a scheduler and a batch system exclude each other: give one")
        if self.batch_system and self.batch_system not in BATCH_SYSTEMS:
            allowed = ", ".join(BATCH_SYSTEMS)
            raise SettingError(f"unknown batch system {self.batch_system!r}; allowed: {allowed}")
        if (self.workers is not None and self.workers < 1) or self.jobs < 1:
            raise SettingError(f"workers and jobs must be at least 1, not {self.workers} and {self.jobs}")


@contextmanager
def dask_client(settings: ClusterSettings) -> Iterator[Any]:
    """Client of a running, new local or new batch cluster; what was started here is stopped at the end.

    Raises
    ------
    SettingError
        If Dask is not installed or the scheduler does not answer.
    """
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise SettingError("labelling needs Dask: pip install 'helm-ase[label]'") from error
    if settings.scheduler:
        with _connect(settings.scheduler) as client:
            yield client
        return
    with dask.config.set(QUIET):
        with ignoring_interrupts():
            cluster = _start_cluster(settings)
        with cluster, Client(cluster) as client:
            yield client


def _connect(scheduler: str) -> Any:
    from distributed import Client

    where = {"scheduler_file": scheduler} if scheduler.endswith(".json") else {"address": scheduler}
    try:
        return Client(timeout=30, **where)
    except (OSError, ValueError, TimeoutError) as error:
        raise SettingError(f"no Dask scheduler answers at {scheduler}: {error}") from error


def _start_cluster(settings: ClusterSettings) -> Any:
    if settings.batch_system is None:
        from distributed import LocalCluster

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return LocalCluster(
            n_workers=settings.workers or cores,
            threads_per_worker=1,
            memory_limit=0,  # memory is limited per molecule, in its own process
            dashboard_address=":0",
            silence_logs="CRITICAL",  # errors come back with the tasks; the rest is noise at the end
            config=QUIET,
        )
    place = "dask_jobqueue.local" if settings.batch_system == "local" else "dask_jobqueue"
    try:
        module = import_module(place)
    except ImportError as error:
        raise SettingError("batch systems need dask-jobqueue: pip install 'helm-ase[cluster]'") from error
    try:
        cluster = getattr(module, BATCH_SYSTEMS[settings.batch_system])()
    except ValueError as error:
        raise SettingError(f"dask-jobqueue is not configured for {settings.batch_system}: {error}") from error
    cluster.scale(jobs=settings.jobs)
    return cluster
