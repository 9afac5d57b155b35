"""Meshes of k points, in fractions of the reciprocal lattice vectors, and paths for band structures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ase.cell import Cell
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from helm_ase.errors import SettingError, StructureError
from helm_ase.representation.lattice import Lattice, integer_grid


@dataclass(frozen=True)
class KMesh:
    """A regular mesh k = (m + s/2) / n, m = 0 … n − 1, wrapped to −½ ≤ k < ½.

    H(−k) is the complex conjugate of H(k): with ``time_reversal`` one point of each such pair is kept, with
    the weight of both.
    """

    size: tuple[int, int, int]
    """Points n along each reciprocal vector."""
    half_step: tuple[int, int, int] = (0, 0, 0)
    """s of each direction: 0, or 1 for a mesh that is half a step off Γ."""
    time_reversal: bool = True
    """Whether −k is left out where k is listed."""

    def __post_init__(self) -> None:
        if len(self.size) != 3 or not all(isinstance(n, int) and n >= 1 for n in self.size):
            raise SettingError(f"a mesh of {self.size} k points: three whole numbers from 1 on are needed")
        if len(self.half_step) != 3 or not set(self.half_step) <= {0, 1}:
            raise SettingError(f"half_step is {self.half_step}; three numbers, 0 or 1, are needed")

    @classmethod
    def gamma_centred(cls, size: Sequence[int], time_reversal: bool = True) -> "KMesh":
        """Mesh that holds Γ, as PySCF's ``make_kpts``.

        Raises
        ------
        SettingError
            If the size is not three whole numbers from 1 upwards.
        """
        return cls(_triple(size), (0, 0, 0), time_reversal)

    @classmethod
    def monkhorst_pack(cls, size: Sequence[int], time_reversal: bool = True) -> "KMesh":
        """Mesh of Monkhorst and Pack, as ASE's ``monkhorst_pack``: off Γ where a size is even.

        Raises
        ------
        SettingError
            If the size is not three whole numbers from 1 upwards.

        References
        ----------
        Phys. Rev. B 13, 5188 (1976).
        """
        n = _triple(size)
        return cls(n, ((n[0] + 1) % 2, (n[1] + 1) % 2, (n[2] + 1) % 2), time_reversal)

    @classmethod
    def of_density(cls, lattice: Lattice, density: float, time_reversal: bool = True) -> "KMesh":
        """Γ-centred mesh with at least ``density`` points per 1/Å; a single one without periodicity.

        Raises
        ------
        SettingError
            If the density is not positive.
        """
        if not 0 < density < float("inf"):
            raise SettingError(f"density is {density} points per 1/Å; it must be positive")
        lengths = np.linalg.norm(lattice.reciprocal, axis=1)
        return cls.gamma_centred([max(1, int(np.ceil(x * density - 1e-9))) for x in lengths], time_reversal)

    @cached_property
    def _doubled(self) -> NDArray[np.int64]:
        """2 n k of every point, whole numbers, (N, 3)."""
        n, s = np.array(self.size), np.array(self.half_step)
        doubled = 2 * integer_grid(np.zeros(3), n - 1) + s
        return np.asarray(doubled - 2 * n * (doubled >= n))

    @cached_property
    def _reduction(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Points kept (K,), place in them of each point (N,), and whether it is the partner of that, (N,)."""
        count = int(np.prod(self.size))
        here = np.arange(count)
        if not self.time_reversal:
            return here, here, np.zeros(count, dtype=bool)
        n, s = np.array(self.size), np.array(self.half_step)
        m = integer_grid(np.zeros(3), n - 1)
        partner = np.ravel_multi_index(tuple(((-m - s) % n).T), self.size)
        first = np.minimum(here, partner)
        kept, place = np.unique(first, return_inverse=True)
        return kept, place, first != here

    @cached_property
    def points(self) -> Tensor:
        """All points of the mesh, fractional, (N, 3)."""
        return torch.from_numpy(self._doubled / (2.0 * np.array(self.size)))

    @cached_property
    def kpts(self) -> Tensor:
        """Points at which something has to be computed, fractional, (K, 3)."""
        return self.points[torch.from_numpy(self._reduction[0])]

    @property
    def places(self) -> NDArray[np.int64]:
        """Place in :attr:`kpts` of each of :attr:`points` or of its partner, (N,)."""
        return self._reduction[1]

    @property
    def ascending(self) -> NDArray[np.int64]:
        """Order of :attr:`points` in ASE's meshes, (N,): fractions ascend, the last of them fastest."""
        return np.asarray(np.lexsort(self._doubled.T[::-1]))

    @cached_property
    def weights(self) -> Tensor:
        """Weights of :attr:`kpts`, (K,), summing to one."""
        counts = np.bincount(self._reduction[1])
        return torch.from_numpy(counts / counts.sum())

    def unfold(self, values: Tensor) -> Tensor:
        """What is known at :attr:`kpts`, (K, …), at all :attr:`points`, (N, …): the conjugate at −k."""
        _, place, conjugated = self._reduction
        spread = values[torch.from_numpy(place)]
        turned = torch.from_numpy(conjugated).view(-1, *[1] * (values.ndim - 1))
        return torch.where(turned, spread.conj(), spread)


def _triple(size: Sequence[int]) -> tuple[int, int, int]:
    if len(size) != 3 or any(int(n) != n for n in size):
        raise SettingError(f"a mesh of {tuple(size)} k points: three whole numbers are needed")
    return int(size[0]), int(size[1]), int(size[2])


def band_path(lattice: Lattice, path: str | None = None, points: int = 100) -> Any:
    """Path through the Brillouin zone, with the names that crystallographers give its corners.

    Parameters
    ----------
    lattice
        With at least one periodic direction.
    path
        Names of corners, e.g. ``GMKG``; None: the path that ASE suggests for the lattice.
    points
        Number of k points.

    Returns
    -------
    ase.dft.kpoints.BandPath
        Its ``kpts`` are fractional, (points, 3).

    Raises
    ------
    StructureError
        If nothing is periodic.
    SettingError
        If the path names a corner that the lattice does not have.
    """
    if not lattice.dimensions:
        raise StructureError("nothing is periodic here: a molecule has orbitals, but no bands")
    try:
        return Cell(np.array(lattice.cell)).bandpath(path, npoints=points, pbc=lattice.pbc)
    except (KeyError, ValueError, RuntimeError) as error:  # the last of a lattice that ASE does not recognise
        raise SettingError(f"no band path {path!r} in this lattice: {error}") from error


def as_tensor(kpts: ArrayLike | Tensor) -> Tensor:
    """k points as a double-precision tensor, (K, 3).

    Raises
    ------
    SettingError
        If they are not finite or of another shape.
    """
    k = torch.as_tensor(np.asarray(kpts), dtype=torch.float64)
    if k.ndim != 2 or k.shape[1] != 3 or not bool(torch.isfinite(k).all()):
        raise SettingError(f"k points of shape {tuple(k.shape)}; finite fractions, (K, 3), are needed")
    return k
