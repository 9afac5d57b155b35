"""Kinds of bonds and atoms in a crystal, by which missing, added and strange atoms show."""

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


class AtomKind(NamedTuple):
    """Atom by what it is bonded to."""

    element: int
    """Atomic number."""
    neighbours: int
    """Number of atoms that it is bonded to."""
    hydrogens: int
    """Number of hydrogen atoms among them."""


def bond_kinds(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> frozenset[BondKind]:
    """Kinds of bonds in a crystal, whatever cell it is described by.

    Parameters
    ----------
    numbers, positions, lattice
        Atomic numbers, (N,), positions in Å, (N, 3), and lattice.
    """
    first, second = _bonds(numbers, positions, lattice)
    neighbours = np.bincount(first, minlength=len(numbers))
    ends = list(zip(numbers.tolist(), neighbours.tolist(), strict=True))
    bonds = {(*ends[i], *ends[j]) for i, j in zip(first.tolist(), second.tolist(), strict=True)}
    alone = {(z, 0, 0, 0) for z, n in ends if n == 0}
    return frozenset(BondKind(*x) for x in bonds | alone if x[:2] <= x[2:] or x in alone)


def atom_kinds(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> list[AtomKind]:
    """Kind of each atom of a crystal; parameters as for :func:`bond_kinds`."""
    first, second = _bonds(numbers, positions, lattice)
    neighbours = np.bincount(first, minlength=len(numbers))
    hydrogens = np.bincount(first[numbers[second] == 1], minlength=len(numbers))
    columns = zip(numbers.tolist(), neighbours.tolist(), hydrogens.tolist(), strict=True)
    return [AtomKind(*kind) for kind in columns]


def _bonds(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both ends of every bond, in both directions, images included."""
    radii = BOND_FACTOR * covalent_radii[numbers]
    first, second = primitive_neighbor_list("ij", lattice.pbc, lattice.complete, positions, radii)
    return first, second
