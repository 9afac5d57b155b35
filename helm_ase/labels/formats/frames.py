"""Energies and forces without Hamiltonians: extended XYZ files and ASE trajectories.

Positions are in Å, energies in eV, forces in eV/Å, as ASE has them.  ``charge``, ``multiplicity`` (or their
aliases), ``split``, ``smiles`` and ``name`` may stand in the comment line.  The level of theory does not: it
has to be told.
"""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.source import LabelSource
from helm_ase.representation.box import out_of_box
from helm_ase.representation.charge_state import charge_state
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.structure_files import stream_frames

DESCRIPTION = "energies and forces of frames, without Hamiltonians"
PATTERNS = ("*.xyz", "*.extxyz", "*.traj")
ENERGY, FORCES = ("REF_energy", "energy"), ("REF_forces", "forces")
"""Keys that are tried, in this order: what is named REF is what is to be learnt."""


def recognises(path: Path) -> bool:
    """Whether the first frame has an energy."""
    return found_energy(next(stream_frames(str(path))), ENERGY) is not None


def open_source(
    path: Path,
    level: LevelOfTheory | None = None,
    energy: str | None = None,
    forces: str | None = None,
    no_pbc: bool = False,
) -> LabelSource:
    """Open a file.

    Parameters
    ----------
    path
        Frames with energies.
    level
        Level of theory of the energies, if not B3LYP/def2-SVP.
    energy, forces
        Keys of energies (eV) and forces (eV/Å).
    no_pbc
        Take molecules out of the boxes in which they are.
    """
    keys = (energy,) if energy else ENERGY, (forces,) if forces else FORCES
    return FrameSource(path, level or LevelOfTheory(), keys, no_pbc)


class FrameSource(LabelSource):
    """Frames in their order; every process reads the file once."""

    level_is_recorded = False

    def __init__(
        self, path: Path, level: LevelOfTheory, keys: tuple[tuple[str, ...], tuple[str, ...]], no_pbc: bool
    ) -> None:
        super().__init__(path, level)
        self.energy_keys, self.force_keys = keys
        self.no_pbc = no_pbc

    def open_file(self) -> list[Atoms]:
        """Read all frames."""
        return list(stream_frames(str(self.path)))

    def __len__(self) -> int:
        return len(self.file)

    def name_of(self, index: int) -> str:
        """Name in the comment line, or number of the frame."""
        return str(self.file[index].info.get("name", index))

    def split_of(self, index: int) -> str:
        """Split in the comment line."""
        return str(self.file[index].info.get("split", ""))

    def smiles_of(self, index: int) -> str:
        """SMILES in the comment line."""
        return str(self.file[index].info.get("smiles", ""))

    def read(self, index: int) -> LabelledMolecule:
        """Read one frame."""
        atoms: Atoms = self.file[index]
        if atoms.pbc.any() and not self.no_pbc:
            raise DatasetError("the frame is periodic; of a molecule in a box say no_pbc=true")
        energy = found_energy(atoms, self.energy_keys)
        if energy is None:
            raise DatasetError(
                f"there is no energy under {' or '.join(self.energy_keys)} (option energy=KEY)"
            )
        charge, multiplicity = charge_state(atoms)
        return LabelledMolecule(
            name=self.name_of(index),
            numbers=atoms.numbers.astype(np.int64),
            positions=(out_of_box(atoms) if atoms.pbc.any() else atoms).positions.copy(),
            hamiltonian=None,
            charge=charge,
            multiplicity=multiplicity,
            energy=energy,
            forces=found_forces(atoms, self.force_keys),
            smiles=self.smiles_of(index),
            split=self.split_of(index),
        )


def found_energy(atoms: Atoms, keys: tuple[str, ...]) -> float | None:
    """The first energy that a frame has under one of the keys, eV."""
    value = _first(atoms, atoms.info, keys)
    return None if value is None else float(value)


def found_forces(atoms: Atoms, keys: tuple[str, ...]) -> NDArray[np.float64] | None:
    """The first forces that a frame has under one of the keys, eV/Å, (N, 3)."""
    value = _first(atoms, atoms.arrays, keys)
    return None if value is None else np.array(value, dtype=np.float64)


def _first(atoms: Atoms, kept: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """What a frame, or else the calculator that its reader attached, holds under the first known key."""
    known = {**(atoms.calc.results if atoms.calc else {}), **kept}
    return next((known[key] for key in keys if known.get(key) is not None), None)
