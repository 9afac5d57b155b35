"""Writing of the package's own label files, which appear complete or not at all."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import BasisError, DatasetError, SettingError
from helm_ase.labels.forgiving_file import ForgivingFile
from helm_ase.labels.formats.helm_h5 import QUANTITIES, HelmH5Source, describe_layout
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.labelled import LabelledMolecule, pack_triangle
from helm_ase.representation.level import LevelOfTheory, differences

CHUNK_BYTES = 1 << 15
"""One molecule of ten atoms; reading one decompresses little more than itself."""
IN_FILE = ("in the file", "asked for")
BUFFER_BYTES = 1 << 25


class LabelWriter:
    """Write or extend a file; use it as a context.

    The data goes to ``PATH.partial``, which replaces ``PATH`` when the context is left in good order.
    Whatever happens before, the old file stays as it was.

    Parameters
    ----------
    path
        File to write.
    level
        Level of theory of everything in it.
    append
        Keep what the file holds already; it must have the same level.
    precision
        Precision of the matrices; ``float32`` halves the file and rounds a hydrogen-to-neon Hamiltonian by at
        most 1e-6 Eh.

    Raises
    ------
    DatasetError
        If the file to extend is damaged or has another level of theory.
    """

    def __init__(
        self,
        path: str | Path,
        level: LevelOfTheory,
        append: bool = False,
        precision: Literal["float32", "float64"] = "float64",
    ) -> None:
        self.path, self.level, self.append = Path(path), level, append
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.precision = precision
        self.keys: set[str] = set()
        self._names: set[str] = set()
        self._buffer: list[LabelledMolecule] = []
        self._buffered = 0
        self._shells: dict[int, tuple[int, ...]] = {}

    def __enter__(self) -> "LabelWriter":
        check_label_path(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.append and self.path.exists():
            self._load_existing()
            try:
                shutil.copyfile(self.path, self.partial)
            except OSError:
                self.partial.unlink(missing_ok=True)
                raise
            self._disk = ForgivingFile(self.partial, "r+b")
            self._file = h5py.File(self._disk, "r+")
        else:
            self._disk = ForgivingFile(self.partial, "w+b")
            self._file = h5py.File(self._disk, "w", libver="v110")
            self._file.attrs.update(describe_layout(self.level))
            _create_datasets(self._file, self.precision)
            self._check_disk()
        return self

    def _check_disk(self) -> None:
        """Raise an error as soon as a write to the disk has failed."""
        self._file.flush()
        try:
            self._disk.check()
        except OSError:
            self._abandon()
            raise

    def _load_existing(self) -> None:
        with HelmH5Source(self.path) as existing:
            if existing.level != self.level:
                raise DatasetError(
                    f"{self.path} holds labels of another level of theory "
                    f"({differences(existing.level, self.level, IN_FILE)}); use another file"
                )
            self.keys = set(existing.keys.tolist())
            self._names = set(existing.column("name").tolist())
            self._shells = dict(existing.shells)

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def __len__(self) -> int:
        return len(self.keys)

    def has_name(self, name: str) -> bool:
        """Whether an entry has this name already."""
        return name in self._names

    def add(self, label: LabelledMolecule) -> None:
        """Add one molecule.

        Raises
        ------
        DatasetError
            If the same structure or name is there already, or the matrix does not fit the basis.
        """
        key = label.key
        if key in self.keys:
            raise DatasetError(f"{self.path}: structure {label.name} is there already (key {key})")
        if label.name in self._names:
            raise DatasetError(f"{self.path}: there is an entry named {label.name} already")
        self._check_basis(label)
        self.keys.add(key)
        self._names.add(label.name)
        self._buffer.append(label)
        self._buffered += label.positions.nbytes + 8 * label.functions**2
        if self._buffered > BUFFER_BYTES:
            self._write_buffer()

    def _check_basis(self, label: LabelledMolecule) -> None:
        if new := sorted(set(label.numbers.tolist()) - set(self._shells)):
            self._shells |= ao_basis(self.level.basis, new).shells
        expected = sum(2 * l + 1 for z in label.numbers.tolist() for l in self._shells[z])
        if label.functions != expected and label.hamiltonian is not None:
            raise BasisError(
                f"{label.name}: a matrix of {label.functions} functions does not fit {self.level.basis}, "
                f"which has {expected}"
            )

    def _write_buffer(self) -> None:
        if not self._buffer:
            return
        _extend(self._file["key"], np.array([b.key for b in self._buffer], dtype="S32"))
        for name, quantity in QUANTITIES.items():
            rows = [_row(name, label) for label in self._buffer]
            if quantity.shape == "fixed":
                _extend(self._file[name], _stack(name, rows))
            else:
                _extend_ragged(self._file[name], rows)
        self._buffer.clear()
        self._buffered = 0
        self._check_disk()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._write_buffer()
            shells = json.dumps({z: list(s) for z, s in sorted(self._shells.items())})
            self._file.attrs["shells"] = np.bytes_(shells.encode())
            self._file.close()
            self._disk.check()
            self._disk.close()
            publish(self.partial, self.path)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Remove the partial file."""
        self.partial.unlink(missing_ok=True)
        with suppress(Exception):
            if self._file:
                self._file.close()
        self._disk.close()


def check_label_path(path: str | Path) -> None:
    """Refuse names that the reader of label files would not recognise.

    Raises
    ------
    SettingError
        If the name does not end in ``.h5`` or ``.hdf5``.
    """
    if Path(path).suffix.lower() not in (".h5", ".hdf5"):
        raise SettingError(f"output {path}: labels are written as HDF5; end the name in .h5")


def publish(partial: Path, path: Path) -> None:
    """Make a finished file durable and move it to its final name, in one step."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _create_datasets(file: h5py.File, precision: str) -> None:
    # the checksum makes a flipped bit an error instead of a wrong number
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
    file.create_dataset("key", (0,), "S32", maxshape=(None,), chunks=(4096,), **packed)
    for name, quantity in QUANTITIES.items():
        columns, dtype = quantity.columns, quantity.dtype
        if quantity.shape == "fixed":
            data = file.create_dataset(
                name, (0, *columns), dtype, maxshape=(None, *columns), chunks=(2048, *columns), **packed
            )
        else:
            dtype = precision if quantity.shape == "triangles" else dtype
            row = np.dtype(dtype).itemsize * int(np.prod(columns))
            rows = CHUNK_BYTES // max(row, 8)  # small chunks of text, of which a molecule has little
            data = file.create_group(name)
            data.create_dataset(
                "values", (0, *columns), dtype, maxshape=(None, *columns), chunks=(rows, *columns), **packed
            )
            offsets = np.zeros(1, np.int64)
            data.create_dataset("offsets", data=offsets, maxshape=(None,), chunks=(4096,), **packed)
        data.attrs["unit"] = np.bytes_(quantity.unit.encode())


def _row(name: str, label: LabelledMolecule) -> Any:
    quantity = QUANTITIES[name]
    if name == "orbital_count":
        return label.functions
    value = getattr(label, name)
    if name == "details":
        value = json.dumps(dict(value), sort_keys=True)
    if quantity.shape == "text":
        return np.frombuffer(value.encode(), dtype=np.uint8)
    if value is None:
        return None
    if quantity.shape == "triangles":
        matrices = value if value.ndim == 3 else value[None]
        return np.concatenate([pack_triangle(m) for m in matrices])
    if quantity.shape == "orbitals":
        return value.reshape(-1)
    return value / quantity.factor if quantity.factor != 1.0 else value


def _stack(name: str, rows: Sequence[Any]) -> NDArray[Any]:
    quantity = QUANTITIES[name]
    blank = np.full(quantity.columns, np.nan) if quantity.dtype == "f8" else None
    return np.array([blank if r is None else r for r in rows], dtype=quantity.dtype)


def _extend(data: h5py.Dataset, rows: NDArray[Any]) -> None:
    begin = len(data)
    data.resize(begin + len(rows), axis=0)
    if len(rows):
        data[begin:] = rows


def _extend_ragged(group: h5py.Group, rows: Sequence[NDArray[Any] | None]) -> None:
    lengths = np.array([0 if r is None else len(r) for r in rows], dtype=np.int64)
    _extend(group["offsets"], int(group["offsets"][-1]) + np.cumsum(lengths))
    present = [r for r in rows if r is not None]
    if present:
        _extend(group["values"], np.concatenate(present))
