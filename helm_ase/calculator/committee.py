"""A committee: several models as one calculator; the spread of their results estimates the error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.mixing import AverageCalculator
from numpy.typing import NDArray

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.errors import SettingError
from helm_ase.representation.level import physical_differences


@dataclass(frozen=True)
class Spread:
    """Standard deviation over the members of a committee."""

    energy: float
    """Standard deviation of the energy, eV."""
    forces: NDArray[np.float64]
    """Length of the vector of standard deviations of each atom's force, eV/Å, (N,)."""


class HELMCommittee(AverageCalculator):
    """Calculator for the mean energy and forces of several models; :meth:`get_spread` gives their spread.

    Models trained on the same labels agree better with one another than with DFT: the spread ranks geometries
    by uncertainty, but is not a confidence interval.

    Parameters
    ----------
    models
        Names, paths or URLs of two or more checkpoints of one level of theory.
    keywords
        Further keywords of :class:`~helm_ase.HELMCalculator`, for all.

    Raises
    ------
    SettingError
        If there are fewer than two models, one twice, or they have learnt different levels of theory.
    CheckpointError
        If one of them cannot be loaded.
    """

    name = "helm-committee"

    def __init__(self, models: Sequence[str], **keywords: Any) -> None:
        if "atoms" in keywords:
            raise SettingError("atoms= is not a keyword of a committee: write atoms.calc = committee")
        if isinstance(models, str) or len(models) < 2:
            raise SettingError(f"a committee needs a list of two models or more, not {models!r}")
        self.members = [HELMCalculator(model=model, **keywords) for model in models]
        first, *others = (member.checkpoint for member in self.members)
        if len({member.checkpoint.sha256 for member in self.members}) < len(self.members):
            raise SettingError(f"{', '.join(models)} hold one checkpoint twice: it would agree with itself")
        for other in others:
            if different := physical_differences(first.level, other.level):
                raise SettingError(
                    f"{first.name} and {other.name} have learnt different levels of theory "
                    f"({different}): their mean would mean nothing"
                )
        self.extra_results: dict[str, NDArray[np.float64]] = {}
        super().__init__(self.members)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what changed since the last calculation, including charge and spin in ``atoms.info``."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        return changes or self.members[0].check_state(atoms, tol)

    def calculate(self, atoms: Atoms, properties: Sequence[str], system_changes: Sequence[str]) -> None:
        """Compute with every model; ``extra_results`` keeps their single results, ``results`` the means."""
        super().calculate(atoms, properties, system_changes)
        each = [key for key in self.results if key.endswith("_contributions")]
        self.extra_results = {key: np.asarray(self.results.pop(key)) for key in each}

    def get_spread(self, atoms: Atoms) -> Spread:
        """Standard deviations of the models' energies and forces for a geometry."""
        self.calculate(atoms, ["forces", "energy"], [])  # forces bring the energy along
        energies = self.extra_results["energy_contributions"]  # (members,)
        forces = self.extra_results["forces_contributions"]  # (members, N, 3)
        deviation = np.sqrt(forces.var(axis=0, ddof=1).sum(axis=1))
        return Spread(float(energies.std(ddof=1)), deviation)
