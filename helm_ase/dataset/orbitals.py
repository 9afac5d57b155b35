"""Orbitals of a label's Hamiltonian and what follows from them; numpy, float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from helm_ase.qc.response import uncoupled_polarizability

SMALLEST_OVERLAP = 1e-5
"""Directions of the AO space with a smaller overlap eigenvalue are dropped, as where a model is used."""


@dataclass(frozen=True)
class Orbitals:
    """Solutions of H C = S C ε of each spin: one in a closed shell, α and β in an open one."""

    energies: tuple[NDArray[np.float64], ...]
    """Hartree, ascending, (M,) each."""
    coefficients: tuple[NDArray[np.float64], ...]
    """With Cᵀ S C = 1, (A, M) each."""
    occupied: tuple[int, ...]
    """Number of occupied orbitals of each spin."""

    @classmethod
    def solve(
        cls, hamiltonian: NDArray[np.float64], orthonormaliser: NDArray[np.float64], occupied: Sequence[int]
    ) -> "Orbitals":
        """Diagonalise H, (s, A, A), in the space that the columns X of ``orthonormaliser``, (A, M), span."""
        x = orthonormaliser
        solutions = [scipy.linalg.eigh(x.T @ h @ x) for h in hamiltonian]
        return cls(tuple(e for e, _ in solutions), tuple(x @ v for _, v in solutions), tuple(occupied))

    @property
    def electrons(self) -> int:
        """Electrons in each occupied orbital."""
        return 2 // len(self.occupied)

    @property
    def gap(self) -> float:
        """LUMO − HOMO over both spins, Hartree; NaN if there is no occupied or no virtual orbital."""
        pairs = list(zip(self.energies, self.occupied, strict=True))
        homo = max((e[n - 1] for e, n in pairs if n), default=np.nan)
        lumo = min((e[n] for e, n in pairs if n < len(e)), default=np.nan)
        return float(lumo - homo)

    @cached_property
    def densities(self) -> NDArray[np.float64]:
        """Σ_i C_i C_iᵀ over the occupied orbitals of each spin, one electron in each, (s, A, A)."""
        pairs = zip(self.coefficients, self.occupied, strict=True)
        return np.stack([c[:, :n] @ c[:, :n].T for c, n in pairs])

    def dipole(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Dipole moment of the electrons, e·a0, (3,); ``position`` is ⟨μ| r |ν⟩ in bohr, (3, A, A)."""
        return np.asarray(-self.electrons * np.einsum("xab,sab->x", position, self.densities))

    def polarizability(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """*Uncoupled* polarizability, which is what H alone implies, a0³, (3, 3)."""
        spins = zip(self.energies, self.coefficients, self.occupied, strict=True)
        return np.asarray(sum(uncoupled_polarizability(*s, position, self.electrons) for s in spins))

    def populations(self, overlap: NDArray[np.float64], atom: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mulliken population of each atom, e, (N,); ``atom`` is that of each function, (A,)."""
        each = self.electrons * (self.densities * overlap).sum((0, 2))
        return np.asarray(np.bincount(atom, each), dtype=np.float64)

    def bond_orders(self, overlap: NDArray[np.float64], atom: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mayer bond orders, (N, N); the diagonal is not a bond order.

        B_AB = 2 Σ_σ Σ_{μ∈A, ν∈B} (P_σ S)_μν (P_σ S)_νμ over both spins, P of one electron in each orbital.
        """
        shares = self.densities @ overlap
        products = 2 * self.electrons * (shares * shares.swapaxes(1, 2)).sum(0)
        member = np.eye(atom[-1] + 1)[atom]  # (A, N)
        return np.asarray(member.T @ products @ member)


def orthonormaliser(overlap: NDArray[np.float64]) -> NDArray[np.float64]:
    """X = U λ^(−½) over the eigenvalues of S above 1e-5, (A, M); its columns are orthogonal to each other."""
    values, vectors = scipy.linalg.eigh(overlap)
    keep = values > SMALLEST_OVERLAP
    return np.asarray(vectors[:, keep] / np.sqrt(values[keep]))
