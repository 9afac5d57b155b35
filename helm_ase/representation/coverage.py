"""Which distances between which elements a training set has shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.representation.bonding import BIN_WIDTH, BondCoverage


@dataclass(frozen=True)
class DistanceCoverage:
    """For each pair of elements, the distance bins that occurred in training.

    A coarse but honest answer to "has the model seen anything like this?": a bond length or contact that
    never occurred between two elements is extrapolation, whatever the rest of the molecule looks like.
    """

    limit: float
    """Largest distance recorded, Å."""
    bins: Mapping[tuple[int, int], frozenset[int]] = field(default_factory=dict)
    """(Z1 ≤ Z2) → indices of bins of width :data:`BIN_WIDTH`."""
    bonding: BondCoverage | None = None
    """Environments of atoms and lengths of bonds; models of before have it in a file beside them, or not."""

    @classmethod
    def collect(
        cls, molecules: Iterable[tuple[NDArray[np.int64], NDArray[np.float64]]], limit: float
    ) -> "DistanceCoverage":
        """Record the distances of (numbers, positions in Å)."""
        seen: dict[tuple[int, int], set[int]] = {}
        for numbers, positions in molecules:
            for a, b, distance in zip(*_pairs(numbers, positions, limit), strict=True):
                seen.setdefault((int(a), int(b)), set()).add(int(distance / BIN_WIDTH))
        return cls(limit, {pair: frozenset(found) for pair, found in seen.items()})

    @cached_property
    def _table(self) -> NDArray[np.bool_]:
        """Whether bin k of elements (a, b), or a neighbour of it, was seen; (Z, Z, bins), symmetric."""
        size = 1 + max((z for pair in self.bins for z in pair), default=0)
        table = np.zeros((size, size, int(self.limit / BIN_WIDTH) + 3), dtype=bool)
        for (a, b), found in self.bins.items():
            for k in found:
                table[a, b, max(k - 1, 0) : k + 2] = table[b, a, max(k - 1, 0) : k + 2] = True
        return table

    def unseen(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64]
    ) -> dict[tuple[int, int], list[float]]:
        """Distances (Å) of each element pair further than one bin from any in training."""
        z1, z2, distances = _pairs(numbers, positions, self.limit)
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
        pairs = {f"{a}-{b}": sorted(found) for (a, b), found in sorted(self.bins.items())}
        found: dict[str, object] = {"limit": self.limit, "bin_width": BIN_WIDTH, "pairs": pairs}
        return found if self.bonding is None else found | {"bonding": self.bonding.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "DistanceCoverage":
        """Inverse of :meth:`to_json`."""
        pairs = data["pairs"]
        if data["bin_width"] != BIN_WIDTH or not isinstance(pairs, dict):
            raise ValueError(f"coverage with bins of {data['bin_width']} Å; this version reads {BIN_WIDTH}")
        bins = {tuple(map(int, key.split("-"))): frozenset(map(int, found)) for key, found in pairs.items()}
        bonding: Any = data.get("bonding")
        found = None if bonding is None else BondCoverage.from_json(bonding)
        return cls(float(data["limit"]), bins, found)  # type: ignore[arg-type]


def describe(unseen: Mapping[tuple[int, int], list[float]]) -> str:
    """One line for a warning: which pairs at which distances."""
    parts = [
        f"{chemical_symbols[a]}–{chemical_symbols[b]} at {', '.join(f'{d:.2f}' for d in sorted(found)[:3])} Å"
        + (" …" if len(found) > 3 else "")
        for (a, b), found in sorted(unseen.items())
    ]
    return "; ".join(parts)


def _pairs(
    numbers: NDArray[np.int64], positions: NDArray[np.float64], limit: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Lower and higher atomic number and distance (Å) of every pair within ``limit``."""
    first, second = np.triu_indices(len(numbers), k=1)
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    near = distances < limit
    z1, z2 = numbers[first[near]], numbers[second[near]]
    return np.minimum(z1, z2), np.maximum(z1, z2), distances[near]
