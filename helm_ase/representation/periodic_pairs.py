"""Pairs of atoms of a crystal within a cutoff, images and self-images included, each of them once."""

from dataclasses import dataclass

import numpy as np
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray

from helm_ase.errors import StructureError
from helm_ase.representation.geometry import COINCIDENT
from helm_ase.representation.lattice import Lattice


@dataclass(frozen=True)
class PeriodicPairs:
    """Pairs (i, j, T): atom i of cell 0 and atom j of cell T.

    (i, j, T) and (j, i, −T) are one pair.  It is listed with the lower atomic number first; of equal
    elements with the lower atom first; of an atom and its own image with the larger T first.
    """

    pairs: NDArray[np.int64]
    """(2, P)."""
    shifts: NDArray[np.int64]
    """T of every pair, (P, 3)."""
    translations: NDArray[np.int64]
    """All T and −T of pairs, and zero, ascending, (n_T, 3)."""
    slots: NDArray[np.int64]
    """Place of each pair's T among them, (P,)."""


def periodic_pairs(
    numbers: NDArray[np.int64], positions: NDArray[np.float64], cutoff: float, lattice: Lattice
) -> PeriodicPairs:
    """All pairs whose atoms are nearer than ``cutoff`` (Å); positions in Å, (N, 3)."""
    i, j, shifts = primitive_neighbor_list("ijS", lattice.pbc, lattice.complete, positions, cutoff)
    shifts = shifts.astype(np.int64).reshape(-1, 3)
    z1, z2 = numbers[i], numbers[j]
    once = (z1 < z2) | ((z1 == z2) & (i < j)) | ((i == j) & _is_positive(shifts))
    pairs, shifts = np.stack([i, j]).astype(np.int64)[:, once], shifts[once]
    order = np.lexsort((*shifts.T[::-1], pairs[1], pairs[0]))
    pairs, shifts = pairs[:, order], shifts[order]
    everything = np.concatenate([shifts, -shifts, np.zeros((1, 3), np.int64)])
    translations, place = np.unique(everything, axis=0, return_inverse=True)
    return PeriodicPairs(pairs, shifts, translations, place.reshape(-1)[: len(shifts)])


def _is_positive(shifts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the first number that is not zero is positive, (P,)."""
    weighted = np.sign(shifts) @ np.array([9, 3, 1])
    return np.asarray(weighted > 0)


def check_images(positions: NDArray[np.float64], near: PeriodicPairs, lattice: Lattice) -> None:
    """Refuse atoms that coincide with the image of another one.

    Raises
    ------
    StructureError
        Naming both, and the translation.
    """
    first, second = near.pairs
    apart = positions[second] - positions[first] + lattice.vectors(near.shifts)
    distances = np.linalg.norm(apart, axis=1)
    if len(distances) and distances.min() < COINCIDENT:
        k = int(distances.argmin())
        raise StructureError(
            f"atom {first[k]} and the image of atom {second[k]} at translation {near.shifts[k].tolist()} "
            f"are {distances[k]:.3f} Å apart; anything below {COINCIDENT} Å is refused: check the cell, and "
            f"whether atoms on its faces are listed twice"
        )
