"""Blocks → dense symmetric matrices of a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from helm_ase.nn.tensor_construction import BlockPlan


class PlacedBlocks(NamedTuple):
    """Blocks of one shape, n of them, and their positions in the matrices."""

    slot: Tensor
    """Matrix of every block: that of its molecule or, in crystals, of its translation, (n,)."""
    first_row: Tensor
    """First AO of its rows in the matrix, (n,)."""
    first_column: Tensor
    """First AO of its columns in the matrix, (n,)."""
    values: Tensor
    """Elements, Hartree, (n, size)."""
    rows: Tensor
    """Row within the block of every element, (size,)."""
    columns: Tensor
    """Column within the block of every element, (size,)."""


def assemble(blocks: Sequence[PlacedBlocks], slots: int, size: int, partner: Tensor | None = None) -> Tensor:
    """Add blocks into dense matrices and symmetrise.

    Every independent element is written on one side of the diagonal (or with half its value on the
    diagonal), so M + Mᵀ is the operator, symmetric to the last bit whatever the numbering of the atoms.  In
    crystals M(T) + M(−T)ᵀ is.

    Parameters
    ----------
    blocks
        Blocks of atoms and pairs.
    slots, size
        Number of matrices, and of their functions A.
    partner
        In crystals, the matrix of −T for each T, (slots,).

    Returns
    -------
    Tensor
        Shape (slots, A, A); those with fewer than A functions are padded with zeros.
    """
    targets, values = [], []
    for b in blocks:
        rows = b.first_row[:, None] + b.rows  # (n, size)
        columns = b.first_column[:, None] + b.columns
        targets.append(((b.slot[:, None] * size + rows) * size + columns).flatten())
        values.append(b.values.flatten())
    total = torch.cat(values)
    dense = total.new_zeros(slots * size * size).index_add(0, torch.cat(targets), total)
    dense = dense.reshape(slots, size, size)
    return dense + (dense if partner is None else dense[partner]).transpose(1, 2)


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
