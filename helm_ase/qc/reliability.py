"""How far a predicted Hamiltonian is from reproducing itself: an error bar that needs no reference."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helm_ase.qc.refinement import Refined


@dataclass(frozen=True)
class Reliability:
    """Signs of an error, all zero for a converged Hamiltonian and all independent of the molecule's size."""

    fock_residual: float
    """Mean |F[D(H)] − H| over matrix elements, Hartree."""
    commutator_norm: float
    """Frobenius norm of F D S − S D F, the error that DIIS minimises, over the number of AOs, Hartree."""
    energy_change: float
    """What one SCF step is expected to take from the energy, per atom, eV; negative."""
    density_change: float
    """Electrons that one SCF step moves to other orbitals, over all electrons."""


def reliability(
    hamiltonian: NDArray[np.float64], overlap: NDArray[np.float64], found: Refined, atoms: int, hartree: float
) -> Reliability:
    """Compare a Hamiltonian with the Fock matrix of its own density.

    Parameters
    ----------
    hamiltonian
        H, Hartree, PySCF AO order, (s, A, A).
    overlap
        S, (A, A).
    found
        One step from D(H).
    atoms
        Their number.
    hartree
        In eV.
    """
    before, after = found.step.densities, found.densities
    fock, spins = found.step.fock, len(before)
    products = fock @ before @ overlap
    commutator = products - products.swapaxes(1, 2)
    electrons = float(np.einsum("sab,ba->", before, overlap))
    shared = float(np.einsum("sab,sba->", before @ overlap, after @ overlap)) * spins / 2
    return Reliability(
        fock_residual=float(np.abs(fock - hamiltonian).mean()),
        commutator_norm=float(np.linalg.norm(commutator)) / len(overlap),
        energy_change=(found.harris_energy - found.step.energy) * hartree / atoms,
        density_change=max(electrons - shared, 0.0) / electrons if electrons else 0.0,
    )
