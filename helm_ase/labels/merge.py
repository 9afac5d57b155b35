"""Conversion, merging and splitting of label files, one molecule in memory at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError, HelmError, SettingError
from helm_ase.labels.source import LabelSource
from helm_ase.labels.writer import LabelWriter
from helm_ase.representation import LabelledMolecule, LevelOfTheory
from helm_ase.representation.level import differences, physical_differences
from helm_ase.system.terminal import progress_bar

Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class Copied:
    """Result of copying: numbers of molecules written, skipped and renamed."""

    path: Path
    written: int
    duplicates: int = 0
    """Number of molecules left out because their geometry, charge and multiplicity was already present."""
    renamed: int = 0
    """Number of molecules written under another name because theirs was already used."""


def convert(
    source: LabelSource,
    output: str | Path,
    precision: Precision | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    energies_only: bool = False,
) -> Copied:
    """Write the molecules of any source into a file of the package's own.

    Overlap matrices are not copied: PySCF computes them as fast as they could be read.

    Parameters
    ----------
    source
        What to read.
    output
        File to write.
    precision
        Precision of the matrices; that of the source if absent.
    limit
        Stop after so many molecules.
    overwrite
        Replace a file that exists.
    progress
        Show a bar.
    energies_only
        Leave out matrices and orbitals.

    Raises
    ------
    DatasetError
        If an entry cannot be read or does not fit the basis; nothing is written then.
    SettingError
        If the output exists.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"limit is {limit}; it must be at least 1")
    return merge([source], output, precision, limit, overwrite, progress, energies_only)


def merge(
    sources: Sequence[LabelSource],
    output: str | Path,
    precision: Precision | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    energies_only: bool = False,
) -> Copied:
    """Write the molecules of several sources of one level of theory into one file.

    A structure that was there before is left out; a name that was is prefixed with that of its file.  As in
    training, grids, thresholds and versions of the program may differ: the file states those of the first
    source, and :func:`numerical_differences` names the others.

    Parameters
    ----------
    sources
        What to read, in this order.
    output, precision, limit, overwrite, progress, energies_only
        As for :func:`convert`.

    Raises
    ------
    DatasetError
        If the levels of theory differ, or an entry cannot be read; nothing is written then.
    SettingError
        If there is no source, or the output exists.
    """
    if not sources:
        raise SettingError("nothing to merge: name at least one file")
    path = _free(output, overwrite)
    for other in sources[1:]:
        require_same_level(sources[0], other)
    pairs = _labels((source, index) for source in sources for index in range(len(source)))
    if energies_only:
        pairs = ((source, label.without_orbitals()) for source, label in pairs)
    total = sum(map(len, sources))
    total = total if limit is None else min(total, limit)
    return _write(pairs, path, sources[0].level, precision or _precision(sources), total, progress)


def split(
    source: LabelSource,
    parts: Mapping[str, NDArray[np.int64]],
    prefix: str | Path,
    precision: Precision | None = None,
    overwrite: bool = False,
    progress: bool = False,
    energies_only: bool = False,
) -> dict[str, Copied]:
    """Write each part into a file ``PREFIX.PART.h5``; its labels then say to which part they belong.

    Parameters
    ----------
    source
        What to divide.
    parts
        Name of each part → indices (:mod:`helm_ase.labels.splits`); empty parts make no file.
    prefix
        Path without the ending.
    precision, overwrite, progress, energies_only
        As for :func:`convert`.

    Raises
    ------
    DatasetError
        If an entry cannot be read; the file of its part is not written then.
    SettingError
        If a file exists.
    """
    paths = {name: _free(f"{prefix}.{name}.h5", overwrite) for name, indices in parts.items() if len(indices)}
    done = {}
    for name, path in paths.items():
        indices = parts[name].tolist()
        pairs = _labels((source, index) for index in indices)
        if energies_only:
            pairs = ((source, label.without_orbitals()) for _, label in pairs)
        kept = precision or source.precision
        done[name] = _write(pairs, path, source.level, kept, len(indices), progress, name)
    return done


def numerical_differences(sources: Sequence[LabelSource]) -> str:
    """In which settings that hardly move the numbers sources differ from the first; empty if in none."""
    unlike = [difference for x in sources[1:] if (difference := differences(sources[0].level, x.level))]
    return "; ".join(dict.fromkeys(unlike))


def _precision(sources: Sequence[LabelSource]) -> Precision:
    """Single if all sources have it: nothing is gained by more."""
    return "float32" if all(source.precision == "float32" for source in sources) else "float64"


def require_same_level(first: LabelSource, other: LabelSource) -> None:
    """Refuse to mix levels of theory that could not be learnt together.

    Raises
    ------
    DatasetError
        If they differ; the message names the fields.
    """
    whose = (f"in {first.path.name}", f"in {other.path.name}")
    if differing := physical_differences(first.level, other.level, whose):
        raise DatasetError(
            f"{first.path} and {other.path} have different levels of theory ({differing}); "
            f"labels of different levels cannot be in one file"
        )


def _free(path: str | Path, overwrite: bool) -> Path:
    path = Path(path)
    if path.is_dir() or (path.exists() and not overwrite):
        raise SettingError(f"{path} exists already; choose another name or allow overwriting (--force)")
    return path


def _write(
    labels: Iterable[tuple[LabelSource, LabelledMolecule]],
    path: Path,
    level: LevelOfTheory,
    precision: Precision,
    total: int,
    progress: bool,
    part: str | None = None,
) -> Copied:
    duplicates = renamed = 0
    bar = progress_bar(desc=path.name, unit="mol", total=total, disable=not progress)
    with bar, LabelWriter(path, level, precision=precision) as writer:
        for source, label in labels:
            if len(writer) >= total:
                break
            bar.update()
            if label.key in writer:
                duplicates += 1
                continue
            name = _free_name(label.name, source.path.stem, writer)
            renamed += name != label.name
            label = replace(label, name=name, split=label.split if part is None else part)
            try:
                writer.add(label)
            except HelmError as error:
                raise DatasetError(f"{source.path}, entry {label.name}: {error}") from error
        written = len(writer)
    return Copied(path, written, duplicates, renamed)


def _labels(pairs: Iterable[tuple[LabelSource, int]]) -> Iterator[tuple[LabelSource, LabelledMolecule]]:
    for source, index in pairs:
        yield source, source[index]


def _free_name(name: str, prefix: str, writer: LabelWriter) -> str:
    candidate, count = name, 1
    while writer.has_name(candidate):
        candidate = f"{prefix}/{name}" if count == 1 else f"{prefix}/{name}#{count}"
        count += 1
    return candidate
