"""OMol_CSH_58k: closed-shell Kohn–Sham matrices of OMol25, ωB97M-V/def2-TZVPD by ORCA, 58 elements.

HDF5: subset group / entry group / ``coords`` (Å), ``elements``, ``fock`` (Eh, upper triangle row by row).
Charge and multiplicity end the entry's name, ``…_-1_1``.  There are no energies; they can be joined from
the records of OMol25 by name.

The AO order is a trap.  ORCA lists the shells of def2-TZVP first and then the diffuse ones (C: 5s 3p 2d 1f
1s 1d). The published matrices went through ORCA → e3nn order inside the shells with the list of shells
*sorted by degree*, so that functions were exchanged, and given signs, across the borders of the real
shells.  That step is undone here with the sorted list and the right one done with the real list; then the
shells take PySCF's sequence.

The training file has 276 GB and 57,559 groups: names come from the sidecar ``<file>.keys.json``, which is
written on the first opening if there is none.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.blobs import whole_numbers
from helm_ase.labels.hdf5 import dataset, item, number_attribute, open_hdf5
from helm_ase.labels.npz import load_npz
from helm_ase.labels.source import LabelSource
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.connectivity import molecule_hash
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.ordering import reordering
from helm_ase.system.atomic_write import whole_file

DESCRIPTION = "OMol_CSH_58k (HDF5, subset/entry), ωB97M-V/def2-TZVPD"
PATTERNS = ("*.h5", "*.hdf5")
REQUIRED = {"coords", "elements", "fock"}
ANGSTROM, HARTREE = ("angstrom", "Å", "ang"), ("hartree", "Eh", "au", "a.u.")
DEPTH = 4
"""Groups inside one another; the data set has two."""
LEVEL = LevelOfTheory(
    functional="wb97m-v",
    variant="VV10 self-consistent, RIJCOSX with def2/J, DEFGRID3",
    basis="def2-tzvpd",
    density_fitting=False,
    grid_level=4,
    conv_tol=1e-8,
    code="ORCA 6.0",
)
ELEMENTS = (*range(1, 21), *range(31, 57), *range(72, 84))
DIFFUSE: dict[tuple[int, ...], tuple[int, ...]] = {
    (1,): (4, 11, 12, *range(72, 81)),
    (0, 2): (5, 6, 7, 13, 14, 15, 31, 32, 33, 49, 50, 51, 81, 82, 83),
    (0, 1, 2): (8, 9, 10, 16, 17, 18, 34, 35, 36, 52, 53, 54),
}
"""Degrees of the shells that ORCA lists after all others → elements; each is PySCF's last of its degree.
H, He, Li, K, Ca and Rb–Cd, Cs, Ba: the sequence is sorted already."""
BERYLLIUM = 4
"""ORCA's first p of Be is minus PySCF's second, its second is PySCF's first: ORCA's file begins with the
primitive with exponent 3.63 and gives it a negative coefficient."""


def recognises(path: Path) -> bool:
    """Whether the first group of the first subset has the three data sets of this layout."""
    with open_hdf5(path) as file:
        entry = _first(_first(file))
        return isinstance(entry, h5py.Group) and set(entry) >= REQUIRED


def _first(group: h5py.Group | h5py.Dataset | None) -> h5py.Group | h5py.Dataset | None:
    names = iter(group) if isinstance(group, h5py.Group) else iter(())
    name = next(names, None)
    return None if name is None or group is None else item(group, name)


def open_source(path: Path, energies: str | Path | None = None) -> LabelSource:
    """Open a file.

    Parameters
    ----------
    path
        HDF5 file.
    energies
        JSON, CSV or npz file with the energy in eV (as OMol25 gives it) of every entry, by its name with or
        without the subset; entries that it lacks have none.
    """
    return OMolCSHSource(path, {} if energies is None else _read_energies(Path(energies)))


class OMolCSHSource(LabelSource):
    """Entries in the sequence of the sidecar."""

    def __init__(self, path: Path, energies: dict[str, float]) -> None:
        super().__init__(path, LEVEL)
        self.names = _names(path, self.file)
        self.energies = energies

    def open_file(self) -> h5py.File:
        """Open for reading."""
        return open_hdf5(self.path)

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, index: int) -> str:
        """Subset and entry, ``ani1xbb/…``."""
        return self.names[index]

    def molecule_of(self, index: int) -> str:
        """Composition and connectivity, without touching the matrix."""
        group = item(self.file, self.names[index])
        return molecule_hash(*_geometry(group), _state(self.names[index], group)[0])

    def read(self, index: int) -> LabelledMolecule:
        """Read one entry and put its AOs in PySCF's order."""
        name = self.names[index]
        group = item(self.file, name)
        if missing := REQUIRED - set(group):
            raise DatasetError(f"data sets {sorted(missing)} are missing")
        numbers, positions = _geometry(group)
        charge, multiplicity = _state(name, group)
        stored = np.asarray(dataset(group, "fock", HARTREE)[...], dtype=np.float64)
        order, sign = to_pyscf(numbers)
        return LabelledMolecule(
            name=name,
            numbers=numbers,
            positions=positions,
            hamiltonian=_unpack(stored, len(order))[np.ix_(order, order)] * np.outer(sign, sign),
            charge=charge,
            multiplicity=multiplicity,
            energy=self.energies.get(name, self.energies.get(name.rpartition("/")[2])),
        )


def to_pyscf(numbers: Sequence[int] | NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Published → PySCF's AO order: ``x_pyscf = sign * x_published[index]``.

    Raises
    ------
    DatasetError
        If an element is not among the 58.
    """
    if foreign := sorted({int(z) for z in numbers} - set(ELEMENTS)):
        raise DatasetError(f"elements {foreign} are not among the 58 of this data set")
    shells = ao_basis(LEVEL.basis, sorted({int(z) for z in numbers})).shells
    listed = {z: _orca_sequence(z, degrees) for z, degrees in shells.items()}
    assumed = [l for z in numbers for l in sorted(shells[int(z)])]
    actual = [shells[int(z)][k] for z in numbers for k in listed[int(z)]]
    undone, sign1 = reordering(assumed, "e3nn", "orca")
    redone, sign2 = reordering(actual, "orca", "pyscf")
    sequence, sign3 = _shells_to_pyscf(numbers, shells, listed)
    index = redone[sequence]
    return undone[index], sign3 * sign2[sequence] * sign1[index]


def _orca_sequence(z: int, degrees: Sequence[int]) -> list[int]:
    """Numbers of PySCF's shells of an element in the sequence in which ORCA lists them."""
    tail = [
        max(k for k, l in enumerate(degrees) if l == degree)
        for moved, elements in DIFFUSE.items()
        if z in elements
        for degree in moved
    ]
    front = [k for k in range(len(degrees)) if k not in tail]
    if z == BERYLLIUM:
        first = degrees.index(1)
        front[first], front[first + 1] = front[first + 1], front[first]
    return front + tail


def _shells_to_pyscf(
    numbers: Sequence[int] | NDArray[np.integer],
    shells: Mapping[int, tuple[int, ...]],
    listed: dict[int, list[int]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sequence of ORCA's shells → PySCF's, both with PySCF's order inside; index and sign of every AO."""
    index: list[int] = []
    sign: list[float] = []
    offset = 0
    for z in map(int, numbers):
        degrees = shells[z]
        starts = {}
        for k in listed[z]:
            starts[k] = offset
            offset += 2 * degrees[k] + 1
        for k, l in enumerate(degrees):
            index += range(starts[k], starts[k] + 2 * l + 1)
            negative = z == BERYLLIUM and k == degrees.index(1) + 1
            sign += [-1.0 if negative else 1.0] * (2 * l + 1)
    return np.array(index, dtype=np.int64), np.array(sign)


def _geometry(group: h5py.Group) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    numbers = whole_numbers(dataset(group, "elements")[...], "elements")
    return numbers, np.asarray(dataset(group, "coords", ANGSTROM)[...], dtype=np.float64)


def _unpack(triangle: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Symmetric matrix from its upper triangle, row by row."""
    if triangle.shape != (size * (size + 1) // 2,):
        raise DatasetError(
            f"fock has shape {triangle.shape}, not ({size * (size + 1) // 2},): its atoms have {size} AOs"
        )
    matrix = np.zeros((size, size))
    rows, columns = np.triu_indices(size)
    matrix[rows, columns] = triangle
    matrix[columns, rows] = triangle
    return matrix


def _state(name: str, group: h5py.Group) -> tuple[int, int]:
    """Charge and multiplicity from the name; attributes, where there are any, must agree."""
    match = re.search(r"_(-?\d+)_(\d+)$", name)
    if match is None:
        raise DatasetError("the name does not end in _charge_multiplicity")
    state = int(match[1]), int(match[2])
    for key, value in zip(("charge", "spin"), state, strict=True):
        if key in group.attrs and (stated := number_attribute(group, key)) != value:
            raise DatasetError(f"attribute {key} = {stated:g} contradicts {value} in the name")
    return state


def _names(path: Path, file: h5py.File) -> list[str]:
    """Names of all entries, from the sidecar or, once, from the file."""
    sidecar = path.with_name(path.name + ".keys.json")
    if not sidecar.exists():
        names = list(_walk(file, "", DEPTH))
        with suppress(OSError), whole_file(sidecar) as partial:  # OSError: the folder cannot be written
            partial.write_text(json.dumps(names), encoding="utf8")
        return names
    try:
        names = json.loads(sidecar.read_text(encoding="utf8"))
    except ValueError as error:
        raise DatasetError(f"{sidecar} is damaged ({error}); delete it to have it written again") from error
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise DatasetError(f"{sidecar} is not a list of names; delete it to have it written again")
    probes = names[:1] + names[-1:] + names[len(names) // 2 :][:1]
    if len(set(names)) != len(names) or not all(_has_fock(file, n) for n in probes):
        raise DatasetError(f"{sidecar} is that of another file; delete it to have it written again")
    return names


def _has_fock(file: h5py.File, name: str) -> bool:
    try:
        return "fock" in item(file, name)
    except KeyError:
        return False


def _walk(group: h5py.Group, prefix: str, depth: int) -> Iterator[str]:
    for key in group:
        node = item(group, key)
        if not isinstance(node, h5py.Group):
            continue
        if "fock" in node or "elements" in node:
            yield prefix + key
        elif depth:
            yield from _walk(node, f"{prefix}{key}/", depth - 1)
        else:
            raise DatasetError(f"groups lie deeper in one another than {prefix + key}: no such data set")


def _read_energies(path: Path) -> dict[str, float]:
    """Entry → eV."""
    try:
        match path.suffix.lower():
            case ".json":
                table = json.loads(path.read_text(encoding="utf8"))
            case ".csv":
                with path.open(newline="", encoding="utf8") as file:
                    rows = [r[:2] for r in csv.reader(file) if len(r) >= 2]
                table = dict(rows[1:] if rows and not _is_number(rows[0][1]) else rows)
            case ".npz":
                table = {key: value.item() for key, value in load_npz(path).items()}
            case other:
                raise DatasetError(f"{path}: energies are read from .json, .csv and .npz, not {other!r}")
        return {str(k): float(v) for k, v in dict(table).items()}
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path} holds no energies by name: {error}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
