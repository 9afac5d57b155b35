"""Orbital energies, density and response of a Hamiltonian, with gradients that are exact where orbitals are
degenerate.

Eigenvectors have no derivative inside a degenerate set, and automatic differentiation through them divides by
the differences of its orbital energies: wrong for methane, not a number at exact degeneracy.  Everything
below depends on the occupied *space* only, whose derivative couples occupied with virtual orbitals and so
never divides by less than the gap.

All of it takes the Hamiltonian in an orthonormal basis, F = Xᵀ H X, of shape (M, M), and the number of
occupied orbitals of one spin; gradients are those with respect to a symmetric F.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

DEGENERATE = 1e-7
"""Energy difference in Hartree below which orbitals count as degenerate and share their gradient."""


@dataclass(frozen=True)
class Eigensystem:
    """Hamiltonian that is diagonalised once and gives any number of quantities, each with exact gradients."""

    fock: Tensor
    """F in an orthonormal basis, Hartree, (M, M); gradients go here."""
    energies: Tensor
    """Ascending, Hartree, (M,); without gradient."""
    vectors: Tensor
    """Columns are the orbitals, (M, M); without gradient."""

    @classmethod
    def of(cls, fock: Tensor) -> "Eigensystem":
        """Diagonalise; matrices that are not finite give orbitals and energies that are NaN."""
        return cls.of_many([fock])[0]

    @classmethod
    def of_many(cls, focks: Sequence[Tensor]) -> list["Eigensystem"]:
        """Diagonalise each as :meth:`of` does; matrices of one size go through LAPACK or the GPU together."""
        sizes: dict[int, list[int]] = {}
        for k, fock in enumerate(focks):
            sizes.setdefault(len(fock), []).append(k)
        solved: dict[int, Eigensystem] = {}
        for members in sizes.values():
            with torch.no_grad():
                energies, vectors = _eigh(torch.stack([focks[k] for k in members]))
            for k, e, v in zip(members, energies, vectors, strict=True):
                solved[k] = cls(focks[k], e, v)
        return [solved[k] for k in range(len(focks))]

    def levels(self) -> Tensor:
        """Orbital energies, ascending, (M,).

        dε_i = v_iᵀ dF v_i; orbital energies within 1e-7 Eh get the mean over their set, which does not depend
        on how the set's orbitals happen to be turned.
        """
        return with_gradient(self.fock, self.energies, self.vectors)

    def projector(self, occupied: int) -> Tensor:
        """P = Σ_i v_i v_iᵀ over the ``occupied`` lowest orbitals, (M, M).

        ∂P couples occupied with virtual orbitals only:
        dP = Σ_ia (v_i v_aᵀ + v_a v_iᵀ) (v_iᵀ dF v_a) / (ε_i − ε_a).
        """
        projector: Tensor = _OccupiedProjector.apply(self.fock, self.energies, self.vectors, occupied)
        return projector

    def smeared_projector(self, occupations: Tensor, temperature: float) -> Tensor:
        """P = Σ_i f_i v_i v_iᵀ for Fermi occupations f at a fixed number of electrons, (M, M).

        In the basis of the orbitals ∂P_ij = (f_i − f_j) / (ε_i − ε_j) ∂F_ij, with the limit f'(ε) where
        orbital energies coincide, less what the shift of the chemical potential takes back.

        Parameters
        ----------
        occupations
            Between 0 and 1, (M,): :func:`helm_ase.electronic.occupations.fermi_occupations` of the energies.
        temperature
            kT in Hartree.
        """
        projector: Tensor = _SmearedProjector.apply(
            self.fock, self.energies, self.vectors, occupations, temperature
        )
        return projector

    def uncoupled_polarizability(self, position: Tensor, occupied: int, electrons: int = 2) -> Tensor:
        """Static polarizability of orbitals that do not respond to each other, atomic units, (3, 3).

        α_xy = 2 f Σ_ia x_ia y_ia / (ε_a − ε_i), f electrons in each orbital.  The coupled (CPKS)
        polarizability, which is the physical one, is a third smaller and cannot be had from F alone.

        Parameters
        ----------
        position
            ⟨p| r |q⟩ in the same basis, bohr, (3, M, M); no gradient is taken.
        occupied
            Occupied orbitals.
        electrons
            In each of them: 2 in a closed shell, 1 for each spin of an open one.
        """
        polarizability: Tensor = _UncoupledPolarizability.apply(
            self.fock, self.energies, self.vectors, position, occupied, electrons
        )
        return polarizability


def _eigh(focks: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (B, M) and orbitals (B, M, M) of matrices (B, M, M), NaN for those that are not finite."""
    finite = torch.isfinite(focks).flatten(1).all(1)  # eigh would raise, and with it end a training run
    energies, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], focks, 0.0))
    return energies.where(finite[:, None], torch.nan), vectors.where(finite[:, None, None], torch.nan)


def with_gradient(hamiltonian: Tensor, energies: Tensor, orbitals: Tensor) -> Tensor:
    """Connect energies with the matrices whose eigenvalues they are, so that gradients are exact even where
    energies are degenerate.

    dε_i = c_i† dH c_i; levels of one matrix within 1e-7 Eh share the mean over their set.

    Parameters
    ----------
    hamiltonian
        Real or complex, (..., A, A).
    energies
        Ascending, Hartree, (..., M); those that are not finite have no gradient.
    orbitals
        Columns c_i, (..., A, M).
    """
    levels: Tensor = _Levels.apply(hamiltonian, energies, orbitals)
    return levels


def occupied_projector(fock: Tensor, occupied: int) -> Tensor:
    """See :meth:`Eigensystem.projector`."""
    return Eigensystem.of(fock).projector(occupied)


def levels(fock: Tensor) -> Tensor:
    """See :meth:`Eigensystem.levels`."""
    return Eigensystem.of(fock).levels()


def uncoupled_polarizability(fock: Tensor, position: Tensor, occupied: int, electrons: int = 2) -> Tensor:
    """See :meth:`Eigensystem.uncoupled_polarizability`."""
    return Eigensystem.of(fock).uncoupled_polarizability(position, occupied, electrons)


def density_matrix(fock: Tensor, orthogonaliser: Tensor, occupied: int, electrons: int = 2) -> Tensor:
    """D = f X P Xᵀ in the AO basis, (A, A); ``orthogonaliser`` is X of F = Xᵀ H X, (A, M)."""
    return electrons * orthogonaliser @ occupied_projector(fock, occupied) @ orthogonaliser.T


class _OccupiedProjector(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fock: Tensor, energies: Tensor, vectors: Tensor, occupied: int) -> Tensor:
        ctx.save_for_backward(energies, vectors)
        ctx.occupied = occupied
        return vectors[:, :occupied] @ vectors[:, :occupied].T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        energies, vectors = ctx.saved_tensors
        n = ctx.occupied
        gap = energies[:n, None] - energies[None, n:]  # (i, a)
        coupling = vectors[:, :n].T @ (gradient + gradient.T) @ vectors[:, n:] / gap
        half = vectors[:, :n] @ coupling @ vectors[:, n:].T
        return 0.5 * (half + half.T), None, None, None


class _SmearedProjector(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, fock: Tensor, energies: Tensor, vectors: Tensor, occupations: Tensor, temperature: float
    ) -> Tensor:
        ctx.save_for_backward(energies, vectors, occupations)
        ctx.temperature = temperature
        return (vectors * occupations) @ vectors.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        energies, vectors, f = ctx.saved_tensors
        slope = -f * (1 - f) / ctx.temperature  # f'(ε_i)
        difference = energies[:, None] - energies[None, :]
        near = difference.abs() < 1e-4 * ctx.temperature  # error of the limit: 1e-9 of f'
        quotient = (f[:, None] - f[None, :]) / torch.where(near, torch.ones_like(difference), difference)
        quotient = torch.where(near, 0.5 * (slope[:, None] + slope[None, :]), quotient)
        inner = quotient * (vectors.T @ (0.5 * (gradient + gradient.T)) @ vectors)
        total = slope.sum()
        if float(total) < 0:  # with a gap of many kT nothing shifts
            inner = inner - torch.diag(slope * inner.diagonal().sum() / total)
        return vectors @ inner @ vectors.T, None, None, None, None


class _Levels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hamiltonian: Tensor, energies: Tensor, orbitals: Tensor) -> Tensor:
        ctx.save_for_backward(energies, orbitals)
        return energies.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        energies, orbitals = ctx.saved_tensors
        shared = _mean_over_sets(gradient, energies)
        return (orbitals * shared[..., None, :]) @ orbitals.mH, None, None


def _mean_over_sets(gradient: Tensor, energies: Tensor) -> Tensor:
    """Gradient of each level, (..., M), replaced by the mean over the levels that coincide with it."""
    real = torch.isfinite(energies)
    finite = torch.where(real, energies, 0.0)
    step = (finite.diff(dim=-1).abs() > DEGENERATE) | ~real[..., 1:]
    group = torch.nn.functional.pad(torch.cumsum(step.long(), -1), (1, 0))
    sums = torch.zeros_like(finite).scatter_add_(-1, group, torch.where(real, gradient, 0.0))
    counts = torch.zeros_like(finite).scatter_add_(-1, group, torch.ones_like(finite))
    return (sums / counts.clamp(min=1)).gather(-1, group)


class _UncoupledPolarizability(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, fock: Tensor, energies: Tensor, vectors: Tensor, position: Tensor, occupied: int,
        electrons: int,
    ) -> Tensor:  # fmt: skip
        r = vectors.T @ position @ vectors  # (3, M, M)
        gap = energies[occupied:, None] - energies[None, :occupied]  # (a, i)
        amplitudes = r[:, occupied:, :occupied] / gap  # (3, a, i): X of F_vv X − X F_oo = r_vo
        ctx.save_for_backward(vectors, r, gap, amplitudes)
        ctx.occupied, ctx.electrons = occupied, electrons
        return 2 * electrons * torch.einsum("xai,yai->xy", amplitudes, r[:, occupied:, :occupied])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        vectors, r, gap, x = ctx.saved_tensors
        n = ctx.occupied
        weight = 2 * ctx.electrons * gradient
        mixed = torch.einsum("xy,yai->xai", weight + weight.T, x)  # (3, a, i)
        rotation = torch.einsum("xab,xbi->ai", r[:, n:, n:], mixed)
        rotation = rotation - torch.einsum("xaj,xji->ai", mixed, r[:, :n, :n])
        inner = torch.zeros_like(vectors)
        inner[n:, n:] = -0.5 * torch.einsum("xai,xbi->ab", mixed, x)
        inner[:n, :n] = 0.5 * torch.einsum("xai,xaj->ij", mixed, x)
        inner[n:, :n] = -0.5 * rotation / gap
        inner[:n, n:] = inner[n:, :n].T
        return vectors @ inner @ vectors.T, None, None, None, None, None
