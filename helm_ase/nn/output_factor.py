"""The correction ΔH = F Δ F from the network's output Δ, with a factor F that is a function of the
overlap."""

import torch
from torch import Tensor


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
