"""Checks of geometries for which no calculation makes sense."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import StructureError

COINCIDENT = 0.1
"""Two atoms closer than this (Å) are a mistake in the input, not a molecule."""


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
    first, second = np.triu_indices(len(numbers), k=1)
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    if len(distances) and distances.min() < COINCIDENT:
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
