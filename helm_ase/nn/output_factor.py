"""The correction ΔH = F Δ F from the network's output Δ, with a factor F that is a function of the
overlap."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.representation.overlap import overlap_envelope

if TYPE_CHECKING:
    from helm_ase.nn.model import HELM


def apply_factor(output: Tensor, factor: Tensor | None) -> Tensor:
    """F Δ F, symmetric, (..., A, A); without a factor the output itself.

    With the trust filter, F = S (S + δ)⁻¹, a correction acts only where the overlap can be trusted.  In a
    direction of the overlap matrix with eigenvalue λ an error of H is divided by λ; the filter multiplies the
    correction in the canonical basis by w wᵀ, w = λ / (λ + δ): left alone where λ ≫ δ, removed where λ ≪ δ,
    smooth in the geometry in between.  With F = S^½ the output is ΔH in Löwdin's basis.

    Parameters
    ----------
    output
        Δ, shape (..., A, A).
    factor
        F, symmetric, shape (..., A, A): ``HELMSettings.output_factor`` of the overlap.
    """
    if factor is None:
        return output
    product = factor @ output @ factor.transpose(-1, -2)
    return 0.5 * (product + product.transpose(-1, -2))


def trust_matrix(overlap: Tensor, delta: float) -> Tensor:
    """W = S (S + δ)⁻¹, the trust filter, symmetric, same shape as the overlap (..., A, A)."""
    shifted = overlap + delta * torch.eye(overlap.shape[-1], dtype=overlap.dtype, device=overlap.device)
    w: Tensor = torch.linalg.solve(shifted, overlap)
    return 0.5 * (w + w.transpose(-1, -2))


def applied_correction(
    model: "HELM",
    output: Tensor,
    overlap: Tensor,
    spins: int,
    numbers: Sequence[int] | NDArray[np.integer],
) -> Tensor:
    """ΔH of one molecule as predictions use it, Hartree, float64 on the CPU, without gradient, (s, A, A).

    That is :meth:`HELMSettings.correction` and, for networks that never learnt to let blocks of distant atoms
    fade (``pair_decay_length`` of 0), :func:`~helm_ase.representation.overlap.overlap_envelope` on top of it.
    Training of such a network goes on without, as its weights were found.

    Parameters
    ----------
    model
        Network that made the output.
    output
        ``Prediction.correction`` of the molecule, which may be padded, (spins of the model, A', A').
    overlap
        S, (A, A), in the same, canonical AO order.
    spins
        s, number of matrices.
    numbers
        Atomic numbers, (N,).
    """
    correction = model.settings.correction(output, overlap, spins)
    if model.settings.backbone.pair_decay_length:
        return correction
    return correction * torch.from_numpy(overlap_envelope(overlap.numpy(), model.basis.offsets(numbers)))
