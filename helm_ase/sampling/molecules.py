"""Molecules to sample, read from SMILES or from geometries."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.errors import ChargeError, StructureError
from helm_ase.representation.charge_state import ChargeState, charge_state, check_parity, give_state
from helm_ase.representation.structure_files import read_frames
from helm_ase.sampling.conformers import parse_smiles, perceive_smiles

SMILES_SUFFIXES = (".smi", ".smiles", ".txt")
"""Files with one SMILES per line; all others are structures that ASE reads."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """Atoms, bonds and electrons of a starting point, and its geometry if it was given as one."""

    identity: str
    """Canonical SMILES, or a hash of the bond graph where no SMILES is known."""
    smiles: str
    """Canonical SMILES, or empty."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    bonds: NDArray[np.bool_]
    """Bond matrix that must survive, (N, N)."""
    charge: int
    """e."""
    multiplicity: int
    """2S + 1."""
    positions: NDArray[np.float64] | None = None
    """Å, (N, 3); None if conformers are to be made from the SMILES."""
    key: str = ""
    """Key of a starting point: its identity and, for a geometry, its fingerprint."""

    @property
    def heavy_atoms(self) -> int:
        """Atoms that are not hydrogen."""
        return int(np.sum(self.numbers > 1))


def from_smiles(smiles: str, multiplicity: int | None = None) -> Molecule:
    """Molecule of a SMILES; charges and radicals are counted, unless ``multiplicity`` says otherwise.

    Raises
    ------
    StructureError
        If it cannot be read.
    ChargeError
        If the multiplicity does not fit the number of electrons.
    """
    if multiplicity is None:
        parsed = parse_smiles(smiles)
        return Molecule(parsed.smiles, *parsed, key=parsed.smiles)
    parsed = parse_smiles(smiles, multiplicity)
    check_parity(int(parsed.numbers.sum()) - parsed.charge, ChargeState(parsed.charge, multiplicity))
    return Molecule(parsed.smiles, *parsed, key=f"{parsed.smiles} multiplicity={multiplicity}")


def from_atoms(atoms: Atoms) -> Molecule:
    """Molecule of a geometry; the bonds are those of the geometry.

    The SMILES is ``atoms.info['smiles']`` if it has the same atoms, else read off the geometry if possible.

    Raises
    ------
    StructureError
        If the structure is empty or periodic or not finite.
    ChargeError
        If charge and multiplicity do not fit the number of electrons.
    """
    from helm_ase.representation.connectivity import bonded, molecule_hash
    from helm_ase.representation.labelled import structure_key

    if len(atoms) == 0 or atoms.pbc.any() or not np.isfinite(atoms.positions).all():
        raise StructureError(
            "the structure is empty, not finite, or periodic (--no-pbc takes a molecule out of its box)"
        )
    state = charge_state(atoms)
    check_parity(int(atoms.numbers.sum()) - state.charge, state)
    numbers, positions = np.asarray(atoms.numbers, dtype=np.int64), np.array(atoms.positions)
    smiles = _given_smiles(atoms) or perceive_smiles(numbers, positions, *state)
    identity = smiles or molecule_hash(numbers, positions, state.charge)
    fingerprint = structure_key(numbers, positions, *state)
    return Molecule(
        identity, smiles, numbers, bonded(numbers, positions), *state, positions, f"{identity} {fingerprint}"
    )


@dataclass
class Reading:
    """Options for reading molecules, and a list of the entries that were skipped."""

    charge: int | None = None
    """Charge of all structures; SMILES have their own."""
    multiplicity: int | None = None
    """Multiplicity of everything that does not say its own."""
    no_pbc: bool = False
    """Take molecules out of their periodic boxes."""
    skipped: list[str] | None = None
    """List to which a line is appended for each entry that cannot be used; None: such entries raise an
    error."""


def read_molecules(
    files: Iterable[str | Path] = (), smiles: Iterable[str] = (), reading: Reading | None = None
) -> list[Molecule]:
    """Molecules of files and strings, sorted, each starting point once.

    Parameters
    ----------
    files
        ``*.smi``, ``*.smiles``, ``*.txt``: a SMILES at the start of each line; the rest of the line, but for
        ``multiplicity=N``, and lines that start with ``#`` are for humans.  Other files: structures in any
        format ASE reads, all frames.
    smiles
        SMILES strings.
    reading
        How to read them.

    Raises
    ------
    StructureError, ChargeError
        If an entry cannot be used; the message names file and line or frame.
    """
    reading = reading or Reading()
    molecules: list[Molecule] = []
    for text in smiles:
        molecules += _tried(reading, "--smiles", _smiles_builder(reading), [text])
    for file in map(Path, files):
        if not file.is_file():
            raise StructureError(f"{file}: no such file; give files of SMILES or structures, or --smiles")
        reader = _read_smiles if file.suffix.lower() in SMILES_SUFFIXES else _read_structures
        molecules.extend(reader(file, reading))
    if not molecules:
        skipped = reading.skipped
        more = f"; all {len(skipped)} entries were skipped, the first: {skipped[0]}" if skipped else ""
        raise StructureError(f"no molecules given: name files of SMILES or structures, or use --smiles{more}")
    return distinct(molecules)


def _tried(reading: Reading, where: str, build: Callable[[Any], Molecule], source: Any) -> list[Molecule]:
    try:
        return [_located(where, build, source)]
    except (StructureError, ChargeError) as error:
        if reading.skipped is None:
            raise
        reading.skipped.append(str(error))
        return []


def _smiles_builder(reading: Reading) -> Callable[[list[str]], Molecule]:
    def build(words: list[str]) -> Molecule:
        own = [word.partition("=")[2] for word in words[1:] if word.startswith("multiplicity=")]
        if own and not own[0].isdecimal():
            raise StructureError(f"multiplicity={own[0]} is no whole number")
        molecule = from_smiles(words[0], int(own[0]) if own else reading.multiplicity)
        if reading.charge not in (None, molecule.charge):
            raise ChargeError(
                f"{words[0]} has charge {molecule.charge}, not {reading.charge}: write it into the SMILES, "
                "or ask for --vertical states"
            )
        return molecule

    return build


def distinct(molecules: Iterable[Molecule]) -> list[Molecule]:
    """Each starting point once, in an order of their own."""
    unique = {(m.key, m.charge, m.multiplicity): m for m in molecules}
    return [unique[key] for key in sorted(unique)]


def _read_smiles(file: Path, reading: Reading) -> Iterator[Molecule]:
    try:
        lines = file.read_text(encoding="utf8").splitlines()
    except UnicodeDecodeError as error:
        raise StructureError(f"{file}: no text file, so no SMILES can be read from it") from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words and not words[0].startswith("#"):  # within a SMILES '#' is a triple bond
            yield from _tried(reading, f"{file}, line {number}", _smiles_builder(reading), words)


def _read_structures(file: Path, reading: Reading) -> Iterator[Molecule]:
    try:
        frames = read_frames(file, pbc="" if reading.no_pbc else None)
    except StructureError as error:
        if (cause := error.__cause__) is None:  # it says more than that ASE failed
            raise
        raise StructureError(
            f"{file}: ASE cannot read it ({cause}); a list of SMILES ends in .smi"
        ) from error
    for number, atoms in enumerate(frames, start=1):
        give_state(atoms, reading.charge, reading.multiplicity)
        yield from _tried(reading, f"{file}, frame {number}", from_atoms, atoms)


def _located(where: str, build: Callable[[Any], Molecule], source: Any) -> Molecule:
    try:
        return build(source)
    except ChargeError as error:
        raise ChargeError(f"{where}: {error}") from error
    except StructureError as error:
        raise StructureError(f"{where}: {error}") from error


def _given_smiles(atoms: Atoms) -> str:
    text = atoms.info.get("smiles")
    if not isinstance(text, str):  # extended XYZ turns the SMILES of HF, "F", into False
        return ""
    try:
        molecule = parse_smiles(text)
    except StructureError:
        return ""
    return molecule.smiles if sorted(molecule.numbers) == sorted(atoms.numbers) else ""
