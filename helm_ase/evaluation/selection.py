"""Choice of the molecules of a label file on which a checkpoint is evaluated, and checks that it can be."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.format import file_sha256
from helm_ase.dataset.dataset import MoleculeDataset
from helm_ase.dataset.derived_cache import may_write
from helm_ase.errors import ChargeError, DatasetError, ElementError, SettingError
from helm_ase.labels.source import LabelSource
from helm_ase.representation import LabelledMolecule, LevelOfTheory
from helm_ase.representation.level import differences, physical_differences, plain


@dataclass(frozen=True)
class Selection:
    """Molecules on which a checkpoint is evaluated."""

    dataset: MoleculeDataset
    """Samples, with the checkpoint's H0 where any label has a Hamiltonian, read when asked for."""
    level: LevelOfTheory
    """Level of theory of the labels."""
    split: str | None
    """None: the whole file."""
    skipped: int = 0
    """Molecules left out because the model does not know their elements or state."""
    remarks: tuple[str, ...] = ()
    """Remarks for readers of the results."""

    def prepare(self, processes: int = 1) -> "Selection":
        """Compute missing H0 and S and store them in the cache, if there is one; returns the selection
        itself."""
        if may_write(self.dataset.derived.path):  # otherwise computed when a molecule is read, once each
            self.dataset.prepare(processes)
        return self


def select(
    checkpoint: Checkpoint,
    source: LabelSource,
    split: str | None = "val",
    limit: int | None = None,
    cache: str | Path | None = None,
    skip_unknown: bool = False,
    other_level: bool = False,
) -> Selection:
    """Labelled molecules of a split, with the model's H0 unless none of them has a Hamiltonian.

    Parameters
    ----------
    checkpoint, source, split, limit, skip_unknown
        As for :func:`choose`.
    cache
        Folder of H0 and S; None: beside the label file.
    other_level
        Accept labels of another level of theory in the same basis.

    Raises
    ------
    DatasetError
        If the labels are of another level of theory, or there are none of that split.
    ElementError, ChargeError, SettingError
        As :func:`choose`.
    """
    level, remarks = _check_level(checkpoint, source, other_level)
    known, skipped = choose(checkpoint, source, split, limit, skip_unknown)
    source.level = checkpoint.level  # H0 belongs to the model, not to the labels
    matrices = any(source[k].hamiltonian is not None for k in known.tolist())  # ends at the first
    dataset = MoleculeDataset(
        source, known, baseline=checkpoint.baseline, cutoff=checkpoint.model.cutoff, cache=cache,
        energy_baseline=checkpoint.energy_baseline, matrices=matrices,
    )  # fmt: skip
    return Selection(dataset, level, split, skipped, tuple(remarks))


def choose(
    checkpoint: Checkpoint,
    source: LabelSource,
    split: str | None = "val",
    limit: int | None = None,
    skip_unknown: bool = False,
) -> tuple[NDArray[np.int64], int]:
    """Indices of the molecules of a split that a model knows, and how many were left out.

    Parameters
    ----------
    checkpoint
        The model.
    source
        Open label file.
    split
        As the file names it; None: everything.
    limit
        Largest number of molecules, evenly spaced over the split.
    skip_unknown
        Leave out molecules of elements, charges or multiplicities that the model does not know.

    Raises
    ------
    DatasetError
        If no molecule is of that split, or none is known.
    ElementError, ChargeError
        If the model does not know an element or a state of a molecule.
    SettingError
        If ``limit`` is less than one.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"limit is {limit}; at least one molecule is needed")
    indices = np.array([k for k in range(len(source)) if split is None or source.split_of(k) == split])
    if not len(indices):
        raise DatasetError(_no_such_split(source, split))
    if limit is not None and limit < len(indices):
        indices = indices[np.linspace(0, len(indices) - 1, limit).round().astype(np.int64)]
    unknown = _unknown_molecules(checkpoint, source, indices)
    if unknown and not skip_unknown:
        _refuse(checkpoint, source, unknown, len(indices))
    known = np.array([k for k in indices.tolist() if k not in unknown], dtype=np.int64)
    if not len(known):
        raise DatasetError(f"{source.path}: no molecule is left that model {checkpoint.name!r} knows")
    return known, len(unknown)


def writable_cache(data: str | Path, fallback: str | Path | None) -> Path | None:
    """Folder for H0 and S: None (beside the labels) where that may be written, else ``fallback``."""
    return None if fallback is None or may_write(Path(data).resolve().parent) else Path(fallback)


def data_sha256(path: str | Path) -> str:
    """SHA-256 of a label file; of a folder, that of its files' names and checksums."""
    path = Path(path)
    if path.is_file():
        return file_sha256(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    lines = [f"{p.relative_to(path).as_posix()} {file_sha256(p)}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check_level(
    checkpoint: Checkpoint, source: LabelSource, other_level: bool
) -> tuple[LevelOfTheory, list[str]]:
    """Level of the labels, and what is remarkable about it."""
    model = checkpoint.level
    if not source.level_is_recorded:
        named = f"{model.functional}/{model.basis}"
        return model, [f"the file does not say its level of theory; {named}, the model's, is assumed"]
    labels = source.level
    physical = physical_differences(labels, model)
    if plain(labels.basis) != plain(model.basis):
        raise DatasetError(
            f"{source.path} holds matrices in the basis {labels.basis}; model {checkpoint.name!r} predicts "
            f"them in {model.basis}: label the structures in that basis (helm-ase label), or choose another "
            f"model (helm-ase models)"
        )
    if physical and not other_level:
        raise DatasetError(
            f"{source.path} holds labels of another level of theory than model {checkpoint.name!r} "
            f"({physical}): choose another model (helm-ase models), or compare all the same with "
            f"--other-level"
        )
    different = differences(labels, model)
    return labels, [f"labels and model differ in {different}"] if different else []


def _no_such_split(source: LabelSource, split: str | None) -> str:
    there = Counter(source.split_of(k) for k in range(len(source)))
    named = ", ".join(f"{name} ({n})" for name, n in sorted(there.items()) if name)
    return (
        f"{source.path} has no molecules of split {split!r}, only {named or 'molecules of no split'}: name "
        f"one of these, take all (--split all), or make splits with 'helm-ase data split'"
    )


@dataclass(frozen=True)
class _UnknownMolecule:
    """Elements and state of a molecule that a model was not trained on."""

    elements: frozenset[int]
    state: tuple[int, int] | None
    """Charge and multiplicity; None if they are known."""


def _unknown_molecules(
    checkpoint: Checkpoint, source: LabelSource, indices: NDArray[np.int64]
) -> dict[int, _UnknownMolecule]:
    knows, unknown = checkpoint.knows, {}
    for k in indices.tolist():
        label = source[k]
        if not knows.admits(label.numbers, label.charge, label.multiplicity):
            new, state = frozenset(knows.unknown_elements(label.numbers)), (label.charge, label.multiplicity)
            unknown[k] = _UnknownMolecule(new, None if knows.knows_state(*state) else state)
    return unknown


def _refuse(
    checkpoint: Checkpoint, source: LabelSource, molecules: dict[int, _UnknownMolecule], count: int
) -> None:
    elements = {z for m in molecules.values() for z in m.elements}
    states = sorted({m.state for m in molecules.values() if m.state is not None})
    unknown = [_symbols(elements)] * bool(elements) + [f"(charge, multiplicity) {states}"] * bool(states)
    message = (
        f"{source.path}: {len(molecules)} of {count} molecules hold what model {checkpoint.name!r} has not "
        f"seen: {' and '.join(unknown)}; it knows {_symbols(checkpoint.knows.elements)}, "
        f"{checkpoint.knows.states}: choose another model (helm-ase models), or leave them out with "
        f"--skip-unknown"
    )
    raise (ElementError if elements else ChargeError)(message)


def _symbols(numbers: Iterable[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in sorted(numbers))


def known_labels(
    checkpoint: Checkpoint, sources: Sequence[LabelSource], split: str
) -> Iterator[LabelledMolecule]:
    """Labels of a split whose elements, charge and multiplicity a model knows, one after the other."""
    knows = checkpoint.knows
    for source in sources:
        for k in range(len(source)):
            if source.split_of(k) != split:
                continue
            label = source[k]
            if knows.admits(label.numbers, label.charge, label.multiplicity):
                yield label
