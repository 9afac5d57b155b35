"""Gaussian's formatted checkpoint files (``formchk``): geometry, basis, orbitals, energy, gradient, dipole.

Gaussian lists shells as its basis file does, S and P of one shell together, d functions 0, +1, −1, +2, −2;
its correlation-consistent bases are contracted otherwise than elsewhere.  All of that goes through the
expansion in PySCF's functions.  Cartesian d and f functions (6D, 10F) are refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.blobs import whole_numbers
from helm_ase.labels.formats.program_files import Output, matching, opener
from helm_ase.qc.orbital_files import OrbitalSet, Shell
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

DESCRIPTION = "Gaussian formatted checkpoint, one molecule a file, or a folder of them"
PATTERNS = ("*.fchk", "*.fch", "*/")
TOLERANCE = 1e-4
HEADER = re.compile(r"^(.{40})\s{3}([IRCL])\s{0,3}(N=)?\s*(\S+)\s*$")
FUNCTIONALS = {
    "hf": "hf", "b3lyp": "b3lyp", "cam-b3lyp": "camb3lyp", "blyp": "blyp", "pbepbe": "pbe", "pbe1pbe": "pbe0",
    "wb97xd": "wb97x-d", "m062x": "m06-2x", "tpsstpss": "tpss",
}  # fmt: skip
"""Gaussian's name without R or U → PySCF's."""


def recognises(path: Path) -> bool:
    """Whether the third line of the (first) file is the one that counts the atoms."""
    files = matching(path, PATTERNS)
    if not files:
        return False
    with files[0].open(encoding="utf8", errors="replace") as file:
        return [file.readline() for _ in range(3)][2].startswith("Number of atoms")


def parse(path: Path) -> Output:
    """Read one file.

    Raises
    ------
    DatasetError
        If a field is missing, cut short, or of a kind that cannot be used.
    """
    with path.open(encoding="utf8", errors="replace") as file:
        file.readline()
        method, basis = _route(file.readline())
        values = dict(_fields(file))
    count = int(_get(values, "Number of atoms"))
    numbers = whole_numbers(_get(values, "Atomic numbers"), "Atomic numbers")
    positions = _get(values, "Current cartesian coordinates").reshape(count, 3) * BOHR_IN_ANGSTROM
    shells = tuple(_shells(values))
    coefficients, energies, occupations = _orbitals(values)
    orbitals = OrbitalSet(
        numbers, positions, shells, "gaussian", coefficients, energies, occupations,
        charge=int(_get(values, "Charge")), multiplicity=int(_get(values, "Multiplicity")),
    )  # fmt: skip
    functional = FUNCTIONALS.get(re.sub(r"^(ro|r|u)", "", method.lower()), "")
    return Output(
        orbitals,
        "Gaussian",
        functional,
        basis.lower(),
        details={"method": method},
        **_properties(values, count),
    )


open_source = opener(PATTERNS, parse, TOLERANCE)


def _route(line: str) -> tuple[str, str]:
    """Method and basis of the second line."""
    words = line.split()
    return (words[1], words[-1]) if len(words) >= 3 else ("", "")


def _fields(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Name and value of every field of numbers."""
    for line in lines:
        head = HEADER.match(line)
        if head is None:
            continue
        name, kind, many, value = head[1].strip(), head[2], head[3], head[4]
        if not many:
            if kind in "IR":
                yield name, (int if kind == "I" else float)(value.replace("D", "E"))
            continue
        count = int(value)
        words: list[str] = []
        if kind not in "IR":
            continue
        while len(words) < count and (row := next(lines, "")):
            words += row.split()
        if len(words) != count:
            raise DatasetError(
                f"field {name!r} has {len(words)} of its {count} values: the file is cut short"
            )
        try:
            yield name, np.array([w.replace("D", "E") for w in words]).astype(float)
        except ValueError as error:
            raise DatasetError(f"field {name!r} holds what is no number: {error}") from error


def _get(values: dict[str, Any], name: str) -> Any:
    if name not in values:
        raise DatasetError(f"field {name!r} is missing")
    return values[name]


def _shells(values: dict[str, Any]) -> Iterator[Shell]:
    kinds = whole_numbers(_get(values, "Shell types"), "Shell types")
    if cartesian := sorted({int(k) for k in kinds if k > 1}):
        raise DatasetError(
            f"functions of degree {cartesian} are Cartesian (6D, 10F); repeat the calculation with 5D 7F"
        )
    counts = whole_numbers(_get(values, "Number of primitives per shell"), "Number of primitives per shell")
    atoms = whole_numbers(_get(values, "Shell to atom map"), "Shell to atom map") - 1
    exponents, contraction = _get(values, "Primitive exponents"), _get(values, "Contraction coefficients")
    p_part = values.get("P(S=P) Contraction coefficients")
    ends = np.cumsum(counts)
    for kind, atom, start, end in zip(kinds, atoms, ends - counts, ends, strict=True):
        part = slice(start, end)
        if kind == -1:
            yield Shell(int(atom), 0, exponents[part], contraction[part])
            yield Shell(int(atom), 1, exponents[part], _get({"P(S=P)": p_part}, "P(S=P)")[part])
        else:
            yield Shell(int(atom), abs(int(kind)), exponents[part], contraction[part])


def _orbitals(values: dict[str, Any]) -> tuple[NDArray[np.float64], ...]:
    """Coefficients (spins, AOs, orbitals), energies and occupations (spins, orbitals)."""
    size = int(_get(values, "Number of basis functions"))
    spins = [s for s in ("Alpha", "Beta") if f"{s} MO coefficients" in values] or ["Alpha"]
    electrons = [int(_get(values, f"Number of {s} electrons")) for s in ("alpha", "beta")]
    if len(spins) == 1 and electrons[0] != electrons[1]:
        raise DatasetError("restricted open shell: its orbital energies define no Fock matrix")
    energies = np.array([_get(values, f"{s} Orbital Energies") for s in spins])
    flat = np.array([_get(values, f"{s} MO coefficients") for s in spins])
    if energies.shape[1] != size or flat.shape[1] != size * size:
        raise DatasetError(f"{energies.shape[1]} orbitals for {size} functions: H needs as many as functions")
    occupations = np.zeros_like(energies)
    for k in range(len(spins)):
        occupations[k, : electrons[k]] = 2.0 if len(spins) == 1 else 1.0
    return flat.reshape(-1, size, size).swapaxes(1, 2), energies, occupations


def _properties(values: dict[str, Any], count: int) -> dict[str, Any]:
    """Energy, forces and dipole as far as they are those of the SCF."""
    scf = values.get("SCF Energy")
    properties: dict[str, Any] = {"energy": None if scf is None else scf * HARTREE_IN_EV}
    # after a correlated calculation gradient and dipole belong to another energy than the orbitals
    if scf is not None and abs(values.get("Total Energy", scf) - scf) < 1e-8:
        if (gradient := values.get("Cartesian Gradient")) is not None:
            properties["forces"] = -gradient.reshape(count, 3) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
        properties["dipole"] = values.get("Dipole Moment")
    return properties
