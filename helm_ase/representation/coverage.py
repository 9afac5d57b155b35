"""Record of the interatomic distances in a training set, for each pair of elements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.representation.bonding import BIN_WIDTH, BondCoverage
from helm_ase.representation.geometry import near_pairs
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.periodic_pairs import periodic_pairs

Molecule = tuple[NDArray[np.int64], NDArray[np.float64]]
Crystal = tuple[NDArray[np.int64], NDArray[np.float64], Lattice]


@dataclass(frozen=True)
class DistanceCoverage:
    """For each pair of elements, the distance bins that occurred in training.

    A coarse test whether something similar occurred in training: a bond length or contact that never occurred
    between two elements is extrapolation, whatever the rest of the molecule looks like.
    """

    limit: float
    """Largest distance recorded, Å."""
    bins: Mapping[tuple[int, int], frozenset[int]] = field(default_factory=dict)
    """(Z1 ≤ Z2) → indices of bins of width :data:`BIN_WIDTH`."""
    bonding: BondCoverage | None = None
    """Environments of atoms and lengths of bonds; models of before have it in a file beside them, or not."""

    @classmethod
    def collect(cls, structures: Iterable[Molecule | Crystal], limit: float) -> "DistanceCoverage":
        """Record the distances of (numbers, positions in Å), of crystals also the lattice."""
        seen: dict[tuple[int, int], set[int]] = {}
        for numbers, positions, *lattice in structures:
            for a, b, distance in zip(*_pairs(numbers, positions, limit, *lattice), strict=True):
                seen.setdefault((int(a), int(b)), set()).add(int(distance / BIN_WIDTH))
        return cls(limit, {pair: frozenset(bins) for pair, bins in seen.items()})

    @cached_property
    def _table(self) -> NDArray[np.bool_]:
        """Whether bin k of elements (a, b), or a neighbour of it, was seen; (Z, Z, bins), symmetric."""
        size = 1 + max((z for pair in self.bins for z in pair), default=0)
        table = np.zeros((size, size, int(self.limit / BIN_WIDTH) + 3), dtype=bool)
        for (a, b), bins in self.bins.items():
            for k in bins:
                table[a, b, max(k - 1, 0) : k + 2] = table[b, a, max(k - 1, 0) : k + 2] = True
        return table

    def unseen(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], lattice: Lattice | None = None
    ) -> dict[tuple[int, int], list[float]]:
        """Distances (Å) of each element pair further than one bin from any in training."""
        z1, z2, distances = _pairs(numbers, positions, self.limit, lattice)
        known = (z1 < len(self._table)) & (z2 < len(self._table))
        seen = np.zeros(len(distances), dtype=bool)
        bins = (distances / BIN_WIDTH).astype(np.int64)
        seen[known] = self._table[z1[known], z2[known], bins[known]]
        new: dict[tuple[int, int], list[float]] = {}
        for k in np.flatnonzero(~seen):
            new.setdefault((int(z1[k]), int(z2[k])), []).append(float(distances[k]))
        return new

    def to_json(self) -> dict[str, object]:
        """Plain types for a checkpoint header."""
        pairs = {f"{a}-{b}": sorted(bins) for (a, b), bins in sorted(self.bins.items())}
        header: dict[str, object] = {"limit": self.limit, "bin_width": BIN_WIDTH, "pairs": pairs}
        return header if self.bonding is None else header | {"bonding": self.bonding.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "DistanceCoverage":
        """Inverse of :meth:`to_json`."""
        pairs = data["pairs"]
        if data["bin_width"] != BIN_WIDTH or not isinstance(pairs, dict):
            raise ValueError(f"coverage with bins of {data['bin_width']} Å; this version reads {BIN_WIDTH}")
        bins = {tuple(map(int, key.split("-"))): frozenset(map(int, places)) for key, places in pairs.items()}
        bonds: Any = data.get("bonding")
        bonding = None if bonds is None else BondCoverage.from_json(bonds)
        return cls(float(data["limit"]), bins, bonding)  # type: ignore[arg-type]


def describe(unseen: Mapping[tuple[int, int], list[float]]) -> str:
    """One line for a warning: which pairs at which distances."""
    parts = [
        f"{chemical_symbols[a]}–{chemical_symbols[b]} at "
        f"{', '.join(f'{d:.2f}' for d in sorted(distances)[:3])} Å" + (" …" if len(distances) > 3 else "")
        for (a, b), distances in sorted(unseen.items())
    ]
    return "; ".join(parts)


def _pairs(
    numbers: NDArray[np.int64], positions: NDArray[np.float64], limit: float, lattice: Lattice | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Lower and higher atomic number and distance (Å) of every pair within ``limit``."""
    if lattice is not None and lattice.dimensions:
        pairs = periodic_pairs(numbers, positions, limit, lattice)
        one, other = pairs.pairs
        apart = positions[other] - positions[one] + lattice.vectors(pairs.shifts)
        z1, z2 = numbers[one], numbers[other]
        return np.minimum(z1, z2), np.maximum(z1, z2), np.linalg.norm(apart, axis=1)
    first, second, distances = near_pairs(positions, limit)
    z1, z2 = numbers[first], numbers[second]
    return np.minimum(z1, z2), np.maximum(z1, z2), distances
