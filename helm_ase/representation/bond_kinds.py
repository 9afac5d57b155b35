"""Kinds of bonds in a crystal, by which missing, added and strange atoms show."""

from typing import NamedTuple

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray

from helm_ase.representation.connectivity import BOND_FACTOR
from helm_ase.representation.lattice import Lattice


class BondKind(NamedTuple):
    """Bond by its ends, the smaller one first; zeros for the other end of an atom without bonds."""

    element: int
    """Atomic number."""
    neighbours: int
    """Number of atoms that it is bonded to."""
    other_element: int
    """Atomic number of the other end."""
    other_neighbours: int
    """Number of atoms that the other end is bonded to."""


def bond_kinds(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> frozenset[BondKind]:
    """Kinds of bonds in a crystal, whatever cell it is described by.

    Parameters
    ----------
    numbers, positions, lattice
        Atomic numbers, (N,), positions in Å, (N, 3), and lattice.
    """
    first, second = primitive_neighbor_list(
        "ij", lattice.pbc, lattice.complete, positions, BOND_FACTOR * covalent_radii[numbers]
    )
    neighbours = np.bincount(first, minlength=len(numbers))
    ends = list(zip(numbers.tolist(), neighbours.tolist(), strict=True))
    bonds = {(*ends[i], *ends[j]) for i, j in zip(first.tolist(), second.tolist(), strict=True)}
    alone = {(z, 0, 0, 0) for z, n in ends if n == 0}
    return frozenset(BondKind(*x) for x in bonds | alone if x[:2] <= x[2:] or x in alone)
