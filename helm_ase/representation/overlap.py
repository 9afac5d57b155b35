"""Functions of the overlap matrix, and its orthogonalisation without nearly dependent combinations."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.errors import BasisError

OVERLAP_THRESHOLD = 1e-5
"""Directions of the AO space with a smaller overlap eigenvalue are dropped (canonical orthogonalisation).

With def2-TZVPD acetylene has an eigenvalue of 1.5e-6: an error of 30 µEh in H along that direction makes a
level 8 Eh below the carbon 1s orbitals.  Of an exact H, dropping it moves occupied levels by up to 12 µEh and
virtual ones by more: where no model is in play, ``SCF_OVERLAP_THRESHOLD`` is the one to use."""

SCF_OVERLAP_THRESHOLD = 1e-6
"""The same where the matrix is that of an SCF: what PySCF's own SCF leaves out, so that the results agree."""

TOUCHING = 3e-3
"""Largest element of the overlap of two atoms from which on their block counts in full."""


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
    root: Tensor = vectors * eigenvalues.clamp(min=0).sqrt()[..., None, :] @ vectors.transpose(-1, -2)
    return root


def overlap_envelope(overlap: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of blocks that vanish with the overlap of their atoms, (A, A), symmetric.

    H − H0 of labels dies with the overlap of the functions; what a network leaves in blocks of distant atoms
    is noise, small in each and coherent in diffuse levels: the LUMO of two ethanes 8 Å apart came out at 0.5
    instead of 1.7 eV.  Blocks with an overlap of :data:`TOUCHING` or more have weight 1 exactly, so that
    nothing changes in small molecules; below, the weight falls smoothly (3x² − 2x³) to 0.

    Parameters
    ----------
    overlap
        S, (A, A).
    starts
        First function of each atom, and A at the end, (N + 1,).
    """
    first = np.asarray(starts[:-1])
    largest = np.maximum.reduceat(np.maximum.reduceat(np.abs(overlap), first, axis=0), first, axis=1)
    x = np.minimum(largest / TOUCHING, 1.0)
    counts = np.diff(starts)
    weights: NDArray[np.float64] = np.repeat(np.repeat(x * x * (3 - 2 * x), counts, axis=0), counts, axis=1)
    return weights
