"""Summary of the contents of a label file, reading as little of it as possible."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.labels.formats.helm_h5 import OPTIONAL, HelmH5Source
from helm_ase.labels.source import LabelSource
from helm_ase.representation import LevelOfTheory
from helm_ase.system.terminal import progress_bar

SAMPLE = 2000
"""Number of evenly spaced entries that are read of a file whose format has no columns."""


@dataclass
class Summary:
    """Contents of one file; counts are of ``looked_at`` molecules."""

    path: str
    format: str
    bytes: int
    molecules: int
    level: LevelOfTheory
    looked_at: int = 0
    atoms: tuple[int, int] = (0, 0)
    """Smallest and largest number of atoms."""
    orbitals: tuple[int, int] = (0, 0)
    """Smallest and largest number of AOs."""
    elements: dict[str, int] = field(default_factory=dict)
    """Symbol → atoms."""
    molecules_with: dict[str, int] = field(default_factory=dict)
    """Symbol → molecules that have it."""
    states: dict[str, int] = field(default_factory=dict)
    """``charge/multiplicity`` → molecules."""
    answers: dict[str, int] = field(default_factory=dict)
    """Name of the answer → molecules that have it."""
    splits: dict[str, int] = field(default_factory=dict)
    """Name of the part → molecules; ``-`` where the file names none."""
    official_splits: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)


def summarise(
    source: LabelSource, format: str, sample: int | None = SAMPLE, progress: bool = False
) -> Summary:
    """Summarise an open file.

    Parameters
    ----------
    source
        Open file.
    format
        Name of its format.
    sample
        Largest number of entries that are read, evenly spaced; None: all.  The package's own files are always
        summarised completely, from their columns.
    progress
        Show a bar.

    Raises
    ------
    DatasetError
        If an entry cannot be read.
    """
    size = disk_size(source.path)
    summary = Summary(str(source.path), format, size, len(source), source.level)
    summary.official_splits = tuple(source.official_splits)
    if len(source) == 0:
        return summary
    if isinstance(source, HelmH5Source):
        _from_columns(source, summary)
    else:
        _from_entries(source, summary, sample, progress)
    return summary


def disk_size(path: Path) -> int:
    """Bytes of a file or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


def _from_columns(source: HelmH5Source, summary: Summary) -> None:
    sizes = source.lengths("numbers")
    _count(summary, source.atomic_numbers(), sizes, source.column("orbital_count"))
    states = zip(source.column("charge").tolist(), source.column("multiplicity").tolist(), strict=True)
    summary.states = _states(Counter(states))
    summary.splits = _splits(Counter(map(str, source.column("split"))))
    for name in sorted(source.fields & set(OPTIONAL)):
        present = int(source.has(name).sum())
        if present:
            summary.answers[name] = present
    summary.answers = _with_matrices(int((source.lengths("hamiltonian") > 0).sum()), summary.answers)


def _from_entries(source: LabelSource, summary: Summary, sample: int | None, progress: bool) -> None:
    count = min(len(source), sample or len(source))
    chosen = np.unique(np.linspace(0, len(source) - 1, count).astype(int))
    numbers, orbitals = [], []
    states: Counter[tuple[int, int]] = Counter()
    splits: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for index in progress_bar(chosen.tolist(), desc="reading", unit="mol", disable=not progress):
        label = source[index]
        numbers.append(label.numbers)
        orbitals.append(label.functions)
        states[label.charge, label.multiplicity] += 1
        splits[label.split] += 1
        answers.update(label.available())
    sizes = np.array([len(z) for z in numbers])
    _count(summary, np.concatenate(numbers), sizes, np.array(orbitals))
    summary.states, summary.splits = _states(states), _splits(splits)
    summary.answers = _with_matrices(int(np.count_nonzero(orbitals)), dict(sorted(answers.items())))


def _with_matrices(count: int, answers: dict[str, int]) -> dict[str, int]:
    return ({"hamiltonian": count} if count else {}) | answers


def _count(
    summary: Summary, numbers: NDArray[np.int64], sizes: NDArray[np.integer], orbitals: NDArray[np.integer]
) -> None:
    """Fill in elements and sizes from the atomic numbers of all molecules, one after the other."""
    summary.looked_at = len(sizes)
    summary.atoms = int(sizes.min()), int(sizes.max())
    summary.orbitals = int(orbitals.min()), int(orbitals.max())
    atoms = np.bincount(numbers, minlength=128)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    having = np.bincount(np.unique(owners * 128 + numbers) % 128, minlength=128)
    present = [z for z in np.flatnonzero(atoms).tolist() if z < len(chemical_symbols)]
    summary.elements = {chemical_symbols[z]: int(atoms[z]) for z in present}
    summary.molecules_with = {chemical_symbols[z]: int(having[z]) for z in present}


def _states(states: Counter[tuple[int, int]]) -> dict[str, int]:
    return {f"{charge:+d}/{multiplicity}": n for (charge, multiplicity), n in sorted(states.items())}


def _splits(splits: Counter[str]) -> dict[str, int]:
    return {name or "-": n for name, n in sorted(splits.items())}
