"""Bonds of a geometry, and a hash of the bond graph as name of a molecule without SMILES."""

import hashlib
from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from helm_ase.representation.geometry import FEW, near_pairs

BOND_FACTOR = 1.25
"""Two atoms closer than this many times the sum of their covalent radii are bonded."""


def bonded(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], factor: float = BOND_FACTOR
) -> NDArray[np.bool_]:
    """Bond matrix, symmetric, False on the diagonal; (N, N)."""
    return bond_matrices(numbers, positions, [factor])[0]


def bond_matrices(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], factors: Sequence[float]
) -> list[NDArray[np.bool_]]:
    """Bond matrices, (N, N) each, by several factors of the sum of covalent radii."""
    radii = covalent_radii[np.asarray(numbers, dtype=int)]
    first, second, distances = near_pairs(positions, 2 * max(factors) * radii.max(initial=0.0))
    sums, matrices = radii[first] + radii[second], []
    for factor in factors:
        touch = distances < factor * sums
        matrix = np.zeros((len(radii), len(radii)), dtype=bool)
        matrix[first[touch], second[touch]] = matrix[second[touch], first[touch]] = True
        matrices.append(matrix)
    return matrices


def fragments(bonds: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Label of the connected part to which each atom belongs, counted in the order of their first atoms;
    (N,)."""
    if len(bonds) > FEW:
        from scipy.sparse.csgraph import connected_components

        return np.asarray(connected_components(bonds, directed=False)[1], dtype=np.int64)
    reached = np.arange(len(bonds))  # the lowest atom that each knows to be in its part
    linked = bonds | np.eye(len(bonds), dtype=bool)
    while True:
        lowest = np.where(linked, reached, len(bonds)).min(1, initial=len(bonds))
        lowest = lowest[lowest]
        if (lowest == reached).all():
            return np.unique(reached, return_inverse=True)[1]
        reached = lowest


def molecule_hash(numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int = 0) -> str:
    """Name shared by all geometries of one bond graph, whatever the numbering; 16 hexadecimal digits."""
    return graph_hash(numbers, bonded(numbers, positions), charge)


def graph_hash(numbers: NDArray[np.integer], bonds: NDArray[np.bool_], charge: int = 0) -> str:
    """Name of a bond graph, (N,) and (N, N), whatever the numbering; 16 hexadecimal digits.

    Colours of the atoms are refined by those of their neighbours (Weisfeiler–Leman), which tells apart
    all molecules of the usual data sets, but not every pair of graphs; stereoisomers share a name.
    """
    return refined_colours([str(int(z)) for z in numbers], bonds, f"{charge}:")


def refined_colours(colours: Sequence[str], bonds: NDArray[np.bool_], start: str = "") -> str:
    """Name of a graph whose atoms have colours, with bonds (N, N); 16 hexadecimal digits."""
    colours = list(colours)
    for _ in range(min(len(colours), 16)):
        colours = [
            _digest(c + "|" + ",".join(sorted(colours[j] for j in np.flatnonzero(row))))
            for c, row in zip(colours, bonds, strict=True)
        ]
    return _digest(start + ".".join(sorted(colours)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
