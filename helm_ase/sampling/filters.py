"""Filters for geometries whose bonds have changed, and for duplicates."""

from collections import defaultdict

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from helm_ase.representation.connectivity import fragments

LONGEST_BOND = 1.35
"""Bonds stretched beyond this many sums of covalent radii are broken."""
SHORTEST_BOND = 0.65
"""Bonds below this many sums of covalent radii are squeezed."""
SHORTEST_CONTACT = 1.15
"""Atoms without a bond that come closer than this many sums of covalent radii have bonded.

Less than the 1.25 of :mod:`helm_ase.representation.connectivity`, as opposite corners of small rings come
close.
"""
LARGEST_SEPARATION = 5.0
"""Distance in Å from the rest of a cluster beyond which a molecule counts as separated."""


def find_fault(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], bonds: NDArray[np.bool_]
) -> str | None:
    """Fault of a geometry that should have the given bonds; None if it has them.

    Parameters
    ----------
    numbers, positions, bonds
        (N,); Å, (N, 3); (N, N).

    Returns
    -------
    fault
        ``atoms too close``, ``bond broken``, ``bond formed``, ``parts merged`` or ``parts dissociated``.
    """
    radii = covalent_radii[np.asarray(numbers, dtype=int)]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    relative = distances / (radii[:, None] + radii[None])
    if (relative < SHORTEST_BOND).any():
        return "atoms too close"
    if (relative[bonds] > LONGEST_BOND).any():
        return "bond broken"
    part = fragments(bonds)
    apart = part[:, None] != part[None]
    touching = ~bonds & (relative < SHORTEST_CONTACT)
    if (touching & apart).any():
        return "parts merged"
    if touching.any():
        return "bond formed"
    between = np.where(apart, distances, np.inf)
    if part.max() > 0 and any(between[part == p].min() > LARGEST_SEPARATION for p in range(part.max() + 1)):
        return "parts dissociated"
    return None


class Register:
    """Structures seen so far; tells which of the next are new.

    Parameters
    ----------
    tolerance
        Å by which sorted interatomic distances, those between the same elements compared, may differ in
        geometries that count as one.  Mirror images are one: their labels follow from each other.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._keys: set[str] = set()
        self._seen: dict[tuple[object, ...], list[NDArray[np.float64]]] = defaultdict(list)

    def add(self, atoms: Atoms) -> str | None:
        """Register ``atoms``; ``duplicate`` or ``near duplicate`` if they were there, None if new."""
        from helm_ase.representation.labelled import structure_key

        state = int(atoms.info["charge"]), int(atoms.info["multiplicity"])
        key = structure_key(atoms.numbers, atoms.positions, *state)
        if key in self._keys:
            return "duplicate"
        group = (atoms.info["smiles"], *state, *sorted(atoms.numbers))
        distances = sorted_distances(atoms.numbers, atoms.positions)
        for other in self._seen[group]:
            if len(distances) == 0 or np.abs(distances - other).max() < self._tolerance:
                return "near duplicate"
        self._keys.add(key)
        self._seen[group].append(distances)
        return None


def sorted_distances(numbers: NDArray[np.integer], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interatomic distances sorted within each pair of elements, Å, (N (N − 1) / 2,)."""
    i, j = np.triu_indices(len(numbers), k=1)
    distances = np.linalg.norm(positions[i] - positions[j], axis=1)
    low, high = np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])
    return np.asarray(distances[np.lexsort((distances, high, low))])
