"""HDF5 with one group per structure, the layout of the project's first labels.

Datasets ``numbers``, ``positions`` (Å), ``forces`` (Eh/a0), ``dipole`` (a.u.), ``hamiltonian_tril`` (Eh,
lower triangle row by row, PySCF AO order); attributes ``energy`` (Eh), ``smiles``, ``split``.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helm_ase.errors import DatasetError
from helm_ase.labels.source import LabelSource
from helm_ase.representation.labelled import LabelledMolecule, unpack_triangle
from helm_ase.representation.level import LevelOfTheory
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

DESCRIPTION = "HDF5, one group per structure"
PATTERNS = ("*.h5", "*.hdf5")
REQUIRED = {"numbers", "positions", "hamiltonian_tril"}
HEAP = b"GCOL\x01\0\0\0"
"""Signature and version of HDF5's collections of strings of variable length."""
DETAILS = {"kind": str, "temperature_K": float, "cycles": int}


def recognises(path: Path) -> bool:
    """Whether the first entry is a group with the datasets of this layout."""
    with h5py.File(path, "r") as file:
        first = next(iter(file.values()), None)
        return isinstance(first, h5py.Group) and set(first) >= REQUIRED


def open_source(path: Path, level: LevelOfTheory | None = None) -> LabelSource:
    """Open a file; ``level`` if its labels are not B3LYP/def2-SVP with density fitting."""
    return GroupSource(path, level or LevelOfTheory())


class GroupSource(LabelSource):
    """Structures sorted by name."""

    level_is_recorded = False

    def __init__(self, path: Path, level: LevelOfTheory) -> None:
        super().__init__(path, level)
        _check_heaps(path)
        self.names = sorted(self.file)

    def open_file(self) -> h5py.File:
        """Open for reading."""
        return h5py.File(self.path, "r")

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, index: int) -> str:
        """Name of the group."""
        return str(self.names[index])

    def split_of(self, index: int) -> str:
        """Split."""
        return str(self.file[self.names[index]].attrs.get("split", ""))

    def smiles_of(self, index: int) -> str:
        """SMILES, without reading the rest."""
        return str(self.file[self.names[index]].attrs.get("smiles", ""))

    def read(self, index: int) -> LabelledMolecule:
        """Read one group."""
        group = self.file[self.names[index]]
        attributes: dict[str, Any] = dict(group.attrs)
        return LabelledMolecule(
            name=self.names[index],
            numbers=np.asarray(group["numbers"], dtype=np.int64),
            positions=np.asarray(group["positions"], dtype=np.float64),
            energy=float(attributes["energy"]) * HARTREE_IN_EV,
            forces=np.asarray(group["forces"], dtype=np.float64) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM,
            hamiltonian=unpack_triangle(np.asarray(group["hamiltonian_tril"], dtype=np.float64)),
            dipole=np.asarray(group["dipole"], dtype=np.float64),
            orbital_energies=_orbital_energies(group),
            smiles=str(attributes.get("smiles", "")),
            split=str(attributes.get("split", "")),
            details={k: kind(attributes[k]) for k, kind in DETAILS.items() if k in attributes},
        )


def _check_heaps(path: Path) -> None:
    """Refuse what HDF5 (up to 2.0) walks through forever: string heaps whose objects have no length."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = data.find(HEAP)
        while begin >= 0:
            size = int.from_bytes(data[begin + 8 : begin + 16], "little")
            position, end = begin + 16, min(begin + size, len(data))
            while position + 16 <= end:
                index, length = struct.unpack_from("<H6xQ", data, position)
                step = length if index == 0 else 16 + -(-length // 8) * 8
                if step == 0:
                    raise DatasetError(f"{path} is damaged: empty object in the string heap at byte {begin}")
                position += step
            begin = data.find(HEAP, begin + 1)


def _orbital_energies(group: h5py.Group) -> np.ndarray | None:
    return np.asarray(group["mo_energy"], dtype=np.float64) if "mo_energy" in group else None
