"""Levels of a crystal at given k points: H(k) C = S(k) C ε, with gradients exact where bands cross."""

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.autograd.function import once_differentiable

from helm_ase.electronic.bloch import LatticeOperator, chunks
from helm_ase.electronic.differentiable import DEGENERATE
from helm_ase.electronic.orbitals import OVERLAP_THRESHOLD
from helm_ase.errors import BasisError, PredictionError
from helm_ase.representation.kpoints import as_tensor


def levels_at(
    hamiltonian: LatticeOperator,
    overlap: LatticeOperator | None,
    kpts: ArrayLike | Tensor,
    threshold: float = OVERLAP_THRESHOLD,
) -> Tensor:
    """Levels at k points.

    Parameters
    ----------
    hamiltonian
        Hartree; gradients of the levels go to its blocks.
    overlap
        Overlap of the same functions; None: they are orthonormal.  No gradient is taken.
    kpts
        Fractional, (K, 3): of a mesh, or the ``kpts`` of a band path.
    threshold
        Directions whose eigenvalue of S(k) is not larger are dropped, at every k by itself.

    Returns
    -------
    Tensor
        Hartree, ascending, (K, A); as many as were dropped are +inf, at the end.

    Raises
    ------
    BasisError
        If H and S differ in size, or S(k) has a clearly negative eigenvalue.
    PredictionError
        If H or S is not finite.
    SettingError
        If the k points are not finite fractions of that shape.
    """
    if overlap is not None and overlap.size != hamiltonian.size:
        raise BasisError(f"H has {hamiltonian.size} functions, S has {overlap.size}")
    for operator in (hamiltonian, overlap):
        if operator is not None and not bool(torch.isfinite(operator.values).all()):
            raise PredictionError("the Hamiltonian or overlap holds numbers that are not finite")
    matrices = []
    for k in chunks(as_tensor(kpts), hamiltonian.size):
        s = None if overlap is None else overlap.at(k).detach()
        matrices.append(levels(hamiltonian.at(k), s, threshold))
    return torch.cat(matrices)


def levels(
    hamiltonian: Tensor, overlap: Tensor | None = None, threshold: float = OVERLAP_THRESHOLD
) -> Tensor:
    """Levels of Hermitian matrices, as in :func:`levels_at`.

    Parameters
    ----------
    hamiltonian, overlap
        Complex, (K, A, A); no gradient is taken with respect to the overlap.
    threshold
        Threshold of the eigenvalues of the overlap.

    Returns
    -------
    Tensor
        Hartree, (K, A).  dε_i = c_i† dH c_i; levels of one k within 1e-7 Eh share the mean.
    """
    with torch.no_grad():
        energies, orbitals = solve(hamiltonian, overlap, threshold)
    levels: Tensor = _Levels.apply(hamiltonian, energies, orbitals)
    return levels


def solve(hamiltonian: Tensor, overlap: Tensor | None, threshold: float) -> tuple[Tensor, Tensor]:
    """Levels (K, A) and orbitals (K, A, A) as columns, C† S C = 1; dropped ones are +inf and zero.

    Raises
    ------
    BasisError
        If an overlap has a clearly negative eigenvalue.
    """
    if overlap is None:
        energies, vectors = torch.linalg.eigh(hamiltonian)
        return energies, vectors
    x, dropped = _orthogonalisers(overlap, threshold)
    fock = x.mH @ hamiltonian @ x
    above = 2 * fock.abs().sum(2).amax(1) + 1  # beyond every level: Gershgorin
    fock = 0.5 * (fock + fock.mH) + torch.diag_embed(torch.where(dropped, above[:, None], 0.0))
    energies, vectors = torch.linalg.eigh(fock)
    place = torch.arange(energies.shape[1], device=energies.device)
    none = place >= energies.shape[1] - dropped.sum(1, keepdim=True)
    orbitals = x @ vectors
    return energies.masked_fill(none, torch.inf), orbitals.masked_fill(none[:, None, :], 0.0)


def _orthogonalisers(overlap: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """X = U λ^(−½), (K, A, A), with zero columns for directions that are dropped, and which, (K, A)."""
    eigenvalues, vectors = torch.linalg.eigh(overlap)
    if float(eigenvalues.min()) < -1e-6:
        raise BasisError(
            f"S(k) has the eigenvalue {float(eigenvalues.min()):.2e}; it must be positive: translations are "
            f"missing, or the sum over them was cut too early"
        )
    dropped = eigenvalues <= threshold
    scale = torch.where(dropped, 0.0, eigenvalues.clamp(min=1e-300).rsqrt())
    return vectors * scale[:, None, :], dropped


class _Levels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hamiltonian: Tensor, energies: Tensor, orbitals: Tensor) -> Tensor:
        ctx.save_for_backward(energies, orbitals)
        return energies.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        energies, orbitals = ctx.saved_tensors
        real = torch.isfinite(energies)
        gradient = torch.where(real, gradient, 0.0)
        finite = torch.where(real, energies, energies.new_tensor(0.0))
        step = (finite.diff(dim=1).abs() > DEGENERATE) | ~real[:, 1:]
        group = torch.nn.functional.pad(torch.cumsum(step.long(), 1), (1, 0))
        sums = torch.zeros_like(finite).scatter_add_(1, group, gradient)
        counts = torch.zeros_like(finite).scatter_add_(1, group, torch.ones_like(finite))
        shared = (sums / counts.clamp(min=1)).gather(1, group)
        return (orbitals * shared[:, None, :]) @ orbitals.mH, None, None
