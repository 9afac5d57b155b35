"""What readers of quantum-chemistry outputs share: a file, or a folder of files, one molecule each.

The programs do not print the Kohn–Sham matrix itself but its eigenvectors and eigenvalues; the matrix is
rebuilt from them in PySCF's basis of the same name (:mod:`helm_ase.qc.orbital_files`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError, HelmError
from helm_ase.labels.source import LabelSource
from helm_ase.qc.orbital_files import COMMON_BASES, OrbitalSet, find_basis, rebuild
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory

UNKNOWN = "not recorded in the file"


@dataclass(frozen=True)
class Output:
    """What one file of a program says."""

    orbitals: OrbitalSet
    program: str
    functional: str = ""
    """As PySCF spells it, ``hf`` included; empty if the file does not say."""
    basis: str = ""
    """Name in the file."""
    energy: float | None = None
    """eV."""
    forces: NDArray[np.float64] | None = None
    """eV/Å, (N, 3)."""
    dipole: NDArray[np.float64] | None = None
    """Atomic units, (3,)."""
    details: Mapping[str, Any] = field(default_factory=dict)


class ProgramFiles(LabelSource):
    """Outputs of one program at one level of theory.

    Parameters
    ----------
    path
        File or folder.
    files
        Its outputs.
    parse
        Function of a module that reads one of them.
    level
        Level of theory; its basis is that of all files.
    tolerance
        Largest |Cᵀ S C − 1| that the printed digits explain.
    """

    def __init__(
        self,
        path: Path,
        files: list[Path],
        parse: Callable[[Path], Output],
        level: LevelOfTheory,
        tolerance: float,
    ) -> None:
        super().__init__(path, level)
        self.files = files
        self.parse = parse
        self.tolerance = tolerance

    def __len__(self) -> int:
        return len(self.files)

    def name_of(self, index: int) -> str:
        """Name of the file."""
        return self.files[index].name

    def read(self, index: int) -> LabelledMolecule:
        """Read one file and rebuild its Kohn–Sham matrix."""
        output = self.parse(self.files[index])
        rebuilt = rebuild(output.orbitals, self.level.basis, self.tolerance)
        return LabelledMolecule(
            name=self.name_of(index),
            numbers=output.orbitals.numbers,
            positions=output.orbitals.positions,
            hamiltonian=rebuilt.hamiltonian,
            charge=rebuilt.charge,
            multiplicity=rebuilt.multiplicity,
            energy=output.energy,
            forces=output.forces,
            dipole=output.dipole,
            orbital_energies=rebuilt.orbital_energies,
            occupations=rebuilt.occupations,
            details={**output.details, "orthonormality": rebuilt.deviation},
        )


def matching(path: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The file itself, or those of a folder whose names fit, by name."""
    if path.is_file():
        return [path]
    names = [p for p in patterns if not p.endswith("/")]
    return sorted(f for f in path.iterdir() if any(fnmatch(f.name.lower(), n) for n in names))


def opener(
    patterns: tuple[str, ...], parse: Callable[[Path], Output], accepted: float
) -> Callable[..., LabelSource]:
    """Make the ``open_source`` of a reader from its patterns, its parser and its usual tolerance."""

    def open_source(
        path: Path, basis: str | None = None, functional: str | None = None, tolerance: float = accepted
    ) -> LabelSource:
        """Open a file, or a folder of files at one level of theory.

        Parameters
        ----------
        path
            File or folder.
        basis
            As PySCF names it; that named in the file, or a common one with the same shells, if absent.
        functional
            As PySCF names it; from the file if absent, and unknown if the format does not record it.
        tolerance
            Largest |Cᵀ S C − 1| accepted.
        """
        return open_outputs(path, patterns, parse, basis, functional, tolerance)

    return open_source


def open_outputs(
    path: Path,
    patterns: tuple[str, ...],
    parse: Callable[[Path], Output],
    basis: str | None,
    functional: str | None,
    tolerance: float,
) -> ProgramFiles:
    """Open outputs; basis and functional come from the first one if they are not given.

    Raises
    ------
    DatasetError
        If there are none, or the first is unreadable or in an unknown basis.
    """
    files = matching(path, patterns)
    if not files:
        raise DatasetError(f"{path} holds no files named {', '.join(patterns)}")
    try:
        first = parse(files[0])
        names = ((first.basis,) if first.basis else ()) + COMMON_BASES
        basis = basis or find_basis(first.orbitals, names)
    except (HelmError, ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, DatasetError) and str(files[0]) in str(error):
            raise
        reason = error if isinstance(error, HelmError) else f"{type(error).__name__}: {error}"
        raise DatasetError(f"{files[0]}: {reason}") from error
    level = LevelOfTheory(
        functional=functional or first.functional,
        variant=f"as in {first.program}" if functional or first.functional else UNKNOWN,
        basis=basis,
        density_fitting=False,
        code=first.program,
    )
    return ProgramFiles(path, files, parse, level, tolerance)
