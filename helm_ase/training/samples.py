"""Samples from the label files that a recipe names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from helm_ase.dataset.dataset import MoleculeDataset
from helm_ase.dataset.sample import Sample
from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.source import LabelSource
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory, physical_differences
from helm_ase.training.recipe import DataSettings


class JoinedSamples(Sequence[Sample]):
    """Samples of several files, one after the other."""

    def __init__(self, parts: Sequence[MoleculeDataset]) -> None:
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """One sample, or those of a slice."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part][index - (int(self._ends[part - 1]) if part else 0)]

    def __iter__(self) -> Iterator[Sample]:
        return (self[k] for k in range(len(self)))

    @property
    def loads(self) -> NDArray[np.int64]:
        """Pairs and atoms of every sample, (M,)."""
        return np.concatenate([part.loads for part in self.parts])

    def keys(self) -> set[str]:
        """Fingerprints of all geometries."""
        return {part.source.key_of(int(k)) for part in self.parts for k in part.indices}


@dataclass(frozen=True)
class OpenLabels:
    """Open label files of the training or validation set."""

    sources: Sequence[LabelSource]
    """One for each file."""
    entries: Sequence[Sequence[int]]
    """Entries of each file that belong to the set."""
    level: LevelOfTheory
    """Level of theory of all files."""

    def __iter__(self) -> Iterator[LabelledMolecule]:
        """Labels in the order of the files."""
        for source, indices in zip(self.sources, self.entries, strict=True):
            for k in indices:
                yield source[k]

    def shuffled(self, seed: int) -> Iterator[LabelledMolecule]:
        """All labels in a random order that is the same each time."""
        flat = [(part, k) for part, indices in enumerate(self.entries) for k in indices]
        for n in np.random.default_rng(seed).permutation(len(flat)):
            part, k = flat[n]
            yield self.sources[part][k]


def open_samples(
    data: DataSettings,
    validation: bool,
    cutoff: float,
    folder: str | Path,
    labels: OpenLabels | None = None,
    **options: Any,
) -> tuple[JoinedSamples, LevelOfTheory]:
    """Open the files of a recipe and compute what is missing of H0, overlap and orbitals.

    Parameters
    ----------
    data
        What the recipe says.
    validation
        Which of its two sets.
    cutoff
        Largest pair distance, Å.
    folder
        Folder of the run; the place of what is computed unless the recipe names another.
    labels
        Files of the set, if they are open already.
    options
        Options of :class:`~helm_ase.dataset.dataset.MoleculeDataset`.

    Raises
    ------
    DatasetError
        If a file cannot be read, files differ in level, or there is no molecule.
    """
    labels = labels or open_entries(data, validation)
    parts = [
        MoleculeDataset(
            source,
            indices,
            data.h0,
            cutoff,
            data.cache or folder,
            in_memory=data.in_memory,
            energy_baseline=data.e0,
            **options,
        ).prepare(data.processes)
        for source, indices in zip(labels.sources, labels.entries, strict=True)
        if indices
    ]
    return JoinedSamples(parts), labels.level


def open_entries(data: DataSettings, validation: bool) -> OpenLabels:
    """Files of one of the two sets, which entries of each belong to it, and their level of theory.

    Raises
    ------
    DatasetError
        As :func:`open_samples`.
    """
    paths, split, limit = data.train, data.train_split, data.train_limit
    if validation:
        paths, split, limit = data.validation or data.train, data.validation_split, data.validation_limit
    sources = [open_labels(path) for path in paths]
    level = common_level(sources, data.level)
    entries = [[k for k in range(len(source)) if source.split_of(k) == split] for source in sources]
    if not any(entries):
        raise DatasetError(
            f"{', '.join(paths)}: no molecules of split {split!r}; 'helm-ase data split' makes splits"
        )
    return OpenLabels(sources, draw(entries, limit, data.draw_seed), level)


def common_level(sources: Sequence[LabelSource], wanted: LevelOfTheory | None = None) -> LevelOfTheory:
    """Level of theory of all files, as the first one has it.

    Raises
    ------
    DatasetError
        If a file says that it has another; files that do not say are taken at their recipe's word.
        Grids, thresholds and versions of the program may differ.
    """
    level = wanted or sources[0].level
    for source in sources:
        other = physical_differences(source.level, level)
        if other and source.level_is_recorded:
            raise DatasetError(
                f"{source.path} holds labels of another level of theory ({other}): "
                "labels of different levels of theory cannot be learnt together"
            )
        if not source.level_is_recorded:
            source.level = level
    return sources[0].level


def draw(entries: Sequence[Sequence[int]], limit: int | None, seed: int) -> list[list[int]]:
    """So many entries at random out of several lists; a smaller draw is part of a larger one."""
    flat = [(part, k) for part, indices in enumerate(entries) for k in indices]
    if limit is not None:
        order = np.random.default_rng(seed).permutation(len(flat))[:limit]
        flat = sorted(flat[k] for k in order)
    return [[k for p, k in flat if p == part] for part in range(len(entries))]
