"""Blocks → dense symmetric matrices of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from helm_ase.nn.tensor_construction import BlockPlan

PlacedBlocks = tuple[Tensor, Tensor, Tensor, Tensor, float]
"""Molecule (n,), first AO of the rows (n,), first AO of the columns (n,), values (n, size), weight."""


def assemble(blocks: Sequence[tuple[PlacedBlocks, BlockPlan]], n_molecules: int, size: int) -> Tensor:
    """Add weighted blocks into dense matrices and symmetrise.

    Every independent element is written on one side of the diagonal (or with half its value on the
    diagonal), so M + Mᵀ is the operator, symmetric to the last bit whatever the numbering of the atoms.

    Returns
    -------
    Tensor
        Shape (B, A, A); molecules with fewer than A functions are padded with zeros.
    """
    targets, values = [], []
    for (molecule, row, col, flat, weight), plan in blocks:
        rows = row[:, None] + torch.from_numpy(plan.rows).to(row.device)  # (n, size)
        cols = col[:, None] + torch.from_numpy(plan.cols).to(row.device)
        targets.append(((molecule[:, None] * size + rows) * size + cols).flatten())
        values.append((flat * weight).flatten())
    total = torch.cat(values)
    dense = total.new_zeros(n_molecules * size * size).index_add(0, torch.cat(targets), total)
    dense = dense.reshape(n_molecules, size, size)
    return dense + dense.transpose(1, 2)


def onsite_halving(plan: BlockPlan) -> Tensor:
    """Weights of on-site elements, shape (plan.size,): ½ where a shell meets itself, else 1."""
    weights = [
        torch.full(
            (len(g.pairs) * (2 * g.degrees[0] + 1) * (2 * g.degrees[1] + 1),),
            0.5 if g.pairs[0][0] == g.pairs[0][1] else 1.0,
        )
        for g in plan.groups
    ]
    return torch.cat(weights)


def trust_correction(correction: Tensor, trust: Tensor) -> Tensor:
    """Let a correction act only where the overlap can be trusted: W ΔH W.

    In a direction of the overlap matrix with eigenvalue λ an error of H is divided by λ.  With
    W = S (S + δ)⁻¹ the correction in the canonical basis is multiplied by w wᵀ, w = λ / (λ + δ): left
    alone where λ ≫ δ, removed where λ ≪ δ, smooth in the geometry in between.

    Parameters
    ----------
    correction
        ΔH, shape (..., A, A).
    trust
        W from :func:`trust_matrix`, shape (..., A, A).
    """
    filtered = trust @ correction @ trust.transpose(-1, -2)
    return 0.5 * (filtered + filtered.transpose(-1, -2))


def trust_matrix(overlap: Tensor, delta: float) -> Tensor:
    """W = S (S + δ)⁻¹, symmetric, same shape as the overlap (..., A, A)."""
    shifted = overlap + delta * torch.eye(overlap.shape[-1], dtype=overlap.dtype, device=overlap.device)
    w = torch.linalg.solve(shifted, overlap)
    return 0.5 * (w + w.transpose(-1, -2))
