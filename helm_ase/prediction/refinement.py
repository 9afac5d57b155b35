"""Refinement of a prediction by one or a few SCF steps of the density functional, in ASE's units."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.electronic import ElectronicStructure
from helm_ase.prediction.electronic import ElectronicPrediction
from helm_ase.qc.reliability import OF_HCNOF_2, Reliability, Usual, reliability
from helm_ase.representation.overlap import SCF_OVERLAP_THRESHOLD
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM


@dataclass(frozen=True)
class Refinement:
    """Energy, orbital energies and, if requested, forces after SCF steps."""

    energy: float
    """Estimate of the converged DFT energy, eV: Harris and Foulkes', of all densities (DIIS)."""
    functional_energy: float
    """E[D] of the density that entered the last step, eV: an upper bound up to numerical integration."""
    structure: ElectronicStructure
    """Orbitals of the last Fock matrix, which is extrapolated from all (DIIS); Hartree, PySCF AO order."""
    iterations: int
    """Number of Fock matrices that were built."""
    last_change: float
    """Change of the energy by the last step, eV/atom, which is larger than the error that remains."""
    forces: NDArray[np.float64] | None = None
    """Analytic gradient at the refined density, eV/Å, (N, 3): one Fock matrix more is built for it, and it is
    taken at the density extrapolated from all.  Its error is of first order in what that density misses, and
    it is not the exact slope of ``energy`` (``tests/benchmarks/refined_forces.py`` measures by how much)."""

    @property
    def homo_lumo(self) -> tuple[float, float]:
        """HOMO and LUMO, eV."""
        return self.structure.homo * HARTREE_IN_EV, self.structure.lumo * HARTREE_IN_EV

    @property
    def gap(self) -> float:
        """LUMO − HOMO, eV."""
        return self.structure.gap * HARTREE_IN_EV


def refine(prediction: ElectronicPrediction, n_iterations: int = 1, forces: bool = False) -> Refinement:
    """SCF steps from the density of a predicted Hamiltonian.

    Parameters
    ----------
    prediction
        With its level of theory.
    n_iterations
        Fock matrices to build; the first is kept with the prediction.
    forces
        Also the analytic gradient.

    Raises
    ------
    SettingError
        If there is to be no iteration.
    """
    steps = prediction.scf.iterate(prediction.first_step, n_iterations)
    before = prediction.first_step.energy  # E[D], which the first step turns into Harris' energy
    if n_iterations > 1:
        before = prediction.scf.iterate(prediction.first_step, n_iterations - 1).harris_energy
    old = prediction.structure
    structure = ElectronicStructure.solve(
        torch.from_numpy(steps.fock), old.overlap, sum(old.electrons), prediction.multiplicity,
        threshold=SCF_OVERLAP_THRESHOLD, integrals=old.integrals,
    )  # fmt: skip
    gradient = None
    if forces:
        # One Fock matrix more, that of the refined density: a seventh of what the gradient itself costs.
        last = prediction.scf.iterate(prediction.first_step, n_iterations + 1)
        gradient = prediction.scf.forces(last.mixed, last.fock) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    return Refinement(
        steps.harris_energy * HARTREE_IN_EV,
        steps.step.energy * HARTREE_IN_EV,
        structure,
        n_iterations,
        abs(steps.harris_energy - before) * HARTREE_IN_EV / len(prediction.numbers),
        gradient,
    )


def refined(prediction: ElectronicPrediction, n_iterations: int) -> ElectronicPrediction:
    """The same molecule with the matrix, orbitals and density after so many SCF steps.

    Raises
    ------
    SettingError
        If there is to be no iteration.
    """
    return replace(prediction, structure=refine(prediction, n_iterations).structure)


def assess(prediction: ElectronicPrediction, usual: Usual = OF_HCNOF_2) -> Reliability:
    """Error bar of a prediction from the Fock matrix of its own density; in words beside what is usual."""
    steps = prediction.scf.iterate(prediction.first_step, 1)
    structure = prediction.structure
    return reliability(
        structure.hamiltonian.numpy(),
        structure.overlap.numpy(),
        steps,
        structure.molecule.atom.numpy(),
        HARTREE_IN_EV,
        usual,
    )
