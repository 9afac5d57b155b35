"""Molden files (ORCA's ``orca_2mkl … -molden``, Psi4, PySCF, …) with all orbitals and their energies.

Writers disagree on two points that the file does not state: whether contraction coefficients include the
norms of the primitives (ORCA and Psi4: yes), and the sign of functions with |m| = 3 and 4 (ORCA's is
negative).  Both are decided by what fits: the named basis, and the orthonormality of the orbitals.
PySCF's own reader assumes the standard for both and misreads such files in silence.  Neither energy nor
charge is in the format; the charge follows from the occupations.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.labels.formats.program_files import Output, matching, opener
from helm_ase.qc.orbital_files import OrbitalSet, Shell
from helm_ase.units import BOHR_IN_ANGSTROM

DESCRIPTION = "Molden orbitals (ORCA, Psi4, PySCF, …), one molecule a file, or a folder of them"
PATTERNS = ("*.molden", "*.molden.input", "*.molden.inp", "*/")
TOLERANCE = 1e-4
ALWAYS, EXPANSION = 64 * 2**20, 100
"""Bytes of the matrix of orbitals that any file may ask for, and for each of its own bytes."""
LETTERS = "spdfghi"
UNITS = {"": BOHR_IN_ANGSTROM, "au": BOHR_IN_ANGSTROM, "bohr": BOHR_IN_ANGSTROM, "angs": 1.0, "angstrom": 1.0}
"""What may stand behind [Atoms]; nothing means bohr."""
SPHERICAL = {"5d": (2, 3), "5d7f": (2, 3), "5d10f": (2,), "7f": (3,), "9g": (4,), "11h": (5,)}
"""Keyword → degrees whose functions are spherical."""


def recognises(path: Path) -> bool:
    """Whether the (first) file begins as a Molden file."""
    files = matching(path, PATTERNS)
    if not files:
        return False
    with files[0].open(encoding="utf8", errors="replace") as file:
        return "[molden format]" in file.read(4096).lower()


def parse(path: Path) -> Output:
    """Read one file.

    Raises
    ------
    DatasetError
        If a section is missing, incomplete, or of a kind that cannot be used.
    """
    sections = _sections(path.read_text(encoding="utf8", errors="replace"))
    for needed in ("atoms", "gto", "mo"):
        if needed not in sections:
            raise DatasetError(f"no [{needed.upper()}] section: the file is incomplete or of another kind")
    numbers, positions = _atoms(*sections["atoms"])
    shells = tuple(_shells(sections["gto"][1]))
    spherical = {l for key in sections for l in SPHERICAL.get(key.split()[0], ())}
    if cartesian := {s.degree for s in shells if s.degree > 1} - spherical:
        raise DatasetError(
            f"functions of degree {sorted(cartesian)} are Cartesian; repeat with spherical ones"
        )
    size = sum(2 * s.degree + 1 for s in shells)
    if 8 * size**2 > max(ALWAYS, EXPANSION * path.stat().st_size):
        raise DatasetError(
            f"{size} functions are more than a file of this size has orbitals of: it is damaged"
        )
    coefficients, energies, occupations = _orbitals(sections["mo"][1], size)
    orbitals = OrbitalSet(
        numbers, positions, shells, "gaussian", coefficients, energies, occupations,
        orca_signs=(False, True), bare_primitives=(False, True),
    )  # fmt: skip
    return Output(orbitals, program=_program(sections))


open_source = opener(PATTERNS, parse, TOLERANCE)


def _sections(text: str) -> dict[str, tuple[str, list[str]]]:
    """Lower-case title → what stands behind it on its line, and the lines up to the next title."""
    sections: dict[str, tuple[str, list[str]]] = {}
    for line in text.splitlines():
        if title := re.match(r"\s*\[([^\]]+)\]\s*(.*)", line):
            current = title[1].strip().lower()
            if current not in sections:
                sections[current] = (title[2].strip().lower(), [])
        elif sections:
            sections[current][1].append(line)
    return sections


def _program(sections: dict[str, tuple[str, list[str]]]) -> str:
    lines = sections.get("title", ("", []))[1] + sections["molden format"][1]
    text = " ".join(lines).lower()
    return next((name for name in ("ORCA", "Psi4", "PySCF") if name.lower() in text), "a Molden file")


def _atoms(unit: str, lines: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    fields = [line.split() for line in lines if line.strip()]
    if not fields:
        raise DatasetError("the [ATOMS] section is empty")
    symbols = [re.sub(r"\d+$", "", f[0]).capitalize() for f in fields]
    if unknown := {s for s in symbols if s not in atomic_numbers}:
        raise DatasetError(f"unknown elements {sorted(unknown)}")
    if (unit := unit.strip("() ")) not in UNITS:
        raise DatasetError(f"the [ATOMS] are in {unit!r}; known units: au, angs")
    positions = np.array([[float(x) for x in f[3:6]] for f in fields]) * UNITS[unit]
    return np.array([atomic_numbers[s] for s in symbols], dtype=np.int64), positions


def _shells(lines: list[str]) -> Iterator[Shell]:
    words: Iterator[list[str]] = iter([w for w in (line.split() for line in lines) if w])
    atom = -1
    for word in words:
        if word[0].isdigit():
            atom = int(word[0]) - 1
            continue
        letters = word[0].lower()
        if atom < 0 or not letters or set(letters) - set(LETTERS):
            raise DatasetError(f"the [GTO] section is damaged at {' '.join(word)!r}")
        if len(word) < 2 or not word[1].isdecimal() or not 0 < int(word[1]) <= len(lines):
            raise DatasetError(f"the [GTO] section is damaged at {' '.join(word)!r}: no such number of rows")
        rows = [next(words, ["nan"] * 3) for _ in range(int(word[1]))]
        table = np.array([[_number(x) for x in row[: 1 + len(letters)]] for row in rows])
        if not np.isfinite(table).all():
            raise DatasetError("the [GTO] section ends early or holds values that are not finite")
        for k, letter in enumerate(letters):
            yield Shell(atom, LETTERS.index(letter), table[:, 0], table[:, 1 + k])


def _orbitals(lines: list[str], size: int) -> tuple[NDArray[np.float64], ...]:
    """Coefficients (spins, AOs, orbitals), energies and occupations (spins, orbitals)."""
    heads: list[dict[str, str]] = []
    vectors: list[NDArray[np.float64]] = []
    inside = False
    for line in filter(str.strip, lines):
        if "=" in line:
            if not inside:
                if len(heads) == 2 * size:
                    raise DatasetError(
                        f"the [MO] section has more than {2 * size} orbitals of {size} functions"
                    )
                heads.append({})
                vectors.append(np.zeros(size))
            key, value = line.split("=", 1)
            heads[-1][key.strip().lower()[:3]] = value.strip()
            inside = True
            continue
        inside = False
        number, value = line.split()[:2]
        if not heads or not 1 <= int(number) <= size:
            raise DatasetError(
                f"the [MO] section is damaged at {line.strip()!r}: {size} functions in the file"
            )
        vectors[-1][int(number) - 1] = _number(value)
    spins = [h.get("spi", "alpha").lower()[:1] for h in heads]
    groups = [[k for k, s in enumerate(spins) if s == spin] for spin in ("a", "b")]
    groups = [g for g in groups if g]
    if not groups or any(len(g) != size for g in groups):
        raise DatasetError(
            f"{len(heads)} orbitals for {size} functions: H needs all of them, the virtual ones included"
        )
    energies = np.array([[_number(heads[k]["ene"]) for k in g] for g in groups])
    occupations = np.array([[_number(heads[k]["occ"]) for k in g] for g in groups])
    return np.array([np.array([vectors[k] for k in g]).T for g in groups]), energies, occupations


def _number(text: str) -> float:
    try:
        return float(text.replace("D", "e").replace("d", "e"))
    except ValueError as error:
        raise DatasetError(f"{text!r} stands where a number should: the file is damaged") from error
