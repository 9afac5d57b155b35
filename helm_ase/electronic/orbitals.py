"""From H and S to orbitals: H C = S C ε, occupations, orbital energies, densities.

Implemented in torch, float64, without PySCF, so that Hamiltonians from any source can be used.  Orbital
energies, densities and all that follows from them have exact gradients with respect to H; orbitals have none,
because inside a degenerate set they are arbitrary.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from helm_ase.electronic.differentiable import Eigensystem
from helm_ase.electronic.frontier import FrontierLevels, frontier_levels
from helm_ase.electronic.integrals import Integrals
from helm_ase.electronic.occupations import entropy, fermi_occupations
from helm_ase.errors import BasisError, ChargeError, PredictionError, SettingError
from helm_ase.representation.overlap import OVERLAP_THRESHOLD, canonical_orthogonaliser, drops_directions

LARGE = 1000
"""Functions from which on the levels around the gap are computed without the others, which is faster
(``tests/benchmarks/sizes.py``)."""
LARGEST_SKEW = 0.01
"""Largest asymmetry of a Hamiltonian, Hartree, that is accepted and removed by symmetrising."""


@dataclass(frozen=True)
class Orbitals:
    """Orbitals of one molecule with their occupations and densities; atomic units.

    Symbols: s spins (1 closed shell, 2 for α and β), A functions, M ≤ A orbitals.
    """

    hamiltonian: Tensor
    """Hartree, shape (s, A, A)."""
    overlap: Tensor
    """Shape (A, A)."""
    electrons: tuple[int, ...]
    """Electrons in each spin channel: one even number, or (α, β)."""
    threshold: float = OVERLAP_THRESHOLD
    """Smallest eigenvalue of the overlap that is kept."""
    smearing: float = 0.0
    """kT of the Fermi occupations in Hartree; 0: the lowest orbitals are full (aufbau)."""
    integrals: Integrals | None = None
    """Integrals of the geometry, for observables that need more than H and S."""

    @classmethod
    def solve(
        cls,
        hamiltonian: Tensor,
        overlap: Tensor,
        n_electrons: int,
        multiplicity: int = 1,
        threshold: float = OVERLAP_THRESHOLD,
        smearing: float = 0.0,
        integrals: Integrals | None = None,
    ) -> Self:
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
        smearing
            kT in Hartree of fractional occupations, each spin with its own number of electrons.
        integrals
            Integrals of the geometry, in the same AO order.

        Raises
        ------
        BasisError
            If the shapes do not fit, or the Hamiltonian is not symmetric.
        ChargeError
            If electrons and multiplicity contradict each other or exceed the orbitals.
        PredictionError
            If a matrix element is not finite.
        SettingError
            If the smearing is negative or no number.
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
        _check_symmetric(h)
        if not 0 <= smearing < float("inf"):
            raise SettingError(f"smearing is {smearing}; kT in Hartree, 0 or more, is needed")
        electrons = spin_channels(n_electrons, multiplicity, len(h))
        solved = cls(h, s, electrons, threshold, smearing, integrals)
        number = len(s) if solved.is_large else solved.orthogonaliser.shape[1]
        if max(solved.occupied) > number:
            raise ChargeError(f"{n_electrons} electrons do not fit into {number} orbitals")
        return solved

    @cached_property
    def orthogonaliser(self) -> Tensor:
        """X with Xᵀ S X = 1, shape (A, M)."""
        return canonical_orthogonaliser(self.overlap, self.threshold)

    @cached_property
    def is_large(self) -> bool:
        """Whether the levels around the gap are computed without the others: of large matrices on a CPU from
        which no direction is dropped."""
        whole = self.overlap.device.type == "cpu" and len(self.overlap) >= LARGE
        return whole and not drops_directions(self.overlap, self.threshold)

    @cached_property
    def solutions(self) -> tuple[Eigensystem, ...]:
        """The problem of each spin in the orthonormal basis."""
        x = self.orthogonaliser
        return tuple(Eigensystem.of_many([x.T @ (0.5 * (h + h.T)) @ x for h in self.hamiltonian]))

    @cached_property
    def orbital_energies(self) -> Tensor:
        """Hartree, ascending, shape (s, M)."""
        return torch.stack([solution.levels() for solution in self.solutions])

    @cached_property
    def orbitals(self) -> Tensor:
        """Coefficients C with Cᵀ S C = 1, without gradient, shape (s, A, M)."""
        return torch.stack([self.orthogonaliser @ solution.vectors for solution in self.solutions])

    @property
    def n_spins(self) -> int:
        """1 for closed shell, 2 for α and β."""
        return len(self.electrons)

    @property
    def capacity(self) -> int:
        """Electrons that a full orbital holds: 2 in a closed shell, 1 for each spin of an open one."""
        return 2 // self.n_spins

    @cached_property
    def occupied(self) -> tuple[int, ...]:
        """Number of orbitals of each spin that aufbau fills."""
        return tuple(n // self.capacity for n in self.electrons)

    @cached_property
    def fillings(self) -> tuple[Tensor, ...]:
        """Occupation of each orbital as a fraction of its capacity, for each spin (M,)."""
        return tuple(f for f, _ in self._filled)

    @cached_property
    def _filled(self) -> tuple[tuple[Tensor, float], ...]:
        if self.smearing:
            pairs = zip(self.solutions, self.occupied, strict=True)
            return tuple(fermi_occupations(s.energies, n, self.smearing) for s, n in pairs)
        filled = []
        for solution, n in zip(self.solutions, self.occupied, strict=True):
            full = torch.zeros_like(solution.energies)
            full[:n] = 1.0
            filled.append((full, float("nan")))
        return tuple(filled)

    @cached_property
    def occupations(self) -> Tensor:
        """Electrons in each orbital, 2 / 0 or 1 / 0 without smearing, without gradient, shape (s, M)."""
        return self.capacity * torch.stack(self.fillings)

    @property
    def entropy(self) -> float:
        """Electronic entropy of the smearing, in units of Boltzmann's constant; E − kT S is variational."""
        return float(sum(entropy(f, self.capacity) for f in self.fillings))

    def frontier(self, spin: int = 0, count: int = 1) -> tuple[Tensor, Tensor]:
        """Highest occupied and lowest unoccupied levels of a spin, ``count`` of each or as many as there are,
        Hartree, ascending, without gradient.

        Of a large matrix they are computed by Lanczos iterations, unless there is no gap or all levels are
        known already.
        """
        occupied = self.occupied[spin]
        if self.is_large and "solutions" not in self.__dict__:
            key = spin, count
            if key not in self._frontiers:
                h = self.hamiltonian[spin].detach().numpy()
                self._frontiers[key] = frontier_levels(h, self.overlap.detach().numpy(), occupied, count)
            if (found := self._frontiers[key]) is not None:
                return torch.from_numpy(found.below.copy()), torch.from_numpy(found.above.copy())
        levels = self.orbital_energies[spin].detach()
        return levels[max(occupied - count, 0) : occupied], levels[occupied : occupied + count]

    @cached_property
    def _frontiers(self) -> dict[tuple[int, int], FrontierLevels | None]:
        return {}

    @property
    def homo(self) -> float:
        """Highest level that aufbau fills, over both spins, Hartree; −inf without electrons."""
        levels = [self.frontier(s)[0] for s in range(self.n_spins)]
        return max((float(e[-1]) for e in levels if len(e)), default=float("-inf"))

    @property
    def lumo(self) -> float:
        """Lowest level that aufbau leaves empty, over both spins, Hartree; +inf if the basis is full."""
        levels = [self.frontier(s)[1] for s in range(self.n_spins)]
        return min((float(e[0]) for e in levels if len(e)), default=float("inf"))

    @property
    def gap(self) -> float:
        """LUMO − HOMO, Hartree."""
        return self.lumo - self.homo

    @property
    def fermi_level(self) -> float:
        """Fermi level, Hartree: with smearing, the chemical potential (the higher one of both spins);
        without, the middle of the gap, or the HOMO or LUMO if the other does not exist."""
        if self.smearing and (finite := [mu for _, mu in self._filled if abs(mu) != float("inf")]):
            return max(finite)
        finite = [e for e in (self.homo, self.lumo) if abs(e) != float("inf")]
        return sum(finite) / len(finite)

    @cached_property
    def spin_densities(self) -> Tensor:
        """Density matrix of each spin channel, shape (s, A, A); Tr(D S) is its number of electrons."""
        x = self.orthogonaliser
        if self.smearing:
            pairs = zip(self.solutions, self.fillings, strict=True)
            projectors = [solution.smeared_projector(f, self.smearing) for solution, f in pairs]
        else:
            filled = zip(self.solutions, self.occupied, strict=True)
            projectors = [solution.projector(n) for solution, n in filled]
        return self.capacity * (x @ torch.stack(projectors) @ x.T)

    def response(self, position: Tensor) -> Tensor:
        """Static polarizability of orbitals that do not respond to each other, a0³, (3, 3).

        Parameters
        ----------
        position
            ⟨μ| r |ν⟩ about any origin, bohr, (3, A, A).

        Raises
        ------
        PredictionError
            If occupations are fractional.
        """
        if self.smearing:
            raise PredictionError("the uncoupled polarizability is defined for full and empty orbitals only")
        x = self.orthogonaliser
        transformed = x.T @ position @ x
        pairs = zip(self.solutions, self.occupied, strict=True)
        return torch.stack(
            [solution.uncoupled_polarizability(transformed, n, self.capacity) for solution, n in pairs]
        ).sum(0)

    @property
    def density_matrix(self) -> Tensor:
        """Total density matrix, shape (A, A)."""
        return self.spin_densities.sum(0)

    @property
    def spin_density(self) -> Tensor:
        """Density matrix of α less that of β, zero in a closed shell, shape (A, A)."""
        densities = self.spin_densities
        return densities[0] - densities[1] if self.n_spins == 2 else torch.zeros_like(self.overlap)


def _check_symmetric(hamiltonian: Tensor) -> None:
    if (skew := float((hamiltonian - hamiltonian.mT).detach().abs().max())) > LARGEST_SKEW:
        raise BasisError(
            f"the Hamiltonian is not symmetric: elements differ from their mirror by {skew:.2g} Eh"
        )


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
