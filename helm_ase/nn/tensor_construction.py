"""Tensor construction: AO blocks as irreducible tensors and back.

The block of shells a (degree l1) and b (degree l2) is a sum over L = |l1 − l2| … l1 + l2 of
Wigner-3j coefficients times a tensor of degree L.  It reads natural channels if l1 + l2 + L is even and
unnatural ones if it is odd.  On-site blocks are symmetric, so only a < b, and for a = b only even L,
are independent: the paper's parity expansion.
"""

from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from torch import Tensor

Slot = tuple[int, int]
"""(l, k): the k-th shell of degree l of an element."""


@dataclass(frozen=True)
class ShellPairs:
    """All pairs of shells with the same (l1, l2) in one kind of block."""

    degrees: tuple[int, int]
    pairs: tuple[tuple[int, int], ...]
    """Positions (a, b) of the shells in the shell lists of the two elements."""
    couplings: tuple[int, ...]
    """Degrees L of the irreducible tensors."""


@dataclass(frozen=True)
class BlockPlan:
    """How one kind of block (an element, or two elements) is built.

    Coefficients of degree L and one parity class form a tensor (E, 2L + 1, n); ``paths`` lists, for each
    (L, natural?), the slot pairs in the sequence of that last axis.
    """

    groups: tuple[ShellPairs, ...]
    paths: dict[tuple[int, bool], tuple[tuple[Slot, Slot], ...]]
    rows: NDArray[np.int64]
    """Row of the block of every element of the flat output."""
    cols: NDArray[np.int64]
    """Column of the block of every element of the flat output."""

    @property
    def size(self) -> int:
        """Length of the flat output."""
        return len(self.rows)


def is_natural(l1: int, l2: int, coupled: int) -> bool:
    """Whether an irreducible part of a block has the parity of a true tensor of its degree."""
    return (l1 + l2 + coupled) % 2 == 0


def plan_block(slots_1: tuple[Slot, ...], slots_2: tuple[Slot, ...], onsite: bool = False) -> BlockPlan:
    """Plan the blocks of two elements, or with ``onsite`` the diagonal blocks of one."""
    groups = _group_shells(slots_1, slots_2, onsite)
    paths: dict[tuple[int, bool], list[tuple[Slot, Slot]]] = {}
    for group in groups:
        for coupled in group.couplings:
            key = (coupled, is_natural(*group.degrees, coupled))
            paths.setdefault(key, []).extend((slots_1[a], slots_2[b]) for a, b in group.pairs)
    rows, cols = _flat_positions(groups, slots_1, slots_2)
    return BlockPlan(tuple(groups), {k: tuple(v) for k, v in paths.items()}, rows, cols)


def _group_shells(slots_1: tuple[Slot, ...], slots_2: tuple[Slot, ...], onsite: bool) -> list[ShellPairs]:
    by_kind: dict[tuple[int, int, bool], list[tuple[int, int]]] = {}
    for a, (l1, _) in enumerate(slots_1):
        for b, (l2, _) in enumerate(slots_2):
            if not onsite or a <= b:
                by_kind.setdefault((l1, l2, onsite and a == b), []).append((a, b))
    groups = []
    for (l1, l2, same), pairs in sorted(by_kind.items()):
        couplings = range(abs(l1 - l2), l1 + l2 + 1, 2 if same else 1)
        groups.append(ShellPairs((l1, l2), tuple(pairs), tuple(couplings)))
    return groups


def _flat_positions(
    groups: list[ShellPairs], slots_1: tuple[Slot, ...], slots_2: tuple[Slot, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    start_1 = np.cumsum([0] + [2 * l + 1 for l, _ in slots_1])
    start_2 = np.cumsum([0] + [2 * l + 1 for l, _ in slots_2])
    rows, cols = [], []
    for group in groups:
        d1, d2 = (2 * l + 1 for l in group.degrees)
        a, b = np.array(group.pairs).T
        shape = (d1, d2, len(a))
        rows.append(np.broadcast_to(start_1[a] + np.arange(d1)[:, None, None], shape).ravel())
        cols.append(np.broadcast_to(start_2[b] + np.arange(d2)[None, :, None], shape).ravel())
    return np.concatenate(rows), np.concatenate(cols)


def coupling_matrix(l1: int, l2: int, couplings: tuple[int, ...]) -> Tensor:
    """Matrix of shape ((2 l1 + 1)(2 l2 + 1), Σ_L (2L + 1)) with orthonormal columns, float64."""
    columns = [
        o3.wigner_3j(l1, l2, coupled, dtype=torch.float64).reshape(-1, 2 * coupled + 1)
        * (2 * coupled + 1) ** 0.5
        for coupled in couplings
    ]
    return torch.cat(columns, dim=1)


def expand(plan: BlockPlan, coefficients: dict[tuple[int, bool], Tensor], matrices: list[Tensor]) -> Tensor:
    """Irreducible tensors → block elements.

    Parameters
    ----------
    plan
        Plan of the block.
    coefficients
        For each (L, natural?) a tensor (E, 2L + 1, n).
    matrices
        :func:`coupling_matrix` of every group.

    Returns
    -------
    Tensor
        Shape (E, plan.size): elements at (plan.rows, plan.cols).
    """
    used = dict.fromkeys(coefficients, 0)
    flat = []
    for group, matrix in zip(plan.groups, matrices, strict=True):
        n, parts = len(group.pairs), []
        for coupled in group.couplings:
            key = (coupled, is_natural(*group.degrees, coupled))
            parts.append(coefficients[key][:, :, used[key] : used[key] + n])
            used[key] += n
        flat.append((matrix @ torch.cat(parts, dim=1)).flatten(1))  # (E, X n)
    return torch.cat(flat, dim=1)


def project(plan: BlockPlan, blocks: Tensor, matrices: list[Tensor]) -> dict[tuple[int, bool], Tensor]:
    """Blocks of shape (E, A1, A2) → irreducible tensors; inverse of :func:`expand`."""
    projections: dict[tuple[int, bool], list[Tensor]] = {key: [] for key in plan.paths}
    start = 0
    for group, matrix in zip(plan.groups, matrices, strict=True):
        n, size = len(group.pairs), matrix.shape[0]
        stop = start + size * n
        rows, cols = (torch.from_numpy(x[start:stop]) for x in (plan.rows, plan.cols))
        values = matrix.T @ blocks[:, rows, cols].reshape(-1, size, n)  # (E, K, n)
        offset = 0
        for coupled in group.couplings:
            width = 2 * coupled + 1
            key = (coupled, is_natural(*group.degrees, coupled))
            projections[key].append(values[:, offset : offset + width])
            offset += width
        start = stop
    return {key: torch.cat(parts, dim=2) for key, parts in projections.items()}
