"""ORCA's JSON export (``orca_2json job.gbw``, ORCA 5 and 6): geometry, basis and all orbitals in full digits.

The matrices in such a file are traps: ``H-Matrix`` is the one-electron Hamiltonian, and ``F-Matrix`` the
two-electron part alone.  The Kohn–Sham matrix is therefore rebuilt from orbitals and energies;
``S-Matrix``, if there, is checked against PySCF's.  Coordinates are in bohr from ORCA 5 and in Å from ORCA
6, as the file says. Energies and gradients are in other files of ORCA and are not read.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.blobs import whole_numbers
from helm_ase.labels.formats.program_files import Output, matching, opener
from helm_ase.qc.orbital_files import OrbitalSet, Shell
from helm_ase.units import BOHR_IN_ANGSTROM

DESCRIPTION = "ORCA orbitals as JSON (orca_2json), one molecule a file, or a folder of them"
PATTERNS = ("*.json", "*/")
TOLERANCE = 1e-6
LETTERS = "spdfghi"
UNITS = {"bohrs": BOHR_IN_ANGSTROM, "bohr": BOHR_IN_ANGSTROM, "angs": 1.0, "angstrom": 1.0}
RESTRICTED = {"RHF": 1, "RKS": 1, "UHF": 2, "UKS": 2}
"""``HFTyp`` → sets of orbitals."""


def recognises(path: Path) -> bool:
    """Whether the (first) file begins with a molecule and its atoms."""
    files = matching(path, PATTERNS)
    if not files:
        return False
    with files[0].open(encoding="utf8", errors="replace") as file:
        head = file.read(4096)
    return '"Molecule"' in head and '"Atoms"' in head


def parse(path: Path) -> Output:
    """Read one file.

    Raises
    ------
    DatasetError
        If it is cut short, lacks a part, or holds orbitals that define no Fock matrix.
    """
    try:
        molecule = json.loads(path.read_text(encoding="utf8"))["Molecule"]
        atoms = sorted(molecule["Atoms"], key=lambda a: int(a["Idx"]))
        positions = np.array([a["Coords"] for a in atoms], dtype=np.float64)
        shells = tuple(_shells(atoms))
        coefficients, energies, occupations = _orbitals(molecule)
        orbitals = OrbitalSet(
            whole_numbers([a["ElementNumber"] for a in atoms], "ElementNumber"),
            positions.reshape(len(atoms), 3) * _unit(molecule),
            shells, "orca", coefficients, energies, occupations,
            charge=_whole(molecule, "Charge"), multiplicity=_whole(molecule, "Multiplicity"),
            overlap=np.array(molecule["S-Matrix"], dtype=np.float64) if "S-Matrix" in molecule else None,
            bare_primitives=(False, True),
        )  # fmt: skip
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"the file is cut short or no JSON: {error}") from error
    except KeyError as error:
        raise DatasetError(f"entry {error} is missing: export with orca_2json and all orbitals") from error
    return Output(orbitals, "ORCA")


open_source = opener(PATTERNS, parse, TOLERANCE)


def _whole(molecule: dict[str, Any], name: str) -> int:
    return int(whole_numbers(molecule[name], name))


def _unit(molecule: dict[str, Any]) -> float:
    unit = str(molecule["CoordinateUnits"]).lower()
    if unit not in UNITS:
        raise DatasetError(f"coordinates are in {unit!r}; known units: {', '.join(UNITS)}")
    return UNITS[unit]


def _shells(atoms: list[dict[str, Any]]) -> Iterator[Shell]:
    for k, atom in enumerate(atoms):
        for shell in atom["Basis"] if "Basis" in atom else atom["BasisFunctions"]:
            letter = str(shell["Shell"]).lower()
            if letter not in LETTERS:
                raise DatasetError(f"unknown kind of shell {letter!r}")
            exponents, coefficients = (
                np.array(shell[key], dtype=np.float64).ravel() for key in ("Exponents", "Coefficients")
            )
            if exponents.shape != coefficients.shape:
                raise DatasetError(f"{len(exponents)} exponents, {len(coefficients)} coefficients in a shell")
            yield Shell(k, LETTERS.index(letter), exponents, coefficients)


def _orbitals(molecule: dict[str, Any]) -> tuple[NDArray[np.float64], ...]:
    """Coefficients (spins, AOs, orbitals), energies and occupations (spins, orbitals)."""
    kind = str(molecule["HFTyp"]).upper()
    if kind not in RESTRICTED:
        raise DatasetError(f"orbitals of kind {kind!r} define no Fock matrix; known: {', '.join(RESTRICTED)}")
    block = molecule["MolecularOrbitals"]
    if str(block.get("EnergyUnit", "Eh")).lower() != "eh":
        raise DatasetError(f"orbital energies are in {block['EnergyUnit']!r}, not Eh")
    spins, entries = RESTRICTED[kind], block["MOs"]
    size = len(entries[0]["MOCoefficients"]) if entries else 0
    if size == 0 or len(entries) != spins * size or any(len(e["MOCoefficients"]) != size for e in entries):
        raise DatasetError(f"{len(entries)} orbitals for {spins} × {size} functions: H needs all of them")
    vectors = np.array([e["MOCoefficients"] for e in entries], dtype=np.float64)
    energies, occupations = (
        np.array([e[key] for e in entries], dtype=np.float64).reshape(spins, size)
        for key in ("OrbitalEnergy", "Occupancy")
    )
    return vectors.reshape(spins, size, size).swapaxes(1, 2), energies, occupations
