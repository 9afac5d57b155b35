"""Rebuilding the Fock matrix of a label's own density with PySCF, to check the Hamiltonian in a file."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import BasisError
from helm_ase.qc.level import LevelOfTheory
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.scf_steps import SelfConsistency
from helm_ase.representation import LabelledMolecule


@dataclass(frozen=True)
class Rebuilt:
    """Fock matrix, energy and forces that PySCF computes for the density of a Hamiltonian."""

    fock: NDArray[np.float64]
    """F[D(H)], Hartree, PySCF AO order, shaped as the label's Hamiltonian."""
    energy: float
    """E[D(H)], Hartree; its error is of second order in that of the density."""
    forces: NDArray[np.float64] | None = None
    """Hartree/bohr, (N, 3), if they were asked for."""


def rebuild_fock(label: LabelledMolecule, level: LevelOfTheory) -> NDArray[np.float64]:
    """F[D(H)] in Hartree, PySCF AO order, shaped as ``label.hamiltonian``.

    A converged Hamiltonian reproduces itself: no other level of theory, AO order, charge or geometry than
    that of the label gives the same matrix back.

    Raises
    ------
    BasisError
        If the matrix does not fit the basis.
    ChargeError
        If charge and multiplicity contradict each other.
    """
    return rebuild(label, level).fock


def rebuild(label: LabelledMolecule, level: LevelOfTheory, forces: bool = False) -> Rebuilt:
    """Fock matrix, energy and, if asked for, forces of the density that a label's Hamiltonian implies.

    No self-consistency is sought: one Fock matrix is built, at about the cost of one SCF cycle.

    Parameters
    ----------
    label
        Geometry and Hamiltonian; two matrices (α, β) make an unrestricted calculation.
    level
        Level of theory of the label.
    forces
        Also compute the gradient, at about the cost of a few cycles.

    Raises
    ------
    BasisError
        If the matrix does not fit the basis.
    ChargeError
        If charge and multiplicity contradict each other.
    DatasetError
        If the label has no Hamiltonian.
    """
    mole = build_mole(label.numbers, label.positions, level.basis, label.charge, label.multiplicity)
    matrices = label.matrices
    if label.functions != mole.nao:
        raise BasisError(
            f"{label.name}: a matrix of {label.functions} functions does not fit {level.basis}, "
            f"which has {mole.nao}"
        )
    problem = SelfConsistency(mole, level, label.spin_channels)
    _, densities = problem.diagonalise(matrices)
    step = problem.build(densities)
    gradient = problem.forces(step.densities, step.fock) if forces else None
    fock = step.fock if label.spin_channels == 2 else step.fock.reshape(matrices.shape[1:])
    return Rebuilt(fock, step.energy, gradient)
