"""The package's own file of labels: one HDF5 file, flat arrays and offsets.

Every quantity is one group.  ``values`` holds the numbers of all molecules one after the other and
``offsets`` (M + 1,) where each begins; a molecule that lacks the quantity has an empty stretch.  Quantities
of fixed size are plain datasets with M rows, NaN where absent.  Symmetric matrices are lower triangles, row
by row; an open shell has two, α before β.  Attributes of the file name layout and version, level of theory,
AO order and shells of every element; attributes of each quantity its unit.

All chunks carry checksums (Fletcher 32, at no cost in speed or size that can be measured), as does HDF5's
own bookkeeping in this version of the format: damage is noticed.  Text is bytes and offsets, too, and
attributes have fixed lengths, for HDF5 keeps strings of variable length in a heap without checksums, and
reading a damaged heap may never end.

Files are written beside their final place and then moved there: a file that exists is complete.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.hdf5 import KEY_BYTES, check_unit, dataset, item, open_hdf5, text_attribute
from helm_ase.labels.source import LabelSource
from helm_ase.representation.labelled import LabelledMolecule, unpack_triangle
from helm_ase.representation.level import LevelOfTheory
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

DESCRIPTION = "the package's own HDF5 layout (helm-ase label, helm-ase data convert)"
PATTERNS = ("*.h5", "*.hdf5")
LAYOUT = "helm-ase labels"
SCHEMA_VERSION = 1
AO_ORDER = "pyscf"

Shape = Literal["text", "fixed", "atoms", "orbitals", "triangles"]


@dataclass(frozen=True)
class Quantity:
    """How one field of a record is kept."""

    shape: Shape
    """``fixed``: one row a molecule; else one for each byte, atom, orbital × spin, element of a triangle."""
    unit: str = ""
    columns: tuple[int, ...] = ()
    """Shape of one row."""
    dtype: str = "f8"
    factor: float = 1.0
    """Value in the record over value in the file."""


QUANTITIES: dict[str, Quantity] = {
    "name": Quantity("text", "UTF-8", dtype="u1"),
    "smiles": Quantity("text", "UTF-8", dtype="u1"),
    "split": Quantity("text", "UTF-8", dtype="u1"),
    "details": Quantity("text", "JSON", dtype="u1"),
    "charge": Quantity("fixed", "e", dtype="i2"),
    "multiplicity": Quantity("fixed", "2S + 1", dtype="i2"),
    "orbital_count": Quantity("fixed", "number of AOs", dtype="i4"),  # 0: energy and forces only
    "spin_channels": Quantity("fixed", "1: one matrix; 2: alpha, beta", dtype="i1"),
    "energy": Quantity("fixed", "hartree", factor=HARTREE_IN_EV),
    "dipole": Quantity("fixed", "e*bohr, about the origin", (3,)),
    "polarizability": Quantity("fixed", "bohr^3, coupled response", (3, 3)),
    "numbers": Quantity("atoms", "atomic number", dtype="u1"),
    "positions": Quantity("atoms", "angstrom", (3,)),
    "forces": Quantity("atoms", "hartree/bohr", (3,), factor=HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM),
    "mulliken_charges": Quantity("atoms", "e"),
    "orbital_energies": Quantity("orbitals", "hartree, ascending"),
    "occupations": Quantity("orbitals", "electrons"),
    "hamiltonian": Quantity("triangles", "hartree"),
    "density": Quantity("triangles", "electrons"),
}
"""Field of :class:`~helm_ase.representation.LabelledMolecule` → how it is kept."""
OPTIONAL = tuple(k for k in QUANTITIES if k in LabelledMolecule.__dataclass_fields__ and
                 LabelledMolecule.__dataclass_fields__[k].default is None)  # fmt: skip


def recognises(path: Path) -> bool:
    """Whether the file says that it has this layout."""
    with open_hdf5(path) as file:
        return text_attribute(file, "layout", "") == LAYOUT


def open_source(path: Path, fields: Collection[str] | None = None) -> LabelSource:
    """Open a file; ``fields`` names the optional quantities to read (absent: all)."""
    return HelmH5Source(path, fields)


class HelmH5Source(LabelSource):
    """Random access by index, also from many processes at once.

    In memory are only the offsets and the fixed-size columns, some 200 bytes a molecule.
    """

    def __init__(self, path: Path, fields: Collection[str] | None = None) -> None:
        if unknown := set(fields or ()) - set(OPTIONAL):
            raise SettingError(f"unknown fields {sorted(unknown)}; allowed: {', '.join(OPTIONAL)}")
        with open_hdf5(path) as file:
            self._check_version(path, file)
            super().__init__(path, LevelOfTheory(**json.loads(text_attribute(file, "level"))))
            self.shells = {int(z): tuple(s) for z, s in json.loads(text_attribute(file, "shells")).items()}
            datasets = _datasets(file)
            self._check_shapes(datasets)
            self._fixed = {k: datasets[k][...] for k in datasets if k in QUANTITIES and not _is_ragged(k)}
            self._offsets = {
                k: datasets[f"{k}/offsets"][...] for k in QUANTITIES if f"{k}/offsets" in datasets
            }
            self.keys = datasets["key"][...].astype(str)
            self._check_lengths(datasets)
            self.precision = "float32" if datasets["hamiltonian/values"].dtype.itemsize == 4 else "float64"
            present = {*self._fixed, *self._offsets}
        self._handles: dict[str, Any] = {}
        self.fields = frozenset(OPTIONAL if fields is None else fields) & present

    @staticmethod
    def _check_version(path: Path, file: h5py.File) -> None:
        version = int(file.attrs["schema_version"])
        if version > SCHEMA_VERSION:
            raise DatasetError(
                f"{path} has schema version {version}; this helm-ase reads up to {SCHEMA_VERSION}: update it"
            )
        if (order := text_attribute(file, "ao_order")) != AO_ORDER:
            raise DatasetError(f"{path} has AO order {order!r}, not {AO_ORDER!r}")

    def _check_shapes(self, datasets: Mapping[str, h5py.Dataset]) -> None:
        """Refuse, before anything is read, what is not of the size and type that the keys allow."""
        count = len(datasets["key"])
        if datasets["key"].dtype.kind != "S":
            raise DatasetError(f"{self.path}: key has type {datasets['key'].dtype}, not text of fixed length")
        if datasets["key"].id.get_storage_size() < KEY_BYTES * count:
            raise DatasetError(f"{self.path} claims {count} molecules, of which it cannot hold the keys")
        needed = {k for k in QUANTITIES if k not in OPTIONAL}
        if missing := needed - {name.split("/")[0] for name in datasets}:
            raise DatasetError(f"{self.path}: {', '.join(sorted(missing))} missing")
        for name, data in datasets.items():
            quantity, _, part = name.partition("/")
            shape: tuple[int, ...]
            if part == "offsets":
                kind, shape = "i", (count + 1,)
            elif quantity == "key":
                kind, shape = "S", (count,)
            else:
                layout = QUANTITIES[quantity]
                kind, shape = np.dtype(layout.dtype).kind, (len(data) if part else count, *layout.columns)
            if data.dtype.kind not in {"f": "iuf", "S": "S"}.get(kind, "iu") or data.shape != shape:
                raise DatasetError(
                    f"{self.path}: {name} has shape {data.shape} and type {data.dtype} for {count} molecules"
                )

    def _check_lengths(self, datasets: Mapping[str, h5py.Dataset]) -> None:
        count = len(self.keys)
        if len(np.unique(self.keys)) != count:
            twice = next(k for k, n in zip(*np.unique(self.keys, return_counts=True), strict=True) if n > 1)
            rows = np.flatnonzero(self.keys == twice)
            raise DatasetError(f"{self.path}: entries {', '.join(map(str, rows))} have the same key {twice}")
        for name, offsets in self._offsets.items():
            end = len(datasets[f"{name}/values"])
            ascending = offsets[0] == 0 and (np.diff(offsets) >= 0).all()
            if not ascending or offsets[-1] != end:
                raise DatasetError(
                    f"{self.path}: offsets of {name} do not fit {end} values of {count} molecules"
                )

    def open_file(self) -> h5py.File:
        """Open for reading."""
        return open_hdf5(self.path)

    def _dataset(self, name: str) -> h5py.Dataset:
        file = self.file
        if self._handles.get("/") != file:  # looking a dataset up costs as much as reading from it
            self._handles = {"/": file}
        if name not in self._handles:
            self._handles[name] = dataset(file, f"{name}/values" if _is_ragged(name) else name)
        return self._handles[name]

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_handles": {}}

    def __len__(self) -> int:
        return len(self.keys)

    def name_of(self, index: int) -> str:
        """Name given when it was labelled."""
        return self._read_text("name", index)

    def key_of(self, index: int) -> str:
        """Fingerprint, without reading the entry."""
        return str(self.keys[index])

    def split_of(self, index: int) -> str:
        """Split, without reading the entry."""
        return self._read_text("split", index)

    def smiles_of(self, index: int) -> str:
        """SMILES, or an empty string."""
        return self._read_text("smiles", index)

    def read(self, index: int) -> LabelledMolecule:
        """Read one molecule."""
        texts = {k: self._read_text(k, index) for k in ("name", "smiles", "split", "details")}
        matrix = self._triangles("hamiltonian", index)
        if matrix is None and self._fixed["orbital_count"][index]:
            raise DatasetError("there is no Hamiltonian")
        return LabelledMolecule(
            name=texts["name"],
            smiles=texts["smiles"],
            split=texts["split"],
            details=json.loads(texts["details"] or "{}"),
            charge=int(self._fixed["charge"][index]),
            multiplicity=int(self._fixed["multiplicity"][index]),
            numbers=self._stretch("numbers", index).astype(np.int64),
            positions=self._stretch("positions", index),
            hamiltonian=matrix,
            **{name: self._optional(name, index) for name in self.fields},
        )

    def column(self, name: str) -> NDArray[Any]:
        """One quantity of fixed size, in the unit of the file, or text, of all molecules."""
        if name in self._fixed:
            return np.array(self._fixed[name])
        letters, offsets = self._dataset(name)[...].tobytes(), self._offsets[name].tolist()
        return np.array([letters[a:b].decode() for a, b in pairwise(offsets)], dtype=np.str_)

    def _read_text(self, name: str, index: int) -> str:
        return self._stretch(name, index).tobytes().decode()

    def lengths(self, name: str) -> NDArray[np.int64]:
        """How many rows of a quantity of varying size each molecule has; 0 where it lacks it."""
        return np.diff(self._offsets[name]) if name in self._offsets else np.zeros(len(self), np.int64)

    def has(self, name: str) -> NDArray[np.bool_]:
        """Whether each molecule has an optional quantity, (M,)."""
        if name in self._fixed:
            return np.asarray(~np.isnan(self._fixed[name].reshape(len(self), -1)).all(axis=1))
        return self.lengths(name) > 0

    def atomic_numbers(self) -> NDArray[np.int64]:
        """Atomic numbers of all molecules, one after the other."""
        return np.asarray(self._dataset("numbers")[...], dtype=np.int64)

    def _optional(self, name: str, index: int) -> Any:
        quantity = QUANTITIES[name]
        if quantity.shape == "fixed":
            row = self._fixed[name][index]
            if np.isnan(row).all():
                return None
            return (row if quantity.columns else float(row)) * quantity.factor
        if quantity.shape == "triangles":
            return self._triangles(name, index)
        values = self._stretch(name, index)
        if not len(values):
            return None
        if quantity.shape == "orbitals":
            return self._by_spin(values, index)
        return values * quantity.factor if quantity.factor != 1.0 else values

    def _stretch(self, name: str, index: int) -> NDArray[Any]:
        begin, end = self._offsets[name][index : index + 2]
        values = np.asarray(self._dataset(name)[begin:end])
        return values.astype(np.float64) if values.dtype == np.float32 else values

    def _triangles(self, name: str, index: int) -> NDArray[np.float64] | None:
        values = self._stretch(name, index)
        if not len(values):
            return None
        parts = np.array_split(values, int(self._fixed["spin_channels"][index]))
        matrices = [unpack_triangle(p) for p in parts]
        if len(matrices[0]) != self._fixed["orbital_count"][index]:
            wanted = self._fixed["orbital_count"][index]
            raise DatasetError(f"{name} is {len(matrices[0])} wide, not {wanted}")
        return matrices[0] if len(matrices) == 1 else np.stack(matrices)

    def _by_spin(self, values: NDArray[np.float64], index: int) -> NDArray[np.float64]:
        channels = int(self._fixed["spin_channels"][index])
        return values if channels == 1 else values.reshape(channels, -1)


def _is_ragged(name: str) -> bool:
    return QUANTITIES[name].shape != "fixed"


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Data sets of the layout that are in a file, in the layout's units; nothing of them is read."""
    datasets = {"key": dataset(file, "key")}
    for name, quantity in QUANTITIES.items():
        if name not in file:
            continue
        if _is_ragged(name):
            check_unit(item(file, name), quantity.unit)
            datasets |= {f"{name}/{part}": dataset(file, f"{name}/{part}") for part in ("offsets", "values")}
        else:
            datasets[name] = dataset(file, name, (quantity.unit,))
    return datasets


def describe_layout(level: LevelOfTheory) -> dict[str, Any]:
    """Attributes of a new file, but for the shells, which its molecules decide."""
    texts = {
        "layout": LAYOUT, "level": json.dumps(asdict(level)), "shells": "{}", "ao_order": AO_ORDER,
        "ao_order_meaning": "per atom the shells of the basis; s; p as x, y, z; d, f: m = -l ... l",
    }  # fmt: skip
    return {"schema_version": SCHEMA_VERSION} | {k: np.bytes_(v.encode()) for k, v in texts.items()}
