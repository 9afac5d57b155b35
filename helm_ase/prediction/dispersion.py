"""Energies that are added to that of the network: the model's energy baseline and, on request, dispersion."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import SettingError
from helm_ase.prediction.crystals import CrystalEnergy
from helm_ase.prediction.energy_baseline import tight_binding_of
from helm_ase.qc.dispersion import Dispersion
from helm_ase.representation.energy_baseline import EnergyBaselineResult, EnergyMethod
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

NAMES = {"d3bj": "D3(BJ)"}
"""Value of the keyword ``dispersion`` → name of the correction in output."""


@dataclass(frozen=True)
class WithDispersion:
    """Energy and gradient of a baseline, or zero, plus dispersion; charges of the baseline."""

    baseline: EnergyMethod | None
    dispersion: Dispersion

    def __call__(
        self, numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int, multiplicity: int
    ) -> EnergyBaselineResult:
        """Compute both; the state matters to the baseline only."""
        added = self.dispersion(numbers, positions)
        if self.baseline is None:
            return added
        baseline = self.baseline(numbers, positions, charge, multiplicity)
        return EnergyBaselineResult(
            baseline.energy + added.energy,
            baseline.gradient + added.gradient,
            baseline.charges,
            baseline.spin,
        )


def dispersion_of(checkpoint: Checkpoint, kind: str) -> Dispersion:
    """Dispersion correction with the parameters of the functional of the model's labels.

    Raises
    ------
    SettingError
        If the energy baseline or the functional holds dispersion, the functional has no parameters, or dftd3
        is not installed.
    """
    if checkpoint.energy_baseline.dispersion:
        raise SettingError(
            f"the energy baseline of model {checkpoint.name!r} holds dispersion: {kind} would count it twice"
        )
    return Dispersion(kind, checkpoint.level.functional)


def add_to_molecule(
    energy: float, forces: NDArray[np.float64] | None, atoms: Atoms, added: EnergyMethod | None
) -> tuple[float, NDArray[np.float64] | None]:
    """Energy (eV) and forces (eV/Å, (N, 3)) of the functional, plus dispersion if that is what is added.

    Parameters
    ----------
    energy, forces
        After SCF steps, which hold no energy baseline.
    atoms
        The molecule.
    added
        What :func:`added_energy` gave.
    """
    if not isinstance(added, WithDispersion):
        return energy, forces
    correction = added.dispersion(atoms.numbers, atoms.positions)
    if forces is not None:
        forces = forces - correction.gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    return energy + correction.energy * HARTREE_IN_EV, forces


def add_to_crystal(prediction: CrystalEnergy, atoms: Atoms, added: EnergyMethod | None) -> CrystalEnergy:
    """What the network says about a crystal, plus dispersion if that is what is added.

    Parameters
    ----------
    prediction
        Answer of the network.
    atoms
        The crystal.
    added
        What :func:`added_energy` gave.
    """
    if not isinstance(added, WithDispersion):
        return prediction
    cell = np.asarray(atoms.cell.complete())
    energy, gradient, strain = added.dispersion.of_crystal(atoms.numbers, atoms.positions, cell, atoms.pbc)
    forces, stress = prediction.forces, prediction.stress
    if forces is not None:
        forces = forces - gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    if stress is not None:
        stress = stress + strain * HARTREE_IN_EV / abs(atoms.cell.volume)
    return CrystalEnergy(prediction.energy + energy * HARTREE_IN_EV, forces, stress)


def note_dispersion(atoms: Atoms, kind: str | None) -> None:
    """Record in ``atoms.info`` that the energies contain dispersion; remove the entry if they do not.

    Structure files keep energies and forces, but not how they were computed.
    """
    atoms.info.pop("dispersion", None)
    if kind is not None:
        atoms.info["dispersion"] = kind


def added_energy(checkpoint: Checkpoint, dispersion: str | None = None) -> EnergyMethod | None:
    """Method for the part of the energy that the network does not predict; None if there is none.

    Parameters
    ----------
    checkpoint
        With its energy baseline and level of theory.
    dispersion
        ``d3bj`` or None.

    Raises
    ------
    SettingError, CheckpointError
        As :func:`dispersion_of`; or if tblite is not installed, or gives other energies than in training.
    """
    baseline = tight_binding_of(checkpoint)
    return baseline if dispersion is None else WithDispersion(baseline, dispersion_of(checkpoint, dispersion))
