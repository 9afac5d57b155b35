"""From H and S to orbitals: H C = S C ε, occupations, levels, density matrix.

torch, float64, no PySCF: what a Hamiltonian implies does not depend on where it came from.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from helm_ase.errors import BasisError, ChargeError, PredictionError

OVERLAP_THRESHOLD = 1e-6
"""Directions of the AO space with a smaller overlap eigenvalue are dropped (canonical orthogonalisation)."""


@dataclass(frozen=True)
class ElectronicStructure:
    """Orbitals of one molecule.

    Symbols: s spins (1 closed shell, 2 for α and β), A functions, M ≤ A orbitals.
    """

    hamiltonian: Tensor
    """Hartree, shape (s, A, A)."""
    overlap: Tensor
    """Shape (A, A)."""
    orbital_energies: Tensor
    """Hartree, ascending, shape (s, M)."""
    orbitals: Tensor
    """Coefficients C with Cᵀ S C = 1, shape (s, A, M)."""
    electrons: tuple[int, ...]
    """Electrons in each spin channel: one even number, or (α, β)."""

    @classmethod
    def solve(
        cls,
        hamiltonian: Tensor,
        overlap: Tensor,
        n_electrons: int,
        multiplicity: int = 1,
        threshold: float = OVERLAP_THRESHOLD,
    ) -> "ElectronicStructure":
        """Solve the generalised eigenvalue problem.

        Parameters
        ----------
        hamiltonian
            Hartree, shape (A, A) or (s, A, A).
        overlap
            Shape (A, A).
        n_electrons
            Electrons that the basis holds (without those of core potentials).
        multiplicity
            2S + 1.
        threshold
            Smallest eigenvalue of the overlap that is kept.

        Raises
        ------
        BasisError
            If the shapes do not fit.
        ChargeError
            If electrons and multiplicity contradict each other or exceed the orbitals.
        PredictionError
            If a matrix element is not finite.
        """
        h = hamiltonian.to(torch.float64)
        h = h[None] if h.ndim == 2 else h
        s = overlap.to(torch.float64)
        if s.ndim != 2 or s.shape[0] != s.shape[1] or len(h) not in (1, 2) or h.shape[1:] != s.shape:
            raise BasisError(
                f"Hamiltonian {tuple(hamiltonian.shape)} and overlap {tuple(s.shape)} do not fit; "
                f"wanted (A, A) or (spins, A, A) with one or two spins, and (A, A)"
            )
        if not (torch.isfinite(h).all() and torch.isfinite(s).all()):
            raise PredictionError("the Hamiltonian or overlap holds numbers that are not finite")
        x = canonical_orthogonaliser(s, threshold)  # (A, M)
        energies, vectors = torch.linalg.eigh(x.T @ h @ x)
        electrons = spin_channels(n_electrons, multiplicity, len(h))
        if max(n if len(h) == 2 else n // 2 for n in electrons) > energies.shape[1]:
            raise ChargeError(f"{n_electrons} electrons do not fit into {energies.shape[1]} orbitals")
        return cls(h, s, energies, x @ vectors, electrons)

    @property
    def n_spins(self) -> int:
        """1 for closed shell, 2 for α and β."""
        return len(self.electrons)

    @cached_property
    def occupied(self) -> tuple[int, ...]:
        """Number of occupied orbitals of each spin."""
        return tuple(n if self.n_spins == 2 else n // 2 for n in self.electrons)

    @cached_property
    def occupations(self) -> Tensor:
        """Aufbau occupations, 2 / 0 or 1 / 0, shape (s, M)."""
        occupations = torch.zeros_like(self.orbital_energies)
        for spin, n in enumerate(self.occupied):
            occupations[spin, :n] = 2.0 / self.n_spins
        return occupations

    @property
    def homo(self) -> float:
        """Highest occupied level over both spins, Hartree; −inf without electrons."""
        levels = [self.orbital_energies[s, n - 1] for s, n in enumerate(self.occupied) if n]
        return max((float(e) for e in levels), default=float("-inf"))

    @property
    def lumo(self) -> float:
        """Lowest empty level over both spins, Hartree; +inf if the basis is full."""
        full = self.orbital_energies.shape[1]
        levels = [self.orbital_energies[s, n] for s, n in enumerate(self.occupied) if n < full]
        return min((float(e) for e in levels), default=float("inf"))

    @property
    def gap(self) -> float:
        """LUMO − HOMO, Hartree."""
        return self.lumo - self.homo

    @property
    def fermi_level(self) -> float:
        """Middle of the gap, Hartree; a level itself if the other side does not exist."""
        finite = [e for e in (self.homo, self.lumo) if abs(e) != float("inf")]
        return sum(finite) / len(finite)

    @cached_property
    def spin_densities(self) -> Tensor:
        """Density matrix of each spin channel, shape (s, A, A); Tr(D S) is its number of electrons."""
        weighted = self.orbitals * self.occupations[:, None, :]
        return weighted @ self.orbitals.transpose(1, 2)

    @property
    def density_matrix(self) -> Tensor:
        """Total density matrix, shape (A, A)."""
        return self.spin_densities.sum(0)


def canonical_orthogonaliser(overlap: Tensor, threshold: float = OVERLAP_THRESHOLD) -> Tensor:
    """X = U λ^(−1/2) over the eigenvalues of S above ``threshold``, shape (A, M).

    Raises
    ------
    BasisError
        If S has a clearly negative eigenvalue, i.e. is no overlap matrix.
    """
    eigenvalues, vectors = torch.linalg.eigh(overlap)
    if float(eigenvalues[0]) < -1e-8:
        raise BasisError(f"the overlap has the eigenvalue {float(eigenvalues[0]):.3e}; it must be positive")
    keep = eigenvalues > threshold
    return vectors[:, keep] * eigenvalues[keep].rsqrt()


def spin_channels(n_electrons: int, multiplicity: int, n_matrices: int) -> tuple[int, ...]:
    """Electrons in each channel for one matrix (closed shell) or two (α, β).

    Raises
    ------
    ChargeError
        If the number of electrons and the multiplicity have the wrong parity, or one matrix is given for
        an open shell.
    """
    unpaired = multiplicity - 1
    if n_electrons < 0 or unpaired < 0 or unpaired > n_electrons or (n_electrons - unpaired) % 2:
        raise ChargeError(
            f"{n_electrons} electrons cannot have multiplicity {multiplicity}; "
            f"{'odd' if n_electrons % 2 else 'even'} electron counts need "
            f"{'even' if n_electrons % 2 else 'odd'} multiplicities"
        )
    if n_matrices == 2:
        return (n_electrons + unpaired) // 2, (n_electrons - unpaired) // 2
    if unpaired:
        raise ChargeError(f"multiplicity {multiplicity} needs two Hamiltonians (α, β); one was given")
    return (n_electrons,)
