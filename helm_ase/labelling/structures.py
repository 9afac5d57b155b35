"""Structures to label, from files that ASE reads."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from helm_ase.errors import ChargeError, StructureError
from helm_ase.representation.box import is_isolated, refuse_periodic_vacuum
from helm_ase.representation.charge_state import (
    CHARGE_KEYS,
    MULTIPLICITY_KEYS,
    ChargeState,
    charge_state,
    check_parity,
)
from helm_ase.representation.geometry import COINCIDENT, check_geometry
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.periodic_pairs import check_images, periodic_pairs
from helm_ase.representation.structure import CrystalStructure, Structure
from helm_ase.representation.structure_files import read_frames

AnyStructure = Structure | CrystalStructure
OWN_KEYS = {"name", "smiles", "split", *CHARGE_KEYS, *MULTIPLICITY_KEYS}


def read_structures(paths: Sequence[str | Path], pbc: str | None = None) -> list[AnyStructure]:
    """Read all frames of all files: molecules, or crystals (frames with ``pbc``), not both.

    Name, SMILES, split, charge and multiplicity come from ``atoms.info`` where they are there; further
    numbers and texts in it are kept as details.  A frame without a name is called after its file.
    ``pbc`` is that of :func:`~helm_ase.representation.structure_files.read_frames`.

    Raises
    ------
    StructureError
        If a file cannot be read, a frame is neither a molecule nor a crystal, two frames have the same name,
        or there are molecules beside crystals.
    ChargeError
        If charge and multiplicity of a frame are no possible state.
    """
    structures: list[AnyStructure] = []
    names: dict[str, str] = {}
    for path in map(Path, paths):
        for number, atoms in enumerate(_frames(path, pbc)):
            where = f"{path}, frame {number}"
            structure = _structure(atoms, f"{path.stem}-{number:06d}", where)
            if structure.name in names:
                raise StructureError(
                    f"{where} and {names[structure.name]} are both named {structure.name!r}; rename one"
                )
            names[structure.name] = where
            structures.append(structure)
    if not structures:
        raise StructureError(f"there are no structures in {', '.join(map(str, paths))}")
    _check_one_kind(structures)
    return structures


def _check_one_kind(structures: Sequence[AnyStructure]) -> None:
    crystals = [s.name for s in structures if isinstance(s, CrystalStructure)]
    if crystals and len(crystals) < len(structures):
        raise StructureError(
            f"{len(structures) - len(crystals)} molecules stand beside crystals (first: {crystals[0]!r}), "
            "which have another level of theory and another file: label them apart, or take molecules out of "
            "their boxes with --no-pbc"
        )


def _frames(path: Path, pbc: str | None) -> Iterator[Atoms]:
    if not path.exists():
        raise StructureError(f"{path} does not exist")
    if path.suffix.lower() in (".smi", ".smiles"):
        raise StructureError(f"{path} holds SMILES: make structures of them with 'helm-ase sample'")
    yield from read_frames(path, pbc=pbc)


def _structure(atoms: Atoms, default_name: str, where: str) -> AnyStructure:
    name = _text(atoms.info.get("name", default_name))
    split = _text(atoms.info.get("split", ""))
    details = {k: v for k, v in map(_plain, atoms.info.items()) if k not in OWN_KEYS and v is not None}
    numbers = atoms.numbers.astype(np.int64)
    try:
        if atoms.pbc.any():
            lattice = _lattice(atoms)
            return CrystalStructure(name, numbers, np.array(atoms.positions), lattice, split, details)
        check_geometry(atoms.numbers, atoms.positions)
        state = charge_state(atoms)
        check_parity(int(atoms.numbers.sum()) - state.charge, state)
    except (StructureError, ChargeError) as error:
        raise type(error)(f"{where}: {error}") from error
    return Structure(
        name=name,
        numbers=numbers,
        positions=np.array(atoms.positions),
        charge=state.charge,
        multiplicity=state.multiplicity,
        smiles=_text(atoms.info.get("smiles", "")),
        split=split,
        details=details,
    )


def _lattice(atoms: Atoms) -> Lattice:
    """Lattice of a crystal that can be computed: neutral, closed shell, no two atoms at one place."""
    check_geometry(atoms.numbers, atoms.positions)
    lattice = Lattice.of_atoms(atoms)
    near = periodic_pairs(atoms.numbers.astype(np.int64), atoms.positions, COINCIDENT, lattice)
    check_images(atoms.positions, near, lattice)
    if is_isolated(atoms):
        raise StructureError(
            "this is a molecule in a periodic box, not a crystal: --no-pbc takes it out of its box"
        )
    refuse_periodic_vacuum(atoms)
    if (state := charge_state(atoms)) != ChargeState(0, 1):
        raise ChargeError(f"crystals are neutral closed shells; charge and multiplicity are {tuple(state)}")
    if (electrons := int(atoms.numbers.sum())) % 2:
        raise StructureError(
            f"a cell with {electrons} electrons has an open shell: take a supercell with an even number"
        )
    return lattice


def _text(value: Any) -> str:
    """Text of an info value; extended XYZ has truth values F and T, and F is also hydrogen fluoride."""
    return "FT"[int(value)] if isinstance(value, bool | np.bool_) else str(value)


def _plain(item: tuple[str, Any]) -> tuple[str, Any]:
    """Keep what JSON can hold."""
    key, value = item
    value = value.item() if isinstance(value, np.generic) else value
    return str(key), value if isinstance(value, str | int | float | bool) else None
