"""MD17 Hamiltonians of SchNOrb: PBE/def2-SVP by ORCA, ASE databases (SQLite).

A row of table ``systems`` has ``numbers``, ``positions`` (Å) and ``data``: ``energy`` (Eh), ``forces``
(Eh/Å: the parser multiplied the gradient by −1/0.529), ``hamiltonian`` and ``overlap`` in ORCA's AO order,
mostly float32. ``data`` is written in one of ASE's two ways (JSON, or bytes with a JSON index); in older
files the arrays are base64 with ``_shape_…`` and ``_dtype_…`` beside them.  The metadata may hold
``basisdef`` (element, function → index, type, n, l, m) and ``energy_offset``, which was subtracted from
every energy.

The AO order is that in which PySCF's overlap matrix is the file's, which for the published files is ORCA's.
Files of other programs in this container (FHI-aims, quasi-atomic minimal bases) are refused: their
functions are not def2-SVP.
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.ao_order import FileOrder, OverlapSample, check_order, shells, to_pyscf
from helm_ase.labels.blobs import columns, connect, floats, integers, row_ids
from helm_ase.labels.source import LabelSource
from helm_ase.representation import AOBasis, AOOrder, LabelledMolecule, LevelOfTheory
from helm_ase.units import HARTREE_IN_EV

DESCRIPTION = "MD17 Hamiltonians of SchNOrb, ASE database"
PATTERNS = ("*.db",)
BASIS = "def2-svp"
TYPES = {"float32", "float64", "int32", "int64", "bool"}
"""Types of the arrays in ``data``, as NumPy spells them."""
COLUMNS = {"id", "numbers", "positions", "data"}
LEVEL = LevelOfTheory(
    functional="pbe",
    variant="Coulomb by RI-J, ORCA's default for PBE; the authors name no other",
    basis=BASIS,
    density_fitting=True,
    grid_level=3,
    conv_tol=1e-8,
    code="ORCA",
    auxiliary_basis="def2-universal-jfit",
)


def recognises(path: Path) -> bool:
    """Whether the first row of an ASE database holds a Hamiltonian."""
    with connect(path) as connection:
        if not columns(connection, "systems") >= COLUMNS:
            return False
        first = connection.execute("SELECT data FROM systems ORDER BY id LIMIT 1").fetchone()
        return first is not None and "hamiltonian" in decode(first[0])


def open_source(
    path: Path, ao_order: AOOrder | None = None, level: LevelOfTheory | None = None
) -> LabelSource:
    """Open a file.

    Parameters
    ----------
    path
        ASE database of the SQLite kind.
    ao_order
        Order of its matrices; found from the overlap matrices if absent.
    level
        If its labels are not those of SchNOrb.

    Raises
    ------
    SettingError
        If the AO order is unknown.
    """
    check_order(ao_order)
    return SchNOrbSource(path, ao_order, level or LEVEL)


class SchNOrbSource(LabelSource):
    """Rows in the order of their ids."""

    def __init__(self, path: Path, ao_order: AOOrder | None, level: LevelOfTheory) -> None:
        super().__init__(path, level)
        self._order = FileOrder(ao_order, BASIS)
        if missing := COLUMNS - columns(self.file, "systems"):
            raise DatasetError(f"{path}: table systems has no column {', '.join(sorted(missing))}")
        self.ids = row_ids(self.file, "systems", path)

    def open_file(self) -> Any:
        """Open for reading."""
        return connect(self.path)

    def __len__(self) -> int:
        return len(self.ids)

    def name_of(self, index: int) -> str:
        """Return the id of the row."""
        return str(self.ids[index])

    def molecule_of(self, index: int) -> str:
        """Elements in the order of the atoms: a trajectory is one molecule, also where its bonds stretch."""
        query = "SELECT numbers FROM systems WHERE id = ?"
        (blob,) = self.file.execute(query, (int(self.ids[index]),)).fetchone()
        return "".join(chemical_symbols[z] for z in _atomic_numbers(blob))

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What the file says of all its rows."""
        if not columns(self.file, "information") >= {"name", "value"}:
            return {}
        row = self.file.execute("SELECT value FROM information WHERE name = 'metadata'").fetchone()
        content = json.loads(row[0]) if row else {}
        return content if isinstance(content, dict) else {}

    def read(self, index: int) -> LabelledMolecule:
        """Read one row."""
        numbers, positions, data = self._row(index)
        basis = shells(BASIS, numbers)
        self._check_basis(numbers, basis)
        order = self._order_for(numbers, basis, data)
        size = basis.size(numbers)
        matrices = {
            name: to_pyscf(
                floats(array(data, name), (size, size), f"{name} over {BASIS}"), numbers, basis, order
            )
            for name in ("hamiltonian", "overlap")
            if name == "hamiltonian" or name in data
        }
        forces = floats(array(data, "forces"), positions.shape, "forces") if "forces" in data else None
        return LabelledMolecule(
            name=self.name_of(index),
            numbers=numbers,
            positions=positions,
            energy=self._energy(data),
            forces=None if forces is None else forces * HARTREE_IN_EV,  # the file's are already per Å
            hamiltonian=matrices["hamiltonian"],
            overlap=matrices.get("overlap"),
        )

    def _row(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[str, Any]]:
        query = "SELECT numbers, positions, data FROM systems WHERE id = ?"
        row = self.file.execute(query, (int(self.ids[index]),)).fetchone()
        numbers = _atomic_numbers(row[0])
        return numbers, floats(row[1], (len(numbers), 3), "positions", widths=(8,)), decode(row[2])

    def _energy(self, data: dict[str, Any]) -> float | None:
        if "energy" not in data:
            return None
        (energy,) = floats(array(data, "energy"), (1,), "energy")
        return float(energy + float(self.metadata.get("energy_offset", 0.0))) * HARTREE_IN_EV

    def _order_for(self, numbers: NDArray[np.int64], basis: AOBasis, data: Mapping[str, Any]) -> AOOrder:
        """AO order of the matrices, decided once for the file; without overlap matrices it is ORCA's."""
        if not self._order.is_decided and "overlap" not in data:
            self._order = FileOrder("orca", BASIS)
        return self._order.of(max(basis.degrees(numbers)), len(self), self._overlap)

    def _overlap(self, index: int) -> OverlapSample:
        numbers, positions, data = self._row(index)
        size = shells(BASIS, numbers).size(numbers)
        given = floats(array(data, "overlap"), (size, size), f"overlap over {BASIS}")
        return OverlapSample(numbers, positions, given)

    def _check_basis(self, numbers: NDArray[np.int64], basis: AOBasis) -> None:
        """Refuse a file whose own table of functions is not that of def2-SVP."""
        if "basisdef" not in self.metadata:
            return
        table = np.asarray(self.metadata["basisdef"])
        for z in set(map(int, numbers)):
            expected = [l for l in basis.shells_of(z) for _ in range(2 * l + 1)]
            if table.ndim != 3 or table.shape[2] < 5 or z >= len(table):
                raise DatasetError(f"basisdef of shape {table.shape} has nothing on {chemical_symbols[z]}")
            rows = table[z]
            shells = rows[: np.flatnonzero(rows.any(axis=1)).max(initial=-1) + 1, 3].tolist()
            if shells != expected:
                raise DatasetError(
                    f"basisdef lists degrees {shells} for {chemical_symbols[z]}, {BASIS} has {expected}"
                )


def decode(data: str | bytes | None) -> dict[str, Any]:
    """Contents of ASE's column ``data``: JSON, or bytes that end in JSON and begin with its position.

    Raises
    ------
    DatasetError
        If it is neither, or holds other objects than numbers and arrays.
    """
    if not data:
        raise DatasetError("the row has no data")
    if isinstance(data, str):
        restored = _restored(json.loads(data), b"")
    else:
        restored = _restored(json.loads(data[int.from_bytes(data[:8], "little") :]), data)
    if not isinstance(restored, dict):
        raise DatasetError(f"data is a {type(restored).__name__}, not a dictionary")
    return restored


def _restored(value: Any, data: bytes) -> Any:
    if isinstance(value, list):
        return [_restored(v, data) for v in value]
    if not isinstance(value, dict):
        return value
    if "__ase_objtype__" in value:
        raise DatasetError("data holds an ASE object; only numbers and arrays are read")
    if "__ndarray__" not in value:
        return {k: _restored(v, data) for k, v in value.items()}
    shape, name, content = value["__ndarray__"]
    dtype = _dtype(name)
    if isinstance(content, list):
        return np.array(content, dtype=dtype).reshape(shape)
    end = content + dtype.itemsize * int(np.prod(shape, dtype=object))
    return np.frombuffer(data[content:end], dtype=dtype).reshape(shape)


def array(data: Mapping[str, Any], name: str) -> Any:
    """One property, whichever way it is written.

    Raises
    ------
    DatasetError
        If it is missing.
    """
    value = data.get(name)
    if value is None:
        raise DatasetError(f"{name} is missing")
    if isinstance(value, str):
        shape, dtype = data.get(f"_shape_{name}"), data.get(f"_dtype_{name}")
        if shape is None or dtype is None:
            raise DatasetError(f"{name} is base64 without _shape_{name} and _dtype_{name}")
        return np.frombuffer(b64decode(value, validate=True), dtype=_dtype(dtype)).reshape(shape)
    return np.asarray(value)


def _dtype(name: Any) -> np.dtype[Any]:
    if name not in TYPES:
        raise DatasetError(f"an array of {name!s:.40} is not an array of plain numbers")
    little: np.dtype[Any] = np.dtype(name).newbyteorder("<")
    return little


def _atomic_numbers(blob: bytes | None) -> NDArray[np.int64]:
    if blob is None:
        raise DatasetError("numbers is missing")
    return integers(blob, len(blob) // 4, "numbers")
