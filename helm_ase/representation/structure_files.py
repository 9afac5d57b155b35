"""Structures from files, with the charge and multiplicity that the file states.

ASE's readers ignore both for most formats, so that an ion would silently be computed as a neutral molecule.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, parse_filename, string2index

from helm_ase.errors import HelmError, StructureError
from helm_ase.representation.box import out_of_box, periodic_along
from helm_ase.representation.charge_state import CHARGE_KEYS, MULTIPLICITY_KEYS
from helm_ase.representation.mol_files import read_records
from helm_ase.representation.pdb_files import read_models
from helm_ase.representation.stated_state import Stated
from helm_ase.system.plain_database import connect

LAST_ELEMENT = 118


def read_frames(name: str | Path, index: str | int = ":", pbc: str | None = None) -> list[Atoms]:
    """Read frames as ASE does, with ``charge`` and ``multiplicity`` of the file in ``atoms.info``.

    Parameters
    ----------
    name
        Any file that ASE reads; ``FILE@INDEX`` chooses frames.
    index
        Frames, if the name chooses none.
    pbc
        Cell vectors along which the frames are periodic, as ``"ab"``, whatever the file states (many formats
        cannot say that a direction is not); ``""`` takes molecules out of the boxes in which they are.

    Raises
    ------
    StructureError
        If the file cannot be read, holds what is no geometry of elements, or states a charge that cannot be
        understood; if there is no molecule in a box, or no cell vector.
    """
    path, chosen = parse_filename(str(name), index)
    with_all = list(stream_frames(path, pbc))
    try:
        picked = with_all[string2index(chosen) if isinstance(chosen, str) else chosen]
    except (IndexError, TypeError, ValueError) as error:
        raise StructureError(f"{path} holds {len(with_all)} frames; {chosen!r} is none of them") from error
    return picked if isinstance(picked, list) else [picked]


def stream_frames(path: str, pbc: str | None = None) -> Iterator[Atoms]:
    """All frames of a file, one at a time where ASE reads them so.

    Raises
    ------
    StructureError
        As :func:`read_frames`.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    if not (os.path.isfile(path) or os.path.isdir(path)):
        raise StructureError(f"{path} is a device or a pipe, not a file")
    number = -1
    try:
        for number, atoms in enumerate(_frames(path, _format(path))):
            yield _structure(atoms, f"{path}, frame {number}", pbc)
        if number < 0:
            raise StructureError(f"{path} holds no structure")
    except (HelmError, GeneratorExit):
        raise
    except KeyError as error:  # ASE's tables of elements
        raise StructureError(
            f"{path}: {error.args[0]!r} is no symbol of an element that ASE knows (isotopes are written as "
            "their element, numbers as symbols)"
        ) from error
    except UnknownFileTypeError as error:
        raise StructureError(
            f"ASE knows no format of {path}, by its name or contents: convert it, to xyz for example"
        ) from error
    except Exception as error:  # ASE's readers raise whatever they trip over
        raise StructureError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error


def choose(name: str, frames: Iterator[Atoms]) -> Iterator[Atoms]:
    """Frames that a name of the form ``FILE@INDEX`` selects, read one at a time where possible."""
    chosen = parse_filename(name, ":")[1]
    try:
        picked = string2index(chosen) if isinstance(chosen, str) else chosen
        if isinstance(picked, str):  # a choice for data bases
            raise ValueError
    except ValueError as error:
        raise StructureError(f"{name}: {chosen!r} names no frames; write FILE@0 or FILE@2:5") from error
    if isinstance(picked, slice) and all(
        x is None or x >= 0 for x in (picked.start, picked.stop, picked.step)
    ):
        return islice(frames, picked.start, picked.stop, picked.step)
    selected = list(frames)[picked]
    return iter(selected if isinstance(selected, list) else [selected])


def _structure(atoms: Atoms, where: str, pbc: str | None) -> Atoms:
    odd = [int(z) for z in atoms.numbers if not 1 <= z <= LAST_ELEMENT]
    if odd:
        what = "X, which is no element" if odd[0] == 0 else f"an element of number {odd[0]}"
        raise StructureError(f"{where} holds {what}: leave such places out")
    try:
        if pbc:
            return periodic_along(atoms, pbc)
        return out_of_box(atoms) if pbc == "" and atoms.pbc.any() else atoms
    except StructureError as error:
        raise StructureError(f"{where}: {error}") from error


def _format(path: str) -> str:
    try:
        return str(filetype(path))
    except UnknownFileTypeError:
        return ""


def _frames(path: str, form: str) -> Iterator[Atoms]:
    if form in RECORDS:
        for atoms, stated in RECORDS[form](path):
            yield _give(atoms, stated)
    elif form in READERS:
        frames = list(ase.io.iread(path, index=":"))
        text = Path(path).read_text(encoding="utf8", errors="replace")
        for atoms, stated in zip(frames, READERS[form](text, len(frames), path), strict=True):
            yield _give(atoms, stated)
    else:
        if form in XYZ:
            _check_counts(path)
        if form == "db":
            connect(Path(path)).close()  # views would be programs, and ASE would run them
        yield from ase.io.iread(path, index=":")


def _check_counts(path: str) -> None:
    """Refuse an xyz file that announces more atoms than it has lines: ASE would wait for them."""
    with open(path, encoding="utf8", errors="replace") as file:
        while head := file.readline():
            words = head.split()
            if not words or words[0].startswith("VEC"):
                continue
            if not words[0].isdecimal():
                raise StructureError(
                    f"ASE cannot read {path}: {head.strip()[:40]!r} stands where a number of atoms should"
                )
            count = int(words[0]) if len(words[0]) < 10 else sys.maxsize
            if sum(1 for _ in islice(file, 1 + min(count, os.path.getsize(path)))) < 1 + count:
                raise StructureError(f"{path} announces {words[0][:20]} atoms and ends before the last")


def _give(atoms: Atoms, stated: Stated) -> Atoms:
    for value, keys in zip(stated, (CHARGE_KEYS, MULTIPLICITY_KEYS), strict=True):
        if value is not None and not any(atoms.info.get(key) is not None for key in keys):
            atoms.info[keys[0]] = value
    return atoms


XYZ = ("xyz", "extxyz")
RECORDS: dict[str, Callable[[str], list[tuple[Atoms, Stated]]]] = {
    "sdf": read_records, "mol": read_records, "proteindatabank": read_models,
}  # fmt: skip
"""Formats of ASE that are read here, record by record."""


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
