"""Functions of the overlap matrix."""

import torch
from torch import Tensor


def symmetric_root(overlap: Tensor) -> Tensor:
    """S^½, symmetric, same shape as the overlap (..., A, A).

    Rounding may leave an eigenvalue just below zero, which counts as zero.
    """
    eigenvalues, vectors = torch.linalg.eigh(overlap)
    root: Tensor = vectors * eigenvalues.clamp(min=0).sqrt()[..., None, :] @ vectors.transpose(-1, -2)
    return root
