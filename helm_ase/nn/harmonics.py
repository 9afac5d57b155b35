"""Bookkeeping of spherical-harmonic rows, and Wigner matrices without angles.

Node features hold their L = (lmax + 1)² rows sorted by degree: (0, 0), (1, −1), (1, 0), (1, 1), …
In the frame of an edge the rows are sorted by order m instead, because an SO(2) convolution mixes all
degrees of one m.  Degree 1 is (y, z, x), which makes m = 0 the component along the polar axis z.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from e3nn import o3
from torch import Tensor, nn


@dataclass(frozen=True)
class EdgeRows:
    """Rows of a feature in the edge frame.

    For every m > 0 a feature contributes a pair (p, q): p is even under the reflection that leaves the
    edge and the x axis of its frame in place, q is odd.  A *natural* row (parity (−1)^l) has
    p = cos mφ, q = sin mφ; an *unnatural* one (parity −(−1)^l) has p = sin mφ, q = −cos mφ.
    """

    lmax: int
    mmax: int

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """For each m: (first row of its p rows, number of degrees l ≥ m); q rows follow p rows."""
        spans, start = [], 0
        for m in range(self.mmax + 1):
            degrees = self.lmax + 1 - m
            spans.append((start, degrees))
            start += degrees * (1 if m == 0 else 2)
        return tuple(spans)

    @cached_property
    def size(self) -> int:
        """Number R of rows."""
        return sum(n * (1 if m == 0 else 2) for m, (_, n) in enumerate(self.spans))

    @cached_property
    def degree(self) -> list[int]:
        """Degree l of each row."""
        return [l for l, _ in self._components()]

    @cached_property
    def weights(self) -> int:
        """Number of (m, l) combinations, i.e. of independent radial weights per channel."""
        return sum(n for _, n in self.spans)

    def _components(self) -> list[tuple[int, int]]:
        rows = []
        for m in range(self.mmax + 1):
            rows += [(l, m) for l in range(m, self.lmax + 1)]
            if m:
                rows += [(l, -m) for l in range(m, self.lmax + 1)]
        return rows

    def natural(self) -> list[int]:
        """Row of the degree-sorted layout that each edge-frame row takes, natural channels."""
        return [l * l + l + m for l, m in self._components()]

    def unnatural(self) -> tuple[list[int], list[float]]:
        """Row and sign for unnatural channels: (p, q) = (sin, −cos)."""
        rows = [l * l + l - m for l, m in self._components()]
        return rows, [-1.0 if m < 0 else 1.0 for _, m in self._components()]


def row_degrees(lmax: int) -> list[int]:
    """Degree of each row of the degree-sorted layout."""
    return [l for l in range(lmax + 1) for _ in range(2 * l + 1)]


def reversal_signs(lmax: int) -> list[float]:
    """Signs by which rows change when an edge is reversed.

    The frame of j→i is that of i→j turned by π about its x axis, (x, y, z) → (x, −y, −z).
    """
    return [(-1.0) ** (l + m + (m < 0)) for l in range(lmax + 1) for m in range(-l, l + 1)]


def edge_frames(directions: Tensor) -> Tensor:
    """Rotation matrices that turn each direction onto z.

    The x axis is built from the Cartesian axis on which the direction has its smallest component, so no
    direction is singular.  The choice jumps from edge to edge; what the network makes of it does not,
    because it commutes with turns about the edge.

    Parameters
    ----------
    directions
        Unit vectors, shape (E, 3).

    Returns
    -------
    Tensor
        Proper rotations, shape (E, 3, 3), rows x', y', z' = direction.
    """
    smallest = directions.detach().abs().argmin(dim=1)
    axis = torch.nn.functional.one_hot(smallest, 3).to(directions.dtype)
    x = axis - (axis * directions).sum(1, keepdim=True) * directions
    x = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    y = torch.linalg.cross(directions, x)
    return torch.stack([x, y, directions], dim=1)


class WignerMatrices(nn.Module):
    """Real Wigner matrices D^l(R), l = 0 … lmax, as polynomials of the entries of R.

    D^l is the part of D^(l−1) ⊗ D^1 that transforms with degree l, so one matrix product with a constant
    leads from each degree to the next: no Euler angles, no singular direction, smooth gradients.
    """

    def __init__(self, lmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        # Not buffers: a model cast to float32 and back must not lose the digits of its geometry.
        self._exact: dict[int, Tensor] = {}
        self._cast: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        for l in range(2, lmax + 1):
            q = o3.wigner_3j(l - 1, 1, l, dtype=torch.float64).reshape(-1, 2 * l + 1)
            q = q * (2 * l + 1) ** 0.5  # (ab, c), orthonormal columns
            couple = torch.einsum("ac,bd->abcd", q, q)
            shape = (2 * l - 1, 3, 2 * l - 1, 3, (2 * l + 1) ** 2)
            couple = couple.reshape(shape).transpose(1, 2)  # (a, a', b, b', cc')
            self._exact[l] = couple.reshape(-1, (2 * l + 1) ** 2)

    def forward(self, rotations: Tensor) -> Tensor:
        """Block-diagonal matrices of shape (E, L, L) for rotations of shape (E, 3, 3)."""
        n, size = rotations.shape[0], (self.lmax + 1) ** 2
        yzx = [1, 2, 0]
        blocks = [rotations.new_ones(n, 1, 1)]
        if self.lmax:
            blocks.append(rotations[:, yzx][:, :, yzx])
        for l in range(2, self.lmax + 1):
            outer = blocks[-1].flatten(1)[:, :, None] * blocks[1].reshape(n, 1, 9)  # (E, aa', bb')
            couple = self._coupling(l, rotations)
            blocks.append((outer.reshape(n, couple.shape[0]) @ couple).reshape(n, 2 * l + 1, 2 * l + 1))
        padded = [nn.functional.pad(block, (l * l, size - (l + 1) ** 2)) for l, block in enumerate(blocks)]
        return torch.cat(padded, dim=1)

    def _coupling(self, l: int, like: Tensor) -> Tensor:
        key = (l, like.dtype, like.device)
        if key not in self._cast:
            with torch.inference_mode(False):  # the cache outlives the caller's mode
                self._cast[key] = self._exact[l].to(like)
        return self._cast[key]
