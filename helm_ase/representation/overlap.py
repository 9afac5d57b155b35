"""Functions of the overlap matrix, and which of its directions count."""

from typing import NamedTuple

import torch
from torch import Tensor

from helm_ase.errors import BasisError

OVERLAP_THRESHOLD = 1e-5
"""Directions of the AO space with a smaller overlap eigenvalue are dropped (canonical orthogonalisation).

With def2-TZVPD acetylene has an eigenvalue of 1.5e-6: an error of 30 µEh in H along that direction makes a
level 8 Eh below the carbon 1s orbitals.  Of an exact H, dropping it moves occupied levels by up to 12 µEh and
virtual ones by more: where no model is in play, ``SCF_OVERLAP_THRESHOLD`` is the one to use."""

SCF_OVERLAP_THRESHOLD = 1e-6
"""The same where the matrix is that of an SCF: what PySCF's own SCF leaves out, so that the results agree."""


class CanonicalBasis(NamedTuple):
    """Orthonormal combinations of the functions, one for each eigenvector of the overlap."""

    columns: Tensor
    """X = U λ^(−½), (..., A, A), ascending in λ; zero where a direction was dropped."""
    kept: Tensor
    """Which were not, (..., A)."""
    smallest: float
    """The smallest eigenvalue of all."""


def canonical_basis(overlap: Tensor, threshold: float = OVERLAP_THRESHOLD) -> CanonicalBasis:
    """Canonical orthogonalisation of one overlap matrix or many, real or complex, (..., A, A)."""
    eigenvalues, vectors = torch.linalg.eigh(overlap)
    kept = eigenvalues > threshold
    scale = torch.where(kept, eigenvalues.clamp(min=1e-300).rsqrt(), 0.0)
    return CanonicalBasis(vectors * scale[..., None, :], kept, float(eigenvalues.min()))


def canonical_orthogonaliser(overlap: Tensor, threshold: float = OVERLAP_THRESHOLD) -> Tensor:
    """X with Xᵀ S X = 1 of one overlap matrix, (A, M): X = U λ^(−½) over the eigenvalues above ``threshold``.

    Raises
    ------
    BasisError
        If S has a clearly negative eigenvalue, i.e. is not an overlap matrix.
    """
    basis = canonical_basis(overlap, threshold)
    if basis.smallest < -1e-8:
        raise BasisError(f"the overlap has the eigenvalue {basis.smallest:.3e}; it must be positive")
    return basis.columns[:, basis.kept]


def drops_directions(overlap: Tensor, threshold: float = OVERLAP_THRESHOLD) -> bool:
    """Whether :func:`canonical_orthogonaliser` has fewer columns than functions, (A, A); much cheaper."""
    shifted = overlap - threshold * torch.eye(len(overlap), dtype=overlap.dtype, device=overlap.device)
    return bool(torch.linalg.cholesky_ex(shifted).info)


def symmetric_root(overlap: Tensor) -> Tensor:
    """S^½, symmetric, same shape as the overlap (..., A, A).

    Rounding may leave an eigenvalue just below zero, which counts as zero.
    """
    eigenvalues, vectors = torch.linalg.eigh(overlap)
    return vectors * eigenvalues.clamp(min=0).sqrt()[..., None, :] @ vectors.transpose(-1, -2)
