"""HDF5 with one group per structure, the layout of the project's first labels.

Datasets ``numbers``, ``positions`` (Å), ``forces`` (Eh/a0), ``dipole`` (a.u.), ``hamiltonian_tril`` (Eh,
lower triangle row by row, PySCF AO order); attributes ``energy`` (Eh), ``smiles``, ``split``.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helm_ase.labels.blobs import whole_numbers
from helm_ase.labels.hdf5 import (
    check_heaps,
    dataset,
    item,
    members,
    number_attribute,
    open_hdf5,
    text_attribute,
)
from helm_ase.labels.source import LabelSource
from helm_ase.representation.labelled import LabelledMolecule, unpack_triangle
from helm_ase.representation.level import LevelOfTheory
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

DESCRIPTION = "HDF5, one group per structure"
PATTERNS = ("*.h5", "*.hdf5")
REQUIRED = {"numbers", "positions", "hamiltonian_tril"}
ANGSTROM, HARTREE = ("angstrom", "Å", "ang"), ("hartree", "Eh", "au", "a.u.")
HARTREE_PER_BOHR = ("hartree/bohr", "Eh/a0", "Eh/bohr", "au", "a.u.")
DIPOLE = ("e*bohr", "e*a0", "au", "a.u.", "e*bohr, about the origin")
"""Units that the layout has, as files may spell them."""
DETAILS = {"kind": str, "temperature_K": float, "cycles": int}


def recognises(path: Path) -> bool:
    """Whether the first entry is a group with the datasets of this layout."""
    with open_hdf5(path) as file:
        name = next(iter(file), None)
        first = None if name is None else item(file, name)
        return isinstance(first, h5py.Group) and set(first) >= REQUIRED


def open_source(path: Path, level: LevelOfTheory | None = None) -> LabelSource:
    """Open a file; ``level`` if its labels are not B3LYP/def2-SVP with density fitting."""
    return GroupSource(path, level or LevelOfTheory())


class GroupSource(LabelSource):
    """Structures sorted by name."""

    level_is_recorded = False

    def __init__(self, path: Path, level: LevelOfTheory) -> None:
        super().__init__(path, level)
        check_heaps(path)
        self.names = members(self.file)

    def open_file(self) -> h5py.File:
        """Open for reading."""
        return open_hdf5(self.path)

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, index: int) -> str:
        """Name of the group."""
        return str(self.names[index])

    def split_of(self, index: int) -> str:
        """Split."""
        return text_attribute(self._group(index), "split", "")

    def smiles_of(self, index: int) -> str:
        """SMILES, without reading the rest."""
        return text_attribute(self._group(index), "smiles", "")

    def read(self, index: int) -> LabelledMolecule:
        """Read one group."""
        group = self._group(index)
        return LabelledMolecule(
            name=self.names[index],
            numbers=whole_numbers(dataset(group, "numbers")[...], "numbers"),
            positions=_floats(group, "positions", ANGSTROM),
            energy=number_attribute(group, "energy") * HARTREE_IN_EV,
            forces=_floats(group, "forces", HARTREE_PER_BOHR) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM,
            hamiltonian=unpack_triangle(_floats(group, "hamiltonian_tril", HARTREE)),
            dipole=_floats(group, "dipole", DIPOLE),
            orbital_energies=_floats(group, "mo_energy", HARTREE) if "mo_energy" in group else None,
            smiles=self.smiles_of(index),
            split=self.split_of(index),
            details={k: _detail(group, k, kind) for k, kind in DETAILS.items() if k in group.attrs},
        )

    def _group(self, index: int) -> h5py.Group:
        return item(self.file, self.names[index])


def _floats(group: h5py.Group, name: str, units: tuple[str, ...]) -> np.ndarray:
    return np.asarray(dataset(group, name, units)[...], dtype=np.float64)


def _detail(group: h5py.Group, name: str, kind: type) -> Any:
    return text_attribute(group, name) if kind is str else kind(number_attribute(group, name))
