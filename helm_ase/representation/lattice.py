"""The lattice of a crystal: its cell, its translations, and which image of a neighbour is the nearest.

Rows of the cell are the lattice vectors, as in ASE; a translation is an integer triple T and stands for the
vector T @ cell; k points are fractional, k · T needs no cell.  A molecule is the lattice without any
periodic direction: its only translation is zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell, minkowski_reduce
from numpy.typing import ArrayLike, NDArray

from helm_ase.errors import StructureError

SHORTEST = 0.5
"""Å; in a lattice with a shorter vector an atom would meet its own image."""

VACUUM = 15.0
"""Å of vacuum in formats whose cells repeat in all directions."""

EQUIDISTANT = 1e-5
"""Å; images whose distances differ by less are equally near, and share what belongs to the pair."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Cell and periodic directions; arrays are copied and cannot be written to."""

    cell: NDArray[np.float64]
    """Lattice vectors as rows, Å, (3, 3); rows without periodicity may be zero, as ASE's."""
    pbc: NDArray[np.bool_]
    """Whether the crystal repeats along each of them, (3,)."""

    def __post_init__(self) -> None:
        cell, pbc = np.array(self.cell, dtype=np.float64), np.array(self.pbc, dtype=bool)
        if pbc.ndim == 0:
            pbc = np.repeat(pbc, 3)
        if cell.shape != (3, 3) or pbc.shape != (3,):
            raise StructureError(
                f"cell {cell.shape} and pbc {pbc.shape} make no lattice; (3, 3) and (3,) are needed"
            )
        if not np.isfinite(cell).all():
            raise StructureError(f"the cell holds numbers that are not finite: {cell.tolist()}")
        for name, value in (("cell", cell), ("pbc", pbc)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        self._check_vectors()

    def _check_vectors(self) -> None:
        periodic = self.cell[self.pbc]
        if len(periodic) and np.linalg.matrix_rank(periodic, tol=1e-8) < len(periodic):
            raise StructureError(
                f"the lattice vectors of the periodic directions {self.cell.tolist()} depend on each other; "
                f"set pbc to False along directions that do not repeat"
            )
        reduced = minkowski_reduce(self.complete, self.pbc)[0][self.pbc]
        if (short := np.linalg.norm(reduced, axis=1).min(initial=np.inf)) < SHORTEST:
            raise StructureError(
                f"the lattice has a vector of {short:.3g} Å; below {SHORTEST} Å an atom meets its own image: "
                f"check the unit of the cell (Å)"
            )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Lattice)
            and np.array_equal(self.cell, other.cell)
            and np.array_equal(self.pbc, other.pbc)
        )

    def __hash__(self) -> int:
        return hash((self.cell.tobytes(), self.pbc.tobytes()))

    @classmethod
    def of_atoms(cls, atoms: Atoms) -> "Lattice":
        """Lattice of ASE's ``Atoms``.

        Raises
        ------
        StructureError
            If its periodic lattice vectors make no lattice.
        """
        return cls(atoms.cell.array, atoms.pbc)

    @classmethod
    def none(cls) -> "Lattice":
        """Lattice without periodicity, for molecules; its only translation is zero."""
        return cls(np.zeros((3, 3)), np.zeros(3, dtype=bool))

    @cached_property
    def complete(self) -> NDArray[np.float64]:
        """The cell, rows without periodicity replaced by unit vectors normal to the others, Å, (3, 3)."""
        return np.asarray(complete_cell(np.where(self.pbc[:, None], self.cell, 0.0)))

    @cached_property
    def reciprocal(self) -> NDArray[np.float64]:
        """Rows b_j with a_i · b_j = 2π δ_ij, 1/Å, (3, 3); those without periodicity are zero."""
        return np.where(self.pbc[:, None], 2 * np.pi * np.linalg.inv(self.complete).T, 0.0)

    @cached_property
    def heights(self) -> NDArray[np.float64]:
        """Distance of the two faces that each lattice vector joins, Å, (3,); of the completed cell."""
        return np.asarray(1 / np.linalg.norm(np.linalg.inv(self.complete), axis=0))

    @property
    def dimensions(self) -> int:
        """Number of periodic directions: 0 molecule, 1 chain, 2 slab, 3 bulk."""
        return int(self.pbc.sum())

    @property
    def volume(self) -> float:
        """Volume, area or length of the cell in the periodic directions, Å to the power ``dimensions``."""
        return float(abs(np.linalg.det(self.complete)))

    def fractional(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Positions in Å, (..., 3), in units of the completed cell's vectors."""
        return np.asarray(positions, dtype=np.float64) @ np.linalg.inv(self.complete)

    def vectors(self, translations: ArrayLike) -> NDArray[np.float64]:
        """Vectors of integer translations, (..., 3) → Å, (..., 3)."""
        return np.asarray(translations, dtype=np.float64) @ self.complete

    def translations(self, radius: float, positions: ArrayLike = ((0.0, 0.0, 0.0),)) -> NDArray[np.int64]:
        """All T for which some atom of cell T lies within ``radius`` of some atom of cell 0.

        Parameters
        ----------
        radius
            Å, not negative.
        positions
            Positions of the atoms of a cell, Å, (N, 3); without them the cells' corners.

        Returns
        -------
        NDArray
            (n_T, 3), closed under T → −T, ascending (as words are sorted), zero in the middle.
        """
        r = np.asarray(positions, dtype=np.float64)
        apart = (r[None, :] - r[:, None]).reshape(-1, 3)
        spread = np.abs(self.fractional(apart)).max(0)
        reach = np.where(self.pbc, np.floor(radius / self.heights + spread + 1e-9), 0)
        grid = integer_grid(-reach, reach)
        near = np.array([_within(apart + v, radius) for v in self.vectors(grid)])
        return np.asarray(grid[near | near[::-1]])

    def supercell(self, repeats: Sequence[int]) -> "Lattice":
        """The lattice of the cell repeated along its vectors.

        Raises
        ------
        StructureError
            If a repeat is less than 1, or more along a direction that is not periodic.
        """
        n = np.asarray(repeats)
        if n.shape != (3,) or (n < 1).any() or (n[~self.pbc] != 1).any():
            raise StructureError(
                f"repeats {tuple(repeats)}: three numbers from 1 upwards are needed, and 1 along directions "
                f"without periodicity (pbc is {self.pbc.tolist()})"
            )
        return Lattice(self.cell * n[:, None], self.pbc)


def _within(vectors: NDArray[np.float64], radius: float) -> bool:
    return bool((np.einsum("px,px->p", vectors, vectors) <= radius**2).any())


def filled_cell(atoms: Atoms) -> NDArray[np.float64]:
    """Cell with three vectors, Å, (3, 3): missing ones are normal to the others and leave ``VACUUM``.

    For formats that know no missing periodicity.

    Raises
    ------
    StructureError
        If the periodic lattice vectors make no lattice.
    """
    if atoms.pbc.all():
        return np.array(atoms.cell.array)
    lattice = Lattice.of_atoms(atoms)
    extent = np.ptp(lattice.fractional(atoms.positions), axis=0) + VACUUM  # missing vectors are 1 Å long
    return np.where(lattice.pbc[:, None], lattice.cell, lattice.complete * extent[:, None])


def integer_grid(low: ArrayLike, high: ArrayLike) -> NDArray[np.int64]:
    """Integer triples from ``low`` to ``high``, both included, ascending; shape (points, 3)."""
    axes = [np.arange(int(a), int(b) + 1) for a, b in zip(np.asarray(low), np.asarray(high), strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def nearest_images(
    lattice: Lattice, positions: ArrayLike, mesh: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Wigner–Seitz images: where a function known on a mesh of k points lives in real space.

    A mesh of n points knows translations modulo n only.  For every pair of atoms each class T + m n is
    represented by the member that brings the atoms nearest to each other; members that are equally near
    share the class.

    Parameters
    ----------
    lattice, positions
        Lattice and positions of the crystal, positions in Å, (N, 3).
    mesh
        Points along each reciprocal vector; 1 where there is no periodicity.

    Returns
    -------
    translations, weights
        (n_T, 3), closed under T → −T and ascending; and the share of each T for atoms i of cell 0 and j of
        cell T, (n_T, N, N), with w_ij(T) = w_ji(−T).

    Raises
    ------
    StructureError
        If the mesh does not fit the periodic directions.

    References
    ----------
    Marzari, Mostofi, Yates, Souza, Vanderbilt, Rev. Mod. Phys. 84, 1419 (2012), section VI.
    """
    r = np.asarray(positions, dtype=np.float64)
    large = lattice.supercell(mesh)
    weights: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for i in range(len(r)):
        for j in range(i, len(r)):
            images, shares = _images_of_pair(lattice, large, np.asarray(mesh), r[j] - r[i])
            for t, share in zip(images.tolist(), shares, strict=True):
                weights.setdefault(tuple(t), np.zeros((len(r), len(r))))[i, j] = share
                weights.setdefault(tuple(-x for x in t), np.zeros((len(r), len(r))))[j, i] = share
    order = sorted(weights)
    return np.array(order, dtype=np.int64), np.stack([weights[t] for t in order])


def _images_of_pair(
    lattice: Lattice, large: Lattice, mesh: NDArray[np.int64], apart: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Translations (P, 3) and shares (P,) of one pair, ``apart`` the vector between its atoms in cell 0."""
    classes = integer_grid(np.zeros(3), mesh - 1)
    back = np.where(lattice.pbc, np.round(large.fractional(apart + lattice.vectors(classes))), 0)
    start = classes - (back * mesh).astype(np.int64)  # within half a vector of the supercell
    longest = 0.5 * np.linalg.norm(large.complete[large.pbc], axis=1).sum()
    reach = np.where(large.pbc, np.ceil(longest / large.heights + 0.5), 0)
    candidates = start[:, None] + integer_grid(-reach, reach)[None] * mesh  # (classes, images, 3)
    distance = np.linalg.norm(apart + lattice.vectors(candidates), axis=-1)
    nearest = distance <= distance.min(1, keepdims=True) + EQUIDISTANT
    shares = nearest / nearest.sum(1, keepdims=True)
    return candidates[nearest], shares[nearest]
