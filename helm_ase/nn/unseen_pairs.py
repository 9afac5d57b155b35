"""Scales of blocks between two elements that never met in training.

A read-out multiplies its coefficients by a scale for each pair of elements, set from the labels before
training.  Of a pair that no label had, the scale would stay one, a Hartree for each coefficient, where those
of other pairs are some thousandths: a Hamiltonian with one such pair would be worthless.  All else of the
read-out is shared by the elements, so that a scale of the right size is what lacks.
"""

import torch
from torch import Tensor

from helm_ase.nn.hamiltonian_head import BlockReadout, HamiltonianHead, path_name

UNSET, SMALLEST = 1.0, 1e-8
"""Value of a scale that training has not set, and what a damaged one of zero counts for."""


def estimate_unseen_scales(head: HamiltonianHead) -> int:
    """Give the pairs of elements whose scales are not set those of pairs that share an element with them.

    Nothing else changes, and nothing at all in a network that was not trained on Hamiltonians.

    Returns
    -------
    int
        Number of pairs.
    """
    n = len(head.elements)
    scales = _scales(head.pair)
    is_set = (torch.cat(scales, 1) != UNSET).any(1)  # (n²,)
    if not is_set.any():
        return 0
    is_read = torch.ones(n, n, dtype=torch.bool, device=is_set.device)
    unseen = ~is_set & (is_read.triu() if head.hermitian else is_read).flatten()
    usual = _logarithm(torch.cat([scale[scale != UNSET] for scale in scales])).mean()
    for scale in scales if unseen.any() else ():
        scale[unseen] = _estimate(scale, n, usual)[unseen]
    return int(unseen.sum())


def _scales(readout: BlockReadout) -> list[Tensor]:
    """Scales of every path, (n², rows) each: the read-out's own tensors."""
    return [getattr(readout, f"scale_{path_name(key)}") for key in readout.position]


def _estimate(scale: Tensor, n: int, usual: Tensor) -> Tensor:
    """Geometric means over the set scales of a row in pairs that share the first or the second element; where
    there are none, over those of the row; else what is usual, as a logarithm, (n², rows)."""
    is_set = (scale != UNSET).unflatten(0, (n, n))  # (n, n, rows)
    count, total = is_set.double(), torch.where(is_set, _logarithm(scale).unflatten(0, (n, n)), 0)
    near_count = count.sum(1)[:, None] + count.sum(0)  # of pairs that share an element
    near_total = total.sum(1)[:, None] + total.sum(0)
    row_count, row_total = count.sum((0, 1)), total.sum((0, 1))  # (rows,)
    of_row = torch.where(row_count > 0, row_total / row_count.clamp(min=1), usual)
    means = torch.where(near_count > 0, near_total / near_count.clamp(min=1), of_row)
    return means.exp().flatten(0, 1).to(scale)


def _logarithm(scale: Tensor) -> Tensor:
    return scale.double().abs().clamp(min=SMALLEST).log()
