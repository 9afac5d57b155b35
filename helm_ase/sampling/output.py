"""Output of sampling: file of structures, list of dropped geometries, and summary."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from helm_ase.errors import SettingError
from helm_ase.sampling.campaign import SamplingResult
from helm_ase.sampling.states import HIGH_SPIN
from helm_ase.system.atomic_write import whole_file

DROPPED = ".dropped.jsonl"
"""Ending of the file that lists dropped geometries, appended to the name of the output."""


def check_output(path: str | Path, overwrite: bool = True) -> Path:
    """The path, if a file can be made there; asked before hours of work.

    Raises
    ------
    SettingError
        If it does not end in ``.xyz`` or ``.extxyz``, or is there and must not be replaced.
    """
    path = Path(path)
    if not overwrite and path.exists():
        raise SettingError(f"{path} exists already: choose another name, or allow overwriting (--force)")
    if path.suffix.lower() not in (".xyz", ".extxyz"):
        raise SettingError(f"output {path}: structures are written as extended XYZ; end the name in .xyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write(result: SamplingResult, path: str | Path) -> None:
    """Write the structures as extended XYZ, and what was dropped beside it as JSON lines.

    Both appear complete or not at all; the structures come last.

    Raises
    ------
    SettingError
        See :func:`check_output`.
    """
    from ase.io import write as write_frames

    path = check_output(path)
    dropped = [json.dumps(asdict(drop), ensure_ascii=False) + "\n" for drop in result.drops]
    with whole_file(path.with_name(path.name + DROPPED)) as partial:
        partial.write_text("".join(dropped), encoding="utf8")
    with whole_file(path) as partial, partial.open("w", encoding="utf8") as file:
        for atoms in result.structures:
            write_frames(file, _readable(atoms), format="extxyz")


def summarise(result: SamplingResult) -> str:
    """Counts of structures by kind, method, temperature and size, and of drops by reason."""
    infos = [atoms.info for atoms in result.structures]
    heavy = [int(np.sum(atoms.numbers > 1)) for atoms in result.structures]
    distinct = len({(info["smiles"] or info["name"]) for info in infos})
    lines = [f"{len(infos)} structures of {distinct} species; {result.molecules} molecules given"]
    lines += _table("kind", (info["kind"] for info in infos))
    lines += _table("method", (info["method"] for info in infos))
    lines += _table("temperature", (info["temperature_K"] for info in infos), " K")
    lines += _table("heavy atoms", heavy)
    lines += _table("charge", (info["charge"] for info in infos))
    lines += _table("multiplicity", (info["multiplicity"] for info in infos))
    high = sorted({info["smiles"] or info["name"] for info in infos if info["multiplicity"] >= HIGH_SPIN})
    if high:
        lines.append(
            f"{len(high)} species of multiplicity {HIGH_SPIN} or more (first: {high[0]}): if that is not "
            "meant, write multiplicity=N behind the SMILES"
        )
    lines.append(f"{len(result.drops)} dropped")
    lines += _table("reason", (f"{drop.reason} ({drop.kind}, {drop.method})" for drop in result.drops))
    return "\n".join(lines)


def _table(title: str, values: Iterable[Any], unit: str = "") -> list[str]:
    counts = Counter(values)
    return [
        f"  {title if first else '':<14}{f'{value:g}' if isinstance(value, float) else value}{unit}: {count}"
        for first, (value, count) in zip([True] + [False] * len(counts), sorted(counts.items()), strict=False)
    ]


def _readable(atoms: Atoms) -> Atoms:
    """Copy whose SMILES survives ASE's extended XYZ.

    Its reader takes F (hydrogen fluoride) for False and drops backslashes (double bonds: C/C=C\\F).
    """
    copy = atoms.copy()
    smiles = copy.info.pop("smiles", "")
    quoted = smiles in ("F", "T")
    if smiles:  # an empty value would be read as True
        copy.info["smiles"] = "_JSON " + json.dumps(smiles) if quoted else smiles.replace("\\", "\\\\")
    return copy
