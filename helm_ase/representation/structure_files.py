"""Structures from files, with the charge and multiplicity that the file states.

ASE's readers leave both out for most formats; a molecule that is computed as neutral although its file says
otherwise is a wrong answer without a word.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, parse_filename, string2index

from helm_ase.errors import HelmError, StructureError
from helm_ase.representation.charge_state import CHARGE_KEYS, MULTIPLICITY_KEYS


class Stated(NamedTuple):
    """Charge and multiplicity that a file states; None for what it does not state."""

    charge: int | None = None
    multiplicity: int | None = None


NOTHING = Stated()
ATOM_CODES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
"""Charge codes in the atom lines of mol files."""
UNPAIRED = {1: 0, 2: 1, 3: 2}
"""Radical codes of mol files."""


def read_frames(name: str | Path, index: str | int = ":") -> list[Atoms]:
    """Read frames as ASE does, with ``charge`` and ``multiplicity`` of the file in ``atoms.info``.

    Parameters
    ----------
    name
        Any file that ASE reads; ``FILE@INDEX`` chooses frames.
    index
        Frames, if the name chooses none.

    Raises
    ------
    StructureError
        If the file cannot be read, or states a charge that cannot be understood.
    """
    path, chosen = parse_filename(str(name), index)
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        form = _format(path)
        frames = _records(path) if form in ("sdf", "mol") else _frames(path, form)
        picked = frames[string2index(chosen) if isinstance(chosen, str) else chosen]
    except HelmError:
        raise
    except Exception as error:  # ASE's readers raise whatever they trip over
        raise StructureError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error
    return picked if isinstance(picked, list) else [picked]


def _format(path: str) -> str:
    try:
        return str(filetype(path))
    except UnknownFileTypeError:
        return ""


def _frames(path: str, form: str) -> list[Atoms]:
    frames = list(ase.io.iread(path, index=":"))
    if form not in READERS:
        return frames
    text = Path(path).read_text(encoding="utf8", errors="replace")
    for atoms, stated in zip(frames, READERS[form](text, len(frames), path), strict=True):
        _give(atoms, stated)
    return frames


def _give(atoms: Atoms, stated: Stated) -> Atoms:
    for value, keys in zip(stated, (CHARGE_KEYS, MULTIPLICITY_KEYS), strict=True):
        if value is not None and not any(atoms.info.get(key) is not None for key in keys):
            atoms.info[keys[0]] = value
    return atoms


# -- mol and sdf: ASE reads the first record only -----------------------------------------------------------


def _records(path: str) -> list[Atoms]:
    text = Path(path).read_text(encoding="utf8", errors="replace")
    records = re.split(r"^\$\$\$\$[^\n]*\n?", text, flags=re.MULTILINE)
    frames = []
    for record in records:
        if record.strip():
            atoms = ase.io.read(io.StringIO(record), format="sdf")
            frames.append(_give(atoms, stated_by_mol(record, len(atoms))))
    return frames


def stated_by_mol(record: str, count: int) -> Stated:
    """Charge and unpaired electrons of a mol record (V2000)."""
    lines = record.splitlines()
    codes = [line[36:39].strip() for line in lines[4 : 4 + count]]
    charges = {k: ATOM_CODES.get(int(code), 0) for k, code in enumerate(codes) if code.isdigit()}
    radicals = {k: 2 for k, code in enumerate(codes) if code == "4"}
    listed = {kind: _properties(lines, kind) for kind in ("CHG", "RAD")}
    if listed["CHG"] or listed["RAD"]:  # either replaces all codes
        charges, radicals = listed["CHG"], listed["RAD"]
    unpaired = sum(UNPAIRED.get(code, 0) for code in radicals.values())
    charge = sum(charges.values())
    return Stated(charge if charges else None, 1 + unpaired if radicals else None)


def _properties(lines: list[str], kind: str) -> dict[int, int]:
    """Atom → value of lines such as ``M  CHG  2   1  -1   6  -1``."""
    values: dict[int, int] = {}
    for line in lines:
        if line.startswith("M  END"):
            break
        if line.startswith(f"M  {kind}"):
            numbers = list(map(int, line[6:].split()))
            if len(numbers) != 1 + 2 * numbers[0]:
                raise StructureError(f"{line!r} does not hold as many pairs as it says: mend the file")
            values |= dict(zip(numbers[1::2], numbers[2::2], strict=True))
    return values


# -- others ----------------------------------------------------------------------------------------------


def stated_by_gaussian_input(text: str, frames: int, path: str) -> list[Stated]:
    """Charge and multiplicity from the line after the title; with fragments, the first two numbers are those
    of the whole."""
    sections = re.split(r"\n[ \t]*(?:\n[ \t]*)+", re.sub(r"\r\n?", "\n", text).strip("\n"))
    route = next((k for k, s in enumerate(sections) if re.search(r"^\s*#", s, re.MULTILINE)), None)
    if route is None or len(sections) < route + 3:
        raise StructureError(f"{path} states no charge and multiplicity after its title: mend the file")
    numbers = re.findall(r"[^\s,]+", sections[route + 2].splitlines()[0])
    try:
        return [Stated(int(numbers[0]), int(numbers[1]))] * frames
    except (ValueError, IndexError):
        raise StructureError(
            f"{path}: {' '.join(numbers)!r} is not a line of charge and multiplicity, such as '0 1'"
        ) from None


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


def _same(stated: list[Stated], path: str) -> Stated:
    if len(set(stated)) > 1:
        raise StructureError(f"{path} states several charges, and ASE reads other frames: split the file")
    return stated[0] if stated else NOTHING


def _stated_by(charge: str, multiplicity: str) -> Callable[[str, int, str], list[Stated]]:
    """Reader of programs' files, which state both once for all frames."""

    def read(text: str, frames: int, path: str) -> list[Stated]:
        values = []
        for pattern in (charge, multiplicity):
            numbers = {int(n) for n in re.findall(pattern, text, re.MULTILINE | re.IGNORECASE)}
            if len(numbers) > 1:
                raise StructureError(f"{path} states {sorted(numbers)} for one molecule: split the file")
            values.append(numbers.pop() if numbers else None)
        return [Stated(*values)] * frames

    return read


READERS: dict[str, Callable[[str, int, str], list[Stated]]] = {
    "gaussian-in": stated_by_gaussian_input,
    "proteindatabank": stated_by_pdb,
    "gaussian-out": _stated_by(
        r"^\s*Charge\s*=\s*([+-]?\d+)\s+Multiplicity", r"Multiplicity\s*=\s*(\d+)\s*(?:$|in supermolecule)"
    ),
    "orca-output": _stated_by(
        r"Total Charge\s+Charge\s+\.+\s+([+-]?\d+)", r"Multiplicity\s+Mult\s+\.+\s+(\d+)"
    ),
    "nwchem-in": _stated_by(r"^\s*charge\s+([+-]?\d+)", r"^\s*mult\s+(\d+)"),
    "nwchem-out": _stated_by(r"^\s*Charge\s+:\s+([+-]?\d+)", r"^\s*Spin multiplicity\s*:\s+(\d+)"),
}
"""Format of ASE → what its files state: (text, frames, path) → one for each frame."""
