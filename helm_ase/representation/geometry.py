"""Pairs of atoms that are near each other, and checks of geometries for which no calculation makes sense."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import StructureError

COINCIDENT = 0.1
"""Two atoms closer than this (Å) are a mistake in the input, not a molecule."""
FEW = 300
"""Atoms up to which all distances are computed: quicker than a tree, and little memory."""


class NearPairs(NamedTuple):
    """Pairs of atoms within a distance, in ascending order of the first atom, then of the second."""

    first: NDArray[np.int64]
    """Lower index of each pair, (P,)."""
    second: NDArray[np.int64]
    """Higher index, (P,)."""
    distances: NDArray[np.float64]
    """Å, (P,)."""


def near_pairs(positions: NDArray[np.float64], cutoff: float) -> NearPairs:
    """Pairs of atoms closer than ``cutoff`` in Å, from positions in Å, finite, (N, 3).

    Of many atoms, time and memory are proportional to the atoms and pairs.
    """
    if len(positions) <= FEW:
        first, second = _all_pairs(len(positions))
    else:
        from scipy.spatial import cKDTree

        wider = cutoff * (1 + 1e-9)  # the tree rounds in another way
        found = cKDTree(positions).query_pairs(wider, output_type="ndarray").astype(np.int64)
        first, second = found[np.lexsort((found[:, 1], found[:, 0]))].T
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    near = distances < cutoff
    return NearPairs(first[near], second[near], distances[near])


@lru_cache(maxsize=32)
def _all_pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both indices of every pair of so many atoms; read-only, for callers share them."""
    first, second = np.triu_indices(count, k=1)
    first.flags.writeable = second.flags.writeable = False
    return first, second


def check_geometry(numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> None:
    """Refuse geometries on which any model would return nonsense.

    Raises
    ------
    StructureError
        If there are no atoms, an atomic number or position is not valid, or two atoms coincide.
    """
    if len(numbers) == 0:
        raise StructureError("the Atoms object is empty; HELM needs at least one atom")
    if positions.shape != (len(numbers), 3):
        raise StructureError(f"positions have shape {positions.shape}, not ({len(numbers)}, 3)")
    check_types(numbers, positions)
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        raise StructureError(f"position of atom {bad[0]} is not finite: {positions[bad[0]]}")
    first, second, distances = near_pairs(positions, COINCIDENT)
    if len(distances):
        k = int(distances.argmin())
        raise StructureError(
            f"atoms {first[k]} and {second[k]} are {distances[k]:.3f} Å apart; "
            f"anything below {COINCIDENT} Å is refused: check the geometry for duplicated atoms"
        )


def check_types(numbers: NDArray[Any], positions: NDArray[Any]) -> None:
    """Refuse arrays that are not atomic numbers and real coordinates.

    Raises
    ------
    StructureError
        If atomic numbers are not whole, or positions not real; complex ones would be cut down in silence.
    """
    for what, values, kinds in (("atomic numbers", numbers, "iu"), ("positions", positions, "fiu")):
        if values.dtype.kind not in kinds:
            allowed = "whole" if kinds == "iu" else "real"
            raise StructureError(f"{what} must be {allowed} numbers, not of type {values.dtype}")
