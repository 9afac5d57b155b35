"""QH9-Stable and QH9-Dynamic: B3LYP/def2-SVP Hamiltonians of QM9 molecules, as published.

Two containers hold the same entries.

- SQLite: table ``data`` with ``id`` (index in QM9; an integer or the bytes of one), ``N``, ``Z`` (int32),
  ``pos`` (float64), ``Ham`` (float64, Eh, PySCF AO order); Dynamic also has ``geo_id``, ``epot`` (Eh),
  ``converged``, ….
- LMDB, as the authors' code makes it: key = row as 4 bytes, big-endian (in Stable the ``id``); value =
  pickled dictionary of ``id``, ``num_nodes``, ``atoms``, ``pos``, ``Ham``, in Dynamic ``geo_id``: bytes or
  arrays; in SPHNet's copies also ``Ham_init``, which is a guess and not read.

Positions are in Å in Stable and in bohr in Dynamic, but copies in other units circulate.  Hence geometry
decides: in the right unit bonded atoms are about as far apart as their covalent radii add up to, in the
wrong one 1.9 times nearer or farther.  Only where there is no bond, the rule above does.  ``length_unit``
overrides both.

**Functional.** PySCF before 2.3 meant VWN5 by ``b3lyp``; Stable and Dynamic-300k were made with it and are
``b3lyp5`` today.  Dynamic-100k was made with 2.3.0 and is ``b3lyp``.  The number of entries or the name of
the file tells the two apart, otherwise ``version``: 130 µEh in a matrix element lie between them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.ao_order import shells, spread
from helm_ase.labels.blobs import columns, connect, floats, integer, integers
from helm_ase.labels.formats.qh9_splits import geometry_split, molecule_split, random_split, size_split
from helm_ase.labels.restricted_pickle import load_record
from helm_ase.labels.source import LabelSource
from helm_ase.representation import LabelledMolecule, LevelOfTheory
from helm_ase.system.process_lock import ProcessLock
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

DESCRIPTION = "QH9-Stable and QH9-Dynamic, SQLite or LMDB"
PATTERNS = ("*.db", "*.lmdb", "*.mdb", "*/")
BASIS = "def2-svp"
REQUIRED = {"id", "N", "Z", "pos", "Ham"}
LMDB_NAMES = {"N": "num_nodes", "Z": "atoms", "pos": "pos", "Ham": "Ham"}

Version = Literal["100k", "300k"]
LengthUnit = Literal["angstrom", "bohr"]

VWN5 = LevelOfTheory("b3lyp5", "VWN5 (what PySCF < 2.3 called b3lyp)", BASIS, False, 3, code="PySCF 2.2.1")
VWN_RPA = LevelOfTheory("b3lyp", "VWN-RPA (PySCF >= 2.3, as Gaussian)", BASIS, False, 3, code="PySCF 2.3.0")
LEVELS = {"stable": VWN5, "300k": VWN5, "100k": VWN_RPA}
VERSION_OF_COUNT = {99_900: "100k", 299_800: "300k", 143_940: "300k"}
"""Published numbers of entries; the last is the withdrawn first release, made with PySCF 2.2.1."""
FRAMES = 100
"""Geometries of each molecule in the published Dynamic sets."""
FAR = 1.375
"""√1.89: where a ratio of distances to covalent radii is as near to 1 in Å as in bohr."""
_lmdb_lock = ProcessLock()


def recognises(path: Path) -> bool:
    """Whether a table has the columns, or the first LMDB value the names, of QH9."""
    if path.suffix.lower() == ".db" and path.is_file():
        with connect(path) as connection:
            return columns(connection, "data") >= REQUIRED
    if path.is_dir() and not (path / "data.mdb").exists():
        return False
    with _lmdb(path) as transaction:
        return set(_first(transaction)) >= set(LMDB_NAMES.values())


def open_source(
    path: Path,
    version: Version | None = None,
    length_unit: LengthUnit | None = None,
    level: LevelOfTheory | None = None,
) -> LabelSource:
    """Open either container.

    Parameters
    ----------
    path
        ``*.db``; or ``*.lmdb``, ``*.mdb`` or the folder with ``data.mdb``.
    version
        ``100k`` or ``300k``: which Dynamic set an excerpt comes from.
    length_unit
        ``angstrom`` or ``bohr``; found by itself if absent.
    level
        Level of theory of a file that is not one of the published ones.

    Raises
    ------
    SettingError
        If an option has no such value, or ``version`` is needed.
    """
    for name, value, allowed in (("version", version, Version), ("length_unit", length_unit, LengthUnit)):
        if value is not None and value not in get_args(allowed):
            raise SettingError(f"{name}={value!r} is unknown; allowed: {', '.join(get_args(allowed))}")
    kind = SQLiteSource if path.is_file() and path.suffix.lower() == ".db" else LMDBSource
    return kind(path, version, length_unit, level)


class QH9Source(LabelSource):
    """What both containers have in common; they differ in how an entry is found."""

    def __init__(
        self, path: Path, version: str | None, length_unit: str | None, level: LevelOfTheory | None
    ) -> None:
        super().__init__(path, level or VWN5)
        self._length_unit = length_unit
        self.dynamic = self.scan()
        if not len(self):
            raise DatasetError(f"{path} holds no molecules")
        self.official_splits = ("geometry", "mol") if self.dynamic else ("random", "size_ood")
        self.level = level or LEVELS[self._version(version)]

    def scan(self) -> bool:
        """List the entries; whether there are several geometries of each molecule."""
        raise NotImplementedError

    def entry(self, index: int) -> Mapping[str, Any]:
        """Contents of an entry by the column names of SQLite."""
        raise NotImplementedError

    def _version(self, version: str | None) -> str:
        if not self.dynamic:
            if version:
                raise SettingError(f"{self.path} is QH9-Stable, which has no version; leave version= out")
            return "stable"
        named = [v for v in get_args(Version) if any(v in part for part in self.path.resolve().parts[-3:])]
        chosen = version or VERSION_OF_COUNT.get(len(self)) or (named[0] if len(named) == 1 else None)
        if chosen is None:
            raise SettingError(
                f"{self.path} is an excerpt of QH9-Dynamic with {len(self)} entries, and its functional "
                f"depends on the set it comes from; pass version='100k' or version='300k'"
            )
        return chosen

    @cached_property
    def in_bohr(self) -> bool:
        """Whether positions are in bohr."""
        if self._length_unit is not None:
            return self._length_unit == "bohr"
        ratios = []
        for index in spread(len(self)):
            try:
                entry = self.entry(index)
                ratios.append(_bond_ratio(*_geometry(entry)))
            except ValueError:  # a damaged entry tells when it is asked for
                continue
        bonded = [r for r in ratios if 0.5 < r < 3]
        return bool(np.median(bonded) > FAR) if bonded else self.dynamic

    def read(self, index: int) -> LabelledMolecule:
        """Read one entry."""
        entry = self.entry(index)
        numbers, positions = _geometry(entry)
        size = shells(BASIS, numbers).size(numbers)
        energy = entry.get("epot")
        return LabelledMolecule(
            name=self.name_of(index),
            numbers=numbers,
            positions=positions * (BOHR_IN_ANGSTROM if self.in_bohr else 1.0),
            hamiltonian=floats(entry["Ham"], (size, size), f"Ham over {BASIS}", widths=(8,)),
            energy=None if energy is None else float(energy) * HARTREE_IN_EV,
            details=_details(entry),
        )

    def molecule_of(self, index: int) -> str:
        """Index in QM9."""
        return f"qm9-{integer(self.entry(index)['id'], 'id')}"

    def official_split(self, name: str) -> Mapping[str, NDArray[np.int64]]:
        """Published division: ``random``, ``size_ood`` (Stable), ``geometry``, ``mol`` (Dynamic).

        An excerpt is divided by the same rule; the original indices come out only for the complete files.

        Raises
        ------
        DatasetError
            If there is no such split, or this is the first release, whose rule is not known.
        """
        if name not in self.official_splits:
            return super().official_split(name)
        if name == "random":
            return random_split(len(self))
        if name == "size_ood":
            return size_split(self.sizes())
        if len(self) == 143_940:
            raise DatasetError(f"{self.path} is the first release; how it was divided was not published")
        return (geometry_split if name == "geometry" else molecule_split)(self._molecules())

    def sizes(self) -> NDArray[np.int64]:
        """Number of atoms of every entry."""
        return np.array([integer(self.entry(i)["N"], "N") for i in range(len(self))], dtype=np.int64)

    def _molecules(self) -> NDArray[np.int64]:
        if len(self) in VERSION_OF_COUNT:  # as the authors count: by row
            return np.arange(len(self)) // FRAMES
        return np.array([integer(self.entry(i)["id"], "id") for i in range(len(self))], dtype=np.int64)


class SQLiteSource(QH9Source):
    """Rows of the table ``data`` in the order of insertion."""

    def open_file(self) -> Any:
        """Open for reading."""
        return connect(self.path)

    def scan(self) -> bool:
        """List rows, molecules and sizes; the matrices stay on disk."""
        present = columns(self.file, "data")
        if missing := REQUIRED - present:
            raise DatasetError(f"{self.path}: table data has no column {', '.join(sorted(missing))}")
        dynamic = "geo_id" in present
        rows = self.file.execute(
            f"SELECT rowid, id, {'geo_id' if dynamic else '0'}, N FROM data ORDER BY rowid"
        )
        table = [[row[0], *(integer(v, "id, geo_id or N") for v in row[1:])] for row in rows]
        self.rows, self.ids, self.frames, self._sizes = np.array(table, dtype=np.int64).reshape(-1, 4).T
        pairs, counts = np.unique(np.stack([self.ids, self.frames]), axis=1, return_counts=True)
        if (counts > 1).any():
            twice = "/".join(map(str, pairs[:, counts > 1][: 1 + dynamic, 0]))
            raise DatasetError(f"{self.path}: there are {counts.max()} entries with id {twice}")
        self._names = [
            c for c in ("id", "geo_id", "N", "Z", "pos", "Ham", "epot", "time", "converged") if c in present
        ]
        return dynamic

    def __len__(self) -> int:
        return len(self.rows)

    def name_of(self, index: int) -> str:
        """Index in QM9, in Dynamic with the number of the geometry."""
        return f"{self.ids[index]}/{self.frames[index]}" if self.dynamic else str(self.ids[index])

    def molecule_of(self, index: int) -> str:
        """Index in QM9."""
        return f"qm9-{self.ids[index]}"

    def sizes(self) -> NDArray[np.int64]:
        """Number of atoms of every entry."""
        return np.asarray(self._sizes)

    def _molecules(self) -> NDArray[np.int64]:
        return np.asarray(self.ids)

    def entry(self, index: int) -> Mapping[str, Any]:
        """One row."""
        query = f"SELECT {', '.join(self._names)} FROM data WHERE rowid = ?"
        return dict(
            zip(self._names, self.file.execute(query, (int(self.rows[index]),)).fetchone(), strict=True)
        )


class LMDBSource(QH9Source):
    """Values in the order of their keys."""

    def scan(self) -> bool:
        """List the keys; whether the first value has the number of a geometry."""
        with _lmdb(self.path) as transaction:
            first = _first(transaction)
            keys = [bytes(k) for k in transaction.cursor().iternext(keys=True, values=False) if len(k) == 4]
        self.keys = np.array([int.from_bytes(key, "big") for key in keys], dtype=np.int64)
        return "geo_id" in first

    def __len__(self) -> int:
        return len(self.keys)

    def name_of(self, index: int) -> str:
        """Key, a number."""
        return str(self.keys[index])

    def entry(self, index: int) -> Mapping[str, Any]:
        """One value."""
        with _lmdb(self.path) as transaction:
            value = transaction.get(int(self.keys[index]).to_bytes(4, "big"))
        record = load_record(value)
        if missing := {"id", *LMDB_NAMES.values()} - set(record):
            raise DatasetError(f"{', '.join(sorted(missing))} is missing")
        return {"id": record["id"], "geo_id": record.get("geo_id")} | {
            k: record[v] for k, v in LMDB_NAMES.items()
        }


@contextmanager
def _lmdb(path: Path) -> Iterator[Any]:
    """Read-only transaction on an LMDB file.

    LMDB refuses to open a file twice in one process, forks included.  Opening takes 30 µs, so that it is done
    anew for every access: sources and worker processes then need not know of each other.
    """
    try:
        lmdb = import_module("lmdb")
    except ImportError as error:
        raise DatasetError(f"{path} is an LMDB file; to read it, pip install 'helm-ase[data]'") from error
    with (
        _lmdb_lock,
        lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, create=False) as environment,
        environment.begin() as transaction,
    ):
        yield transaction


def _first(transaction: Any) -> dict[str, Any]:
    """Return the first record; empty if there is none."""
    cursor = transaction.cursor()
    return load_record(cursor.value()) if cursor.first() else {}


def _geometry(entry: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    count = integer(entry["N"], "N")
    return integers(entry["Z"], count, "Z"), floats(entry["pos"], (count, 3), "pos", widths=(8,))


def _bond_ratio(numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> float:
    """Shortest distance in units of the sum of the covalent radii (Å); infinite for one atom."""
    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float((distances / (radii[:, None] + radii[None])).min())


def _details(entry: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {"qm9_index": integer(entry["id"], "id")}
    if entry.get("geo_id") is not None:
        details["geo_id"] = integer(entry["geo_id"], "geo_id")
    if entry.get("converged") is not None:
        details["converged"] = bool(integer(entry["converged"], "converged"))
    return details
