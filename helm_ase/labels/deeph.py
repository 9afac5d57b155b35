"""Folders of DeepH in the layout of 2026: a crystal with H(T) and S(T), for DeepH-pack and DeepH-dock.

``POSCAR``, ``info.json`` and ``overlap.h5``, ``hamiltonian.h5``.  Each of the last holds, for every pair of
atoms and translation that matter, a row T1 T2 T3 i j of ``atom_pairs`` (from zero), and its block, flattened,
in ``entries`` between two ``chunk_boundaries``, with the shape in ``chunk_shapes``.  H is in eV; functions of
a shell are listed with m ascending.  The layout says neither basis nor pseudopotentials: a basis that is read
knows the degrees of its shells only.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io import read, write
from numpy.typing import NDArray

from helm_ase.errors import BasisError, DatasetError
from helm_ase.labels.hdf5 import dataset, open_hdf5
from helm_ase.representation.basis import AOBasis
from helm_ase.representation.lattice import filled_cell
from helm_ase.representation.ordering import AOOrder
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.system.atomic_write import whole_file
from helm_ase.units import HARTREE_IN_EV

ORDER: AOOrder = "e3nn"
"""m = −l … l."""
NEGLIGIBLE = 1e-12
"""Blocks whose elements of H (Hartree) and S are all smaller are left out."""
LARGEST_DEGREE = 12
"""Largest degree of a shell; more is a damaged file."""
LARGEST_MATRIX = 2**32
"""Bytes that all blocks of one operator may take in memory."""


@dataclass(frozen=True)
class DeepHCrystal:
    """What a folder holds."""

    atoms: Atoms
    """Periodic in the directions in which there are blocks."""
    overlap: RealSpaceMatrix
    hamiltonian: RealSpaceMatrix | None
    """Hartree; None if the folder has none."""
    fermi_level: float
    """eV."""


def write_deeph(
    folder: str | Path,
    atoms: Atoms,
    hamiltonian: RealSpaceMatrix,
    overlap: RealSpaceMatrix,
    fermi_level: float = 0.0,
) -> None:
    """Write the four files of one crystal.

    Parameters
    ----------
    folder
        Made if it is not there.
    atoms
        The crystal; directions that are not periodic get a cell vector with vacuum.
    hamiltonian, overlap
        H(T), Hartree, and S(T) over the same functions.
    fermi_level
        eV.

    Raises
    ------
    BasisError
        If matrices and atoms do not fit.
    """
    folder = Path(folder)
    h, s = hamiltonian.reorder(ORDER), overlap.reorder(ORDER)
    if h.basis != s.basis or not all(np.array_equal(m.numbers, atoms.numbers) for m in (h, s)):
        raise BasisError("H, S and atoms do not belong to each other")
    folder.mkdir(parents=True, exist_ok=True)
    boxed = Atoms(atoms.numbers, atoms.positions, cell=filled_cell(atoms), pbc=True)
    with whole_file(folder / "POSCAR") as partial:
        write(partial, boxed, format="vasp", direct=True, vasp5=True)
    shells = {chemical_symbols[z]: list(h.basis.shells_of(z)) for z in np.unique(h.numbers).tolist()}
    info = {
        "atoms_quantity": len(atoms), "orbits_quantity": h.basis.size(h.numbers), "orthogonal_basis": False,
        "spinful": False, "fermi_energy_eV": fermi_level, "elements_orbital_map": shells,
    }  # fmt: skip
    with whole_file(folder / "info.json") as partial:
        partial.write_text(json.dumps(info, indent=4) + "\n", encoding="utf8")
    pairs = _pairs(h, s)
    for name, matrix, unit in (("overlap", s, 1.0), ("hamiltonian", h, HARTREE_IN_EV)):
        with whole_file(folder / f"{name}.h5") as partial:
            _write_blocks(partial, pairs, [unit * matrix.block(i, j, t) for *t, i, j in pairs.tolist()])


def _pairs(h: RealSpaceMatrix, s: RealSpaceMatrix) -> NDArray[np.int64]:
    """T1 T2 T3 i j of all blocks of either, (P, 5): the files of a folder must have the same."""
    offsets = h.basis.offsets(h.numbers)[:-1]
    rows: set[tuple[int, ...]] = {(0, 0, 0, i, i) for i in range(len(h.numbers))}
    for matrix in (h, s):
        largest = np.maximum.reduceat(np.abs(matrix.values), offsets, axis=1)
        largest = np.maximum.reduceat(largest, offsets, axis=2)
        for t, i, j in np.argwhere(largest > NEGLIGIBLE).tolist():
            rows.add((*matrix.translations[t].tolist(), i, j))
    return np.array(sorted(rows), dtype=np.int64)


def _write_blocks(path: Path, pairs: NDArray[np.int64], blocks: list[NDArray[np.float64]]) -> None:
    with h5py.File(path, "w") as file:
        file["atom_pairs"] = pairs
        file["chunk_shapes"] = np.array([b.shape for b in blocks], dtype=np.int64)
        file["chunk_boundaries"] = np.cumsum([0, *(b.size for b in blocks)], dtype=np.int64)
        file["entries"] = np.concatenate([b.ravel() for b in blocks])


def read_deeph(folder: str | Path, basis: str = "") -> DeepHCrystal:
    """Read one crystal.

    Parameters
    ----------
    folder
        With the files of the layout of 2026.
    basis
        Name that the basis is to have; the files state none.

    Raises
    ------
    DatasetError
        If the folder holds something else, is damaged, or has spin in its matrices.
    """
    folder = Path(folder)
    try:
        info = json.loads((folder / "info.json").read_text(encoding="utf8"))
        if info.get("spinful") or info.get("split_hkb"):
            raise ValueError("its matrices have spin, which is not read")
        atoms = _read_poscar(folder / "POSCAR")
        shells = {atomic_numbers[k]: _degrees(v) for k, v in info["elements_orbital_map"].items()}
        functions = AOBasis(basis or "DeepH", shells)
        overlap = _read_matrix(folder / "overlap.h5", atoms, functions, 1.0)
        place = folder / "hamiltonian.h5"
        h = _read_matrix(place, atoms, functions, 1 / HARTREE_IN_EV) if place.exists() else None
        atoms.pbc = overlap.translations.any(0)
        return DeepHCrystal(atoms, overlap, h, float(info.get("fermi_energy_eV", 0.0)))
    except Exception as error:  # a damaged file may raise anything
        raise DatasetError(f"{folder} is no folder of DeepH: {type(error).__name__}: {error}") from error


def _read_poscar(path: Path) -> Atoms:
    lines = path.read_text(encoding="utf8").splitlines()
    counts = [int(word) for line in lines[5:7] for word in line.split() if word.isdecimal()]
    if sum(counts) > len(lines):  # ASE would make room for as many
        raise ValueError(f"{path.name} announces {sum(counts)} atoms in {len(lines)} lines")
    atoms = read(path, format="vasp")
    assert isinstance(atoms, Atoms)
    return atoms


def _degrees(values: Any) -> tuple[int, ...]:
    degrees = tuple(int(l) for l in values)
    if not degrees or not all(0 <= l <= LARGEST_DEGREE for l in degrees):
        raise ValueError(f"{values} are no degrees of shells")
    return degrees


def _read_matrix(path: Path, atoms: Atoms, basis: AOBasis, unit: float) -> RealSpaceMatrix:
    with open_hdf5(path) as file:
        pairs, bounds, entries = (
            np.asarray(dataset(file, name)[...]) for name in ("atom_pairs", "chunk_boundaries", "entries")
        )
    numbers = np.asarray(atoms.numbers, np.int64)
    if np.iscomplexobj(entries) or pairs.ndim != 2 or pairs.shape[1] != 5 or len(bounds) != len(pairs) + 1:
        raise ValueError(f"{path.name} does not hold real blocks of pairs of atoms")
    t, place = np.unique(pairs[:, :3], axis=0, return_inverse=True)
    size = basis.size(numbers)
    if (needed := 8 * len(t) * size**2) > LARGEST_MATRIX or size > len(entries):
        raise ValueError(
            f"{path.name} has {len(t)} translations of {size} functions ({needed / 1e9:.3g} GB, limit "
            f"{LARGEST_MATRIX / 1e9:.3g}) and {len(entries)} elements"
        )
    values = np.zeros((len(t), size, size))
    o = basis.offsets(numbers)
    for (i, j), slot, begin, end in zip(
        pairs[:, 3:].tolist(), place.reshape(-1).tolist(), bounds[:-1], bounds[1:], strict=True
    ):
        if not (0 <= i < len(numbers) and 0 <= j < len(numbers)):
            raise ValueError(f"{path.name} has a block of atoms {i} and {j}; there are {len(numbers)}")
        shape = (int(o[i + 1] - o[i]), int(o[j + 1] - o[j]))
        values[slot, o[i] : o[i + 1], o[j] : o[j + 1]] = unit * entries[begin:end].reshape(shape)
    return RealSpaceMatrix(t.astype(np.int64), values, numbers, basis, ORDER)
