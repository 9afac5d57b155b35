"""Periodic boxes: which directions are periodic, and how molecules are taken out of a box."""

from collections import deque
from itertools import compress

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list

from helm_ase.errors import StructureError
from helm_ase.representation.connectivity import BOND_FACTOR
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.periodic_pairs import periodic_pairs

SMALLEST = 2.0
"""Smallest height of a box, Å, that can hold a molecule."""
APART = 5.0
"""Distance, Å, from all images beyond which molecules in a box are no crystal."""
VACUUM = 8.0
"""Å between layers of atoms from which on a direction is not periodic, but vacuum."""


def out_of_box(atoms: Atoms) -> Atoms:
    """The same molecules without periodicity; molecules cut by the walls are put together.

    Of several molecules, the images nearest to the first one are taken.

    Raises
    ------
    StructureError
        If the cell is not a valid box, or bonds continue through it periodically, as in a crystal or polymer.
    """
    if not len(atoms):
        raise StructureError("there are no atoms in the box")
    heights = atoms.cell.volume / np.maximum(atoms.cell.areas(), 1e-12) if atoms.cell.rank == 3 else [0.0]
    if min(heights) < SMALLEST:
        raise StructureError(f"a box of lengths {atoms.cell.lengths()} Å holds no molecule")
    shifts, part = _shifts(atoms)
    positions = atoms.positions + shifts @ atoms.cell.array
    first = positions[part == 0].mean(axis=0)
    for k in range(1, part.max() + 1):
        away = positions[part == k].mean(axis=0) - first
        near, _ = find_mic(away, atoms.cell, atoms.pbc)
        positions[part == k] += near - away
    molecules = Atoms(atoms.numbers, positions, info=dict(atoms.info))
    molecules.set_initial_charges(atoms.get_initial_charges())
    molecules.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    return molecules


def periodic_along(atoms: Atoms, vectors: str) -> Atoms:
    """A copy that is periodic along the cell vectors of these names and along no other, as ``"ab"``.

    Raises
    ------
    StructureError
        If there is no such vector.
    """
    if not vectors or set(vectors) - set("abc"):
        raise StructureError(f"{vectors!r} names no cell vectors; write a, ab, abc, ...")
    chosen = [name in vectors for name in "abc"]
    missing = [name for name, length in zip("abc", atoms.cell.lengths(), strict=True) if not length]
    if absent := [name for name in vectors if name in missing]:
        raise StructureError(
            f"the cell has no vector {' and '.join(absent)}, so that this is not periodic along it"
        )
    copy = atoms.copy()
    copy.pbc = chosen
    return copy


def is_isolated(atoms: Atoms) -> bool:
    """Whether this is no crystal but molecules in a box, as some readers make them.

    Their bonds end inside the box, and no atom is nearer than ``APART`` to an image of any.
    """
    try:
        free = out_of_box(atoms)
        lattice = Lattice.of_atoms(atoms)
    except StructureError:
        return False
    near = periodic_pairs(free.numbers.astype(np.int64), free.positions, APART, lattice)
    return not near.shifts.any()


def refuse_periodic_vacuum(atoms: Atoms) -> None:
    """Raise an error if a direction that is said to be periodic holds a wide gap without atoms.

    The zero of energy of a slab or chain is the vacuum, that of bulk the mean potential, which would depend
    on the width of the gap.

    Raises
    ------
    StructureError
        With the direction and what to do.
    """
    lattice = Lattice.of_atoms(atoms)
    places = np.sort(lattice.fractional(atoms.positions) % 1.0, axis=0)
    gaps = np.diff(places, axis=0, append=places[:1] + 1.0).max(0)
    gaps = gaps * lattice.heights
    wide = [k for k in range(3) if lattice.pbc[k] and gaps[k] > VACUUM]
    if len(wide) == lattice.dimensions:
        raise StructureError(
            "this is a molecule in a periodic box, not a crystal: set atoms.pbc = False (on the command line "
            "--no-pbc), and take a model of molecules"
        )
    if wide:
        pbc = [bool(p) and k not in wide for k, p in enumerate(lattice.pbc)]
        names, width = " and ".join("abc"[k] for k in wide), gaps[wide[0]]
        option = "".join(compress("abc", pbc))
        raise StructureError(
            f"along {names} the cell holds {width:.0f} Å of vacuum, yet it is periodic: set atoms.pbc = "
            f"{pbc} (on the command line --pbc {option}), so that levels count from the vacuum"
        )


def _shifts(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Cells by which atoms move to lie beside those they are bonded to, (N, 3); their molecules, (N,)."""
    radii = BOND_FACTOR * covalent_radii[atoms.numbers]
    first, second, across = neighbor_list("ijS", atoms, radii)
    bonds: dict[int, list[tuple[int, np.ndarray]]] = {k: [] for k in range(len(atoms))}
    for i, j, s in zip(first, second, across, strict=True):
        bonds[int(i)].append((int(j), s))
    shifts, part = np.zeros((len(atoms), 3), dtype=int), np.full(len(atoms), -1)
    for seed in range(len(atoms)):
        if part[seed] >= 0:
            continue
        part[seed] = part.max() + 1
        waiting = deque([seed])
        while waiting:
            i = waiting.popleft()
            for j, s in bonds[i]:
                if part[j] < 0:
                    part[j], shifts[j] = part[seed], shifts[i] + s
                    waiting.append(j)
                elif not np.array_equal(shifts[j], shifts[i] + s):
                    raise StructureError("bonds run through the box without end: this is a crystal")
    return shifts, part
