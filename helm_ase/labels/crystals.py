"""Files of labelled crystals: HDF5 with flat arrays and offsets, as the package's files of molecules.

Every quantity is one group: ``values`` of all crystals one after the other, and ``offsets`` (M + 1,) where
each begins; a crystal that lacks the quantity has an empty stretch.  Matrices are complex, F(k) at the points
of a Γ-centred mesh that time reversal leaves, in PySCF's AO order.  Attributes of the file name layout,
version and level of theory; attributes of each quantity its unit.  Chunks carry checksums.

A file is written beside its final place and then moved there: a file that exists is complete.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.blobs import whole_numbers
from helm_ase.labels.forgiving_file import ForgivingFile
from helm_ase.labels.hdf5 import check_unit, dataset, item, number_attribute, open_hdf5, text_attribute
from helm_ase.labels.writer import check_label_path
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory, differences
from helm_ase.system.atomic_write import whole_file
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

LAYOUT = "helm-ase crystal labels"
SCHEMA_VERSION = 1
AO_ORDER = "pyscf"


@dataclass(frozen=True)
class Quantity:
    """How one field of a record is kept."""

    unit: str
    shape: tuple[int, ...] = ()
    """Shape of one row; -1 stands for the number of functions."""
    dtype: str = "f8"
    factor: float = 1.0
    """Value in the record over value in the file."""


QUANTITIES: dict[str, Quantity] = {
    "name": Quantity("UTF-8", dtype="u1"),
    "split": Quantity("UTF-8", dtype="u1"),
    "details": Quantity("JSON", dtype="u1"),
    "numbers": Quantity("atomic number", dtype="u1"),
    "positions": Quantity("angstrom", (3,)),
    "cell": Quantity("angstrom, rows are lattice vectors", (3,)),
    "pbc": Quantity("1: periodic", dtype="u1"),
    "mesh": Quantity("k points along each reciprocal vector", dtype="i4"),
    "fock": Quantity("hartree", (-1, -1), "c16"),
    "energy": Quantity("hartree, extrapolated to zero smearing", factor=HARTREE_IN_EV),
    "free_energy": Quantity("hartree", factor=HARTREE_IN_EV),
    "forces": Quantity("hartree/bohr", (3,), factor=HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM),
    "stress": Quantity("eV/angstrom^3", (3,)),
}
"""Field of :class:`~helm_ase.representation.labelled_crystal.LabelledCrystal` → how it is kept."""
TEXTS = ("name", "split", "details")


def write_crystals(
    path: str | Path, labels: Iterable[LabelledCrystal], level: LevelOfTheory, append: bool = False
) -> int:
    """Write a file of crystals, complete or not at all; returns how many it holds.

    Parameters
    ----------
    path
        Ends in ``.h5`` or ``.hdf5``.
    labels
        All of the level.
    level
        Level of theory.
    append
        Keep what an existing file holds.

    Raises
    ------
    DatasetError
        If a structure or name occurs twice, or the file to extend has another level.
    SettingError
        If the file's name does not end as it should.
    """
    check_label_path(path)
    kept = list(_existing(Path(path), level)) if append and Path(path).exists() else []
    everything = [*kept, *labels]
    _check_distinct(everything, Path(path))
    with whole_file(path) as partial, ForgivingFile(partial, "w+b") as disk:
        with h5py.File(disk, "w", libver="v110") as file:
            texts = {"layout": LAYOUT, "level": json.dumps(asdict(level)), "ao_order": AO_ORDER}
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs.update({k: np.bytes_(v.encode()) for k, v in texts.items()})
            for name, quantity in QUANTITIES.items():
                _write(file, name, quantity, [_row(name, label) for label in everything])
        disk.check()
    return len(everything)


def _existing(path: Path, level: LevelOfTheory) -> Sequence[LabelledCrystal]:
    source = CrystalSource(path)
    if source.level != level:
        raise DatasetError(
            f"{path} holds labels of another level of theory ({differences(source.level, level)}); use "
            f"another file"
        )
    return [source[k] for k in range(len(source))]


def _check_distinct(labels: Sequence[LabelledCrystal], path: Path) -> None:
    for kind, values in (("structure", [x.key for x in labels]), ("name", [x.name for x in labels])):
        seen: dict[str, str] = {}
        for label, value in zip(labels, values, strict=True):
            if value in seen:
                raise DatasetError(f"{path}: entries {seen[value]} and {label.name} have the same {kind}")
            seen[value] = label.name


def _row(name: str, label: LabelledCrystal) -> NDArray[Any] | None:
    if name == "details":
        value: Any = json.dumps(dict(label.details), sort_keys=True)
    elif name in ("cell", "pbc"):
        value = getattr(label.lattice, name)
    else:
        value = getattr(label, name)
    if value is None:
        return None
    if name in TEXTS:
        return np.frombuffer(value.encode(), dtype=np.uint8)
    array = np.asarray(value, dtype=QUANTITIES[name].dtype).ravel()
    return array / QUANTITIES[name].factor if QUANTITIES[name].factor != 1.0 else array


def _write(file: h5py.File, name: str, quantity: Quantity, rows: Sequence[NDArray[Any] | None]) -> None:
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
    present = [r for r in rows if r is not None]
    values = np.concatenate(present) if present else np.zeros(0)
    lengths = [0 if r is None else len(r) for r in rows]
    group = file.create_group(name)
    chunk = (max(1, min(len(values), 4096)),)
    group.create_dataset(
        "values", data=values.astype(quantity.dtype), chunks=chunk, maxshape=(None,), **packed
    )
    group.create_dataset("offsets", data=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    group.attrs["unit"] = np.bytes_(quantity.unit.encode())


class CrystalSource(Sequence[LabelledCrystal]):
    """Labelled crystals of a file, read when asked for.

    Raises
    ------
    DatasetError
        If the file is missing, damaged, or none of this layout.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with open_hdf5(self.path) as file:
                layout, version = text_attribute(file, "layout", ""), number_attribute(file, "schema_version")
                if layout != LAYOUT or version > SCHEMA_VERSION:
                    raise DatasetError(f"layout {layout!r}, version {version}; {LAYOUT!r}, 1 is needed")
                self.level = LevelOfTheory(**json.loads(text_attribute(file, "level")))
                for name, quantity in QUANTITIES.items():
                    check_unit(item(file, name), quantity.unit)
                self._offsets = {k: whole_numbers(dataset(file, f"{k}/offsets")[...], k) for k in QUANTITIES}
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DatasetError(f"{path} is not a file of labelled crystals: {error}") from error

    def __len__(self) -> int:
        return len(self._offsets["name"]) - 1

    def __getitem__(self, index: Any) -> Any:
        """Read one crystal, or those of a slice.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} holds {len(self)} crystals; there is no entry {index}")
        try:
            return self._read(index % len(self))
        except Exception as error:  # a damaged file may raise anything
            raise DatasetError(f"{self.path}, entry {index}: {type(error).__name__}: {error}") from error

    def _read(self, index: int) -> LabelledCrystal:
        values_by_name: dict[str, Any] = {}
        with open_hdf5(self.path) as file:
            for name, quantity in QUANTITIES.items():
                begin, end = self._offsets[name][index : index + 2]
                values = dataset(file, f"{name}/values")[begin:end]
                if name in TEXTS:
                    values_by_name[name] = values.tobytes().decode()
                elif begin < end:
                    values_by_name[name] = values * quantity.factor if quantity.factor != 1.0 else values
        n, m, l = map(int, values_by_name.pop("mesh"))
        mesh = (n, m, l)
        lattice = Lattice(values_by_name.pop("cell").reshape(3, 3), values_by_name.pop("pbc").astype(bool))
        size = round((len(values_by_name["fock"]) / _points(mesh)) ** 0.5)
        shapes = {"positions": (-1, 3), "forces": (-1, 3), "stress": (3, 3), "fock": (-1, size, size)}
        values_by_name |= {
            k: values_by_name[k].reshape(shape) for k, shape in shapes.items() if k in values_by_name
        }
        values_by_name |= {
            k: float(values_by_name[k][0]) for k in ("energy", "free_energy") if k in values_by_name
        }
        details, numbers = (
            json.loads(values_by_name.pop("details")),
            values_by_name.pop("numbers").astype(np.int64),
        )
        return LabelledCrystal(lattice=lattice, mesh=mesh, details=details, numbers=numbers, **values_by_name)

    def split_of(self, index: int) -> str:
        """Split of an entry, without reading the entry."""
        begin, end = self._offsets["split"][index : index + 2]
        with open_hdf5(self.path) as file:
            return str(dataset(file, "split/values")[begin:end].tobytes().decode())


def _points(mesh: tuple[int, ...]) -> int:
    """Points of a Γ-centred mesh that time reversal leaves: half, and those that are their own partners."""
    own = int(np.prod([2 if n % 2 == 0 else 1 for n in mesh]))
    return (int(np.prod(mesh)) + own) // 2
