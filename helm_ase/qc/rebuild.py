"""The Fock matrix of a label's own density: what PySCF says about a matrix that a file holds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from helm_ase.errors import BasisError
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.representation import LabelledMolecule


@dataclass(frozen=True)
class Rebuilt:
    """What PySCF makes of the density that a Hamiltonian implies."""

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
    """
    mole = build_mole(label.numbers, label.positions, level.basis, label.charge, label.multiplicity)
    if label.hamiltonian.shape[-1] != mole.nao:
        raise BasisError(
            f"{label.name}: a matrix of {label.hamiltonian.shape[-1]} functions does not fit {level.basis}, "
            f"which has {mole.nao}"
        )
    mf = kohn_sham(mole, level)
    if label.spin_channels == 2 and mole.spin == 0:
        mf = mf.to_uks()
    _occupy(mf, label.hamiltonian)
    density = mf.make_rdm1()
    core = mf.get_hcore()
    potential = mf.get_veff(mole, density)
    fock = np.asarray(core + potential)
    mf.e_tot = float(mf.energy_tot(density, core, potential))
    return Rebuilt(fock, mf.e_tot, -np.asarray(mf.nuc_grad_method().kernel()) if forces else None)


def _occupy(mf: Any, hamiltonian: NDArray[np.float64]) -> None:
    """Give a mean-field object the aufbau orbitals of a Hamiltonian, as if it had converged to them."""
    overlap = mf.get_ovlp()
    solved = [scipy.linalg.eigh(h, overlap) for h in hamiltonian.reshape(-1, *overlap.shape)]
    energies, orbitals = (np.stack(x) for x in zip(*solved, strict=True))
    occupations = np.zeros_like(energies)
    for row, electrons in zip(occupations, mf.mol.nelec, strict=False):
        row[:electrons] = 2.0 if len(energies) == 1 else 1.0
    if len(energies) == 1:
        energies, orbitals, occupations = energies[0], orbitals[0], occupations[0]
    mf.mo_energy, mf.mo_coeff, mf.mo_occ, mf.converged = energies, orbitals, occupations, True
