"""Folders as mlelec uses them: one xyz file with all frames, one file of matrices per property.

``fock*.npy`` or ``.npz`` (Eh), beside it ``overlap…`` and ``dipole…`` or ``dipole_moment…`` with the same
ending, ``orbs….json`` (element → list of [n, l, m]).  Stacked arrays (frames, A, A), or ``.npz`` with one
array a frame. Object arrays are pickles, which run code when read, and are refused; so are ``.hickle``
files: convert them with ``numpy.savez(file, *arrays)``.  The files name neither basis nor functional nor
units.  Published dipoles are in **debye**, for instance, so ``dipole_unit`` has to be stated.
"""

import json
import re
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.npz import load_npz
from helm_ase.labels.source import LabelSource
from helm_ase.qc.molecule import ao_basis, build_mole
from helm_ase.representation import AOBasis, AOMatrix, AOOrder
from helm_ase.representation.charge_state import is_whole
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.ordering import shell_order
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM, DEBYE_IN_E_ANGSTROM

DESCRIPTION = "mlelec-style folder: xyz, fock*.npy or .npz, overlap, dipole"
PATTERNS = ("*/",)
DIPOLE_UNITS = {"debye": DEBYE_IN_E_ANGSTROM / ATOMIC_DIPOLE_IN_E_ANGSTROM, "au": 1.0}
OVERLAP_TOLERANCE = 1e-5
CHECKED_FRAMES = 3
"""Frames whose overlap is compared with PySCF's on opening."""

Arrays = list[NDArray[Any]] | NDArray[Any]


def recognises(path: Path) -> bool:
    """Whether the folder has an xyz file and a ``fock`` file."""
    return any(path.glob("*.xyz")) and any(path.glob("fock*"))


def open_source(
    path: Path,
    basis: str | None = None,
    functional: str = "",
    charge: int = 0,
    multiplicity: int = 1,
    order: AOOrder = "pyscf",
    fock: str | None = None,
    dipole_unit: str | None = None,
) -> LabelSource:
    """Open a folder.

    Parameters
    ----------
    path
        The folder.
    basis
        As PySCF names it; required.
    functional
        As PySCF names it, ``hf`` for Hartree–Fock; the folder does not record it.
    charge, multiplicity
        Charge and multiplicity of all frames that do not carry ``charge`` and ``multiplicity`` in their
        comment line.
    order
        Order of the functions inside a shell; the shells are in PySCF's sequence.
    fock
        Name of the file, where there are several.
    dipole_unit
        ``debye`` or ``au``; required if there is a file of dipoles.
    """
    if basis is None:
        raise SettingError(f"{path} does not name its basis: pass basis= as PySCF names it")
    level = LevelOfTheory(
        functional,
        "as in the source" if functional else "not recorded in the files",
        basis,
        False,
        code="unknown",
    )
    return FolderSource(path, level, order, (charge, multiplicity), _files(path, fock), dipole_unit)


class FolderSource(LabelSource):
    """Frames of one folder."""

    def __init__(
        self,
        path: Path,
        level: LevelOfTheory,
        order: AOOrder,
        state: tuple[int, int],
        files: dict[str, Path],
        dipole_unit: str | None,
    ) -> None:
        super().__init__(path, level)
        if "dipole" in files and dipole_unit not in DIPOLE_UNITS:
            raise SettingError(
                f"{files['dipole']}: dipole_unit is {dipole_unit!r}; allowed: {', '.join(DIPOLE_UNITS)}"
            )
        self.files, self.order, self.state, self.dipole_unit = files, order, state, dipole_unit
        self.frames: list[Atoms] = ase.io.read(files["xyz"], ":", format="extxyz")
        elements = sorted({int(z) for frame in self.frames for z in frame.numbers})
        self.basis = ao_basis(level.basis, elements)
        for name, arrays in self.file.items():
            if len(arrays) != len(self.frames):
                raise DatasetError(f"{files[name]}: {len(arrays)} arrays for {len(self.frames)} frames")
        if "orbs" in files and order == "pyscf":
            _check_orbitals(files["orbs"], self.basis)
        for index in range(min(CHECKED_FRAMES, len(self.frames)) if "overlap" in files else 0):
            self._check_overlap(index)

    def open_file(self) -> dict[str, Arrays]:
        """Arrays of every property; stacked ones stay on disk."""
        names = ("fock", "overlap", "dipole")
        return {n: _load(self.files[n], 1 if n == "dipole" else 2) for n in names if n in self.files}

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> LabelledMolecule:
        """Read one frame."""
        frame, (charge, multiplicity) = self.frames[index], self._state(index)
        dipole = None
        if "dipole" in self.files:
            dipole = (
                np.asarray(self.file["dipole"][index], dtype=np.float64) * DIPOLE_UNITS[str(self.dipole_unit)]
            )
        return LabelledMolecule(
            name=str(index),
            numbers=frame.numbers.astype(np.int64),
            positions=frame.positions.astype(np.float64),
            hamiltonian=self._matrix("fock", index),
            charge=charge,
            multiplicity=multiplicity,
            dipole=dipole,
            overlap=self._matrix("overlap", index) if "overlap" in self.files else None,
        )

    def _state(self, index: int) -> tuple[int, int]:
        info = self.frames[index].info
        values = info.get("charge", self.state[0]), info.get("multiplicity", self.state[1])
        if not all(map(is_whole, values)):
            raise DatasetError(f"charge and multiplicity are {values}; whole numbers are needed")
        return int(values[0]), int(values[1])

    def _matrix(self, name: str, index: int) -> NDArray[np.float64]:
        """One matrix in PySCF's order; (A, A), or (2, A, A) if the file has both spins."""
        values = np.asarray(self.file[name][index])
        if values.dtype.kind not in "fiu" or values.ndim not in (2, 3) or values.shape[:-2] not in ((), (2,)):
            raise DatasetError(
                f"{self.files[name]}: {values.dtype} array of shape {values.shape} for one frame; only "
                "matrices of molecules are read, not of k points or lattice translations"
            )
        numbers = self.frames[index].numbers.astype(np.int64)
        parts = values.astype(np.float64).reshape(-1, *values.shape[-2:])
        parts = np.stack(
            [AOMatrix(p, numbers, self.basis, self.order).reorder("pyscf").values for p in parts]
        )
        return parts if values.ndim == 3 else parts[0]

    def _check_overlap(self, index: int) -> None:
        frame = self.frames[index]
        mole = build_mole(frame.numbers, frame.positions, self.level.basis, *self._state(index))
        deviation = np.abs(self._matrix("overlap", index) - mole.intor_symmetric("int1e_ovlp")).max()
        if not deviation <= OVERLAP_TOLERANCE:
            raise DatasetError(
                f"{self.files['overlap']}, entry {index}: S deviates by {deviation:.2g} from that of "
                f"{self.level.basis!r} in {self.order!r} order; basis, order or geometry is another"
            )


def _files(path: Path, fock: str | None) -> dict[str, Path]:
    """Property → file."""
    xyz, matrices = sorted(path.glob("*.xyz")), sorted(path.glob("fock*"))
    if old := [f.name for f in matrices if f.suffix.lower() in (".hickle", ".hkl", ".pkl", ".pt")]:
        raise DatasetError(f"{path}: {', '.join(old)} must be converted: numpy.savez('fock.npz', *arrays)")
    matrices = [f for f in matrices if f.suffix in (".npy", ".npz")]
    if fock is not None:
        matrices = [path / fock]
    if len(xyz) != 1 or len(matrices) != 1 or not matrices[0].is_file():
        raise DatasetError(
            f"{path} holds xyz files {[f.name for f in xyz]} and Fock files {[f.name for f in matrices]}; "
            "one of each is needed, pass fock= to choose"
        )
    files = {"xyz": xyz[0], "fock": matrices[0]}
    ending = matrices[0].stem.removeprefix("fock")
    for name, stems in {
        "overlap": ("overlap",),
        "dipole": ("dipole", "dipole_moment"),
        "orbs": ("orbs",),
    }.items():
        suffixes = (".json",) if name == "orbs" else (".npy", ".npz")
        choices = [path / f"{stem}{ending}{suffix}" for stem in stems for suffix in suffixes]
        if present := [choice for choice in choices if choice.is_file()]:
            files[name] = present[0]
    return files


def _load(path: Path, rank: int) -> Arrays:
    """One array per frame; ``rank`` is that of one."""
    try:
        if path.suffix == ".npy":
            stacked: NDArray[np.float64] = np.load(path, mmap_mode="r", allow_pickle=False)
            return stacked[None] if stacked.ndim == rank else stacked
        archive = load_npz(path)
        arrays = [archive[key] for key in sorted(archive, key=_by_number)]
    except ValueError as error:
        if "pickle" not in str(error).lower() and "python objects" not in str(error).lower():
            raise DatasetError(f"{path} is damaged: {error}") from error
        raise DatasetError(
            f"{path} is an object array, a pickle, and those run code when read: convert it where you "
            f"trust it with numpy.savez({path.stem + '.npz'!r}, *arrays)"
        ) from error
    return arrays[0] if len(arrays) == 1 and arrays[0].ndim > rank else arrays


def _by_number(key: str) -> tuple[int, str]:
    match = re.search(r"(\d+)$", key)
    return (int(match[1]) if match else -1), key


def _check_orbitals(path: Path, basis: AOBasis) -> None:
    """The list of orbitals must be that of the basis in PySCF's order."""
    table = json.loads(path.read_text(encoding="utf8"))
    for symbol, orbitals in table.items():
        z = atomic_numbers[symbol]
        if z not in basis.shells:
            continue
        expected = [(l, m) for l in basis.shells_of(z) for m, _ in shell_order("pyscf", l)]
        if [(int(l), int(m)) for _, l, m in orbitals] != expected:
            raise DatasetError(
                f"{path}: the orbitals of {symbol} are not those of {basis.name!r} in PySCF's order"
            )
