"""Integrals needed for observables, which depend on geometry and basis but not on the density."""

from typing import Protocol

from torch import Tensor


class Integrals(Protocol):
    """Integrals over the functions of one molecule, in the AO order of its matrices; atomic units, float64.

    Symbols: N atoms, A functions, P points.  Nothing here has a gradient.
    """

    @property
    def nuclear_charges(self) -> Tensor:
        """Charges of the nuclei (of the cores where ECPs are used), (N,)."""

    @property
    def nuclear_positions(self) -> Tensor:
        """Bohr, (N, 3)."""

    @property
    def atom(self) -> Tensor:
        """Atom of each function, (A,), int64."""

    @property
    def degree(self) -> Tensor:
        """Degree l of each function, (A,), int64."""

    def position(self, origin: Tensor) -> Tensor:
        """⟨μ| r − O |ν⟩, bohr, (3, A, A)."""

    def second_moments(self, origin: Tensor) -> Tensor:
        """⟨μ| (r − O)_x (r − O)_y |ν⟩, bohr², (3, 3, A, A)."""

    def values(self, points: Tensor) -> Tensor:
        """Functions at points in bohr, (P, 3) → (P, A)."""

    def attraction(self, points: Tensor, density: Tensor) -> Tensor:
        """Σ_μν D_μν ⟨μ| 1/|r − R_p| |ν⟩ at points in bohr, (P, 3) → (P,), Hartree per charge; with gradient
        to D, (A, A)."""
