"""PDB files: elements where their column is empty, charges, and unit cells that are only placeholders."""

import io
import re
from pathlib import Path

import ase.io
from ase import Atoms
from ase.data import atomic_numbers

from helm_ase.errors import StructureError
from helm_ase.representation.stated_state import NOTHING, Stated

HALOGENS = {"Cl", "Br"}
"""Names of two letters that mean nothing else."""
NO_BOX = 1.01
"""Å; structures without a crystal have a unit cell of this size in the format."""


def read_models(path: str) -> list[tuple[Atoms, Stated]]:
    """All models of a file that hold atoms.

    Raises
    ------
    StructureError
        If the element of an atom, a charge, or which of alternate places is meant cannot be known.
    """
    text = Path(path).read_text(encoding="utf8", errors="replace")
    lines = [
        _with_element(line, f"{path}, line {number}") if line.startswith(("ATOM", "HETATM")) else line
        for number, line in enumerate(text.splitlines(), 1)
    ]
    _check_alternates(lines, path)
    whole = "\n".join([*lines, ""])
    frames = [a for a in ase.io.read(io.StringIO(whole), ":", format="proteindatabank") if len(a)]
    for atoms in frames:
        if atoms.pbc.any() and (atoms.cell.lengths() < NO_BOX).all():
            atoms.pbc, atoms.cell = False, None
    return list(zip(frames, stated_by_pdb(whole, len(frames), path), strict=True))


def _with_element(line: str, where: str) -> str:
    """The line with the element in its column (77-78)."""
    line = line.ljust(80)
    given = line[76:78].strip().capitalize()
    symbol = given if given in atomic_numbers and given != "X" else ""
    if given and not symbol and given.isalpha():
        raise StructureError(f"{where}: {given!r} is no element: write its symbol in columns 77-78")
    return f"{line[:76]}{symbol or element_of_name(line, where):>2}{line[78:]}"


def element_of_name(line: str, where: str) -> str:
    """Element by the name of an atom: symbols of two letters begin in column 13, of one letter in column 14.

    Raises
    ------
    StructureError
        If it could be either.
    """
    name, residue = line[12:16], line[17:20].strip().capitalize()
    first = name[1] if name[0] in " 0123456789" else name[0]
    one, two = first.upper(), name[:2].strip().capitalize()
    if name[0] in " 0123456789" or len(two) < 2 or not two.isalpha() or two not in atomic_numbers:
        if one in atomic_numbers and one != "X":
            return one
    elif two in HALOGENS or two == residue or one not in atomic_numbers:
        return two
    elif len(name.strip()) == 4 and one == "H" and line.startswith("ATOM"):
        return "H"
    raise StructureError(
        f"{where}: the element of atom {name.strip()!r} is not given, and its name leaves it open: write the "
        "symbol in columns 77-78"
    )


def _check_alternates(lines: list[str], path: str) -> None:
    places = {line[16] for line in lines if line.startswith(("ATOM", "HETATM")) and line[16].strip()}
    if len(places) > 1:
        raise StructureError(
            f"{path} holds alternate places {', '.join(sorted(places))} of its atoms: keep one of them"
        )


def stated_by_pdb(text: str, frames: int, path: str) -> list[Stated]:
    """Sums of the charges of atoms (columns 79 and 80) of each model; empty columns say nothing."""
    models = re.split(r"^ENDMDL.*$", text, flags=re.MULTILINE)
    stated = []
    for model in models:
        atoms = [line for line in model.splitlines() if line.startswith(("ATOM", "HETATM"))]
        if atoms:
            stated.append(Stated(_pdb_charge(atoms, path)))
    return stated if len(stated) == frames else [_same(stated, path)] * frames


def _pdb_charge(atoms: list[str], path: str) -> int | None:
    texts = [line[78:80].strip() for line in atoms]
    if not any(texts):
        return None
    total = 0
    for line, text in zip(atoms, texts, strict=True):
        match = re.fullmatch(r"(?:(\d)?([+-])|([+-]?)(\d)|)", text)
        if match is None:
            raise StructureError(f"{path}: {text!r} is not a charge of an atom (columns 79-80) in {line!r}")
        size, sign = int(match[1] or match[4] or (1 if match[2] else 0)), match[2] or match[3]
        total += -size if sign == "-" else size
    return total


def _same(states: list[Stated], path: str) -> Stated:
    if len(set(states)) > 1:
        raise StructureError(f"{path} states several charges, and ASE reads other frames: split the file")
    return states[0] if states else NOTHING
