"""Common interface of the readers of label files: a sequence of labelled molecules."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.representation.connectivity import molecule_hash
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory


class OpenFile(NamedTuple):
    """File that one process has opened; other processes, which inherit it by a fork, open their own."""

    process: int
    """Id of the process."""
    file: Any


class LabelSource(ABC):
    """Random access to the molecules of one file or folder, read-only.

    A subclass reads; this class is the one place where whatever goes wrong while reading becomes a
    :class:`~helm_ase.errors.DatasetError` that names file and entry.  Sources travel to worker processes:
    the open file stays behind and is opened again there.

    Parameters
    ----------
    path
        File or folder.
    level
        Level of theory of its labels.
    """

    level_is_recorded: bool = True
    """Whether the file or its format states the level of theory; otherwise a default was assumed."""
    precision: Literal["float32", "float64"] = "float64"
    """Precision of the matrices in the file."""
    official_splits: tuple[str, ...] = ()
    """Names that :meth:`official_split` knows."""

    def __init__(self, path: str | Path, level: LevelOfTheory) -> None:
        self.path = Path(path)
        self.level = level
        self._opened: OpenFile | None = None

    def __init_subclass__(cls) -> None:
        """Wrap the methods of a reader so that any error in them becomes a :class:`DatasetError`."""
        for name in ("name_of", "key_of", "split_of", "smiles_of", "molecule_of"):
            if name in cls.__dict__:
                setattr(cls, name, _within_boundary(cls.__dict__[name]))

    @abstractmethod
    def __len__(self) -> int:
        """Count the molecules."""

    @abstractmethod
    def read(self, index: int) -> LabelledMolecule:
        """Read one molecule, converted to the package's units and AO order; may raise anything."""

    def name_of(self, index: int) -> str:
        """Name of an entry, without reading it."""
        return str(index)

    def key_of(self, index: int) -> str:
        """Fingerprint of geometry, charge and multiplicity."""
        return self[index].key

    def split_of(self, index: int) -> str:
        """Split that the file puts a molecule in; most formats know none, which is an empty string."""
        return ""

    def smiles_of(self, index: int) -> str:
        """SMILES of an entry; most formats know none, which is an empty string."""
        return ""

    def molecule_of(self, index: int) -> str:
        """What the frames of one molecule share; splits keep it together.

        The canonical SMILES where the file has one; otherwise composition and connectivity.
        """
        if smiles := self.smiles_of(index):
            return smiles
        label = self[index]
        return molecule_hash(label.numbers, label.positions, label.charge)

    def official_split(self, name: str) -> Mapping[str, NDArray[np.int64]]:
        """Indices of the parts (``train``, ``val``, ``test``, …) of a published split.

        Raises
        ------
        DatasetError
            If this data set has no split of that name.
        """
        known = ", ".join(self.official_splits) or "none"
        raise DatasetError(f"{self.path} has no split {name!r}; published for it: {known}")

    def __repr__(self) -> str:
        level = f"{self.level.functional}/{self.level.basis}"
        return f"<{type(self).__name__} {self.path}: {len(self)} molecules, {level}>"

    @overload
    def __getitem__(self, index: int) -> LabelledMolecule: ...
    @overload
    def __getitem__(self, index: slice) -> list[LabelledMolecule]: ...
    def __getitem__(self, index: int | slice) -> LabelledMolecule | list[LabelledMolecule]:
        """Read one molecule, or those of a slice; negative indices count from the end.

        Raises
        ------
        IndexError
            If there is no such molecule.
        DatasetError
            If it cannot be read.
        """
        count = len(self)
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(count))]
        if not -count <= index < count:
            raise IndexError(f"{self.path} holds {count} molecules; there is no entry {index}")
        index = int(index) % count
        with self._boundary(index):
            return self.read(index)

    def __iter__(self) -> Iterator[LabelledMolecule]:
        """Read all molecules, one at a time."""
        for index in range(len(self)):
            yield self[index]

    @contextmanager
    def _boundary(self, index: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a damaged file may raise anything, MemoryError included
            message = str(error) if isinstance(error, DatasetError) else f"{type(error).__name__}: {error}"
            if message.startswith(f"{self.path}, entry"):  # one question about an entry led to another
                raise
            raise DatasetError(f"{self.path}, entry {self._safe_name(index)}: {message}") from error

    def _safe_name(self, index: int) -> str:
        try:
            name = type(self).name_of
            return str(getattr(name, "__wrapped__", name)(self, index))
        except Exception:
            return str(index)

    def open_file(self) -> Any:
        """Open the underlying file; called once in each process."""
        return None

    @property
    def file(self) -> Any:
        """The underlying file, opened in this process."""
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = OpenFile(os.getpid(), self.open_file())
        return self._opened.file

    def close(self) -> None:
        """Close the file; it opens again when needed."""
        opened = self._opened
        if opened is not None and opened.process == os.getpid() and hasattr(opened.file, "close"):
            opened.file.close()
        self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


def _within_boundary(answer: Callable[[Any, int], str]) -> Callable[[Any, int], str]:
    @wraps(answer)
    def guarded(source: LabelSource, index: int) -> str:
        with source._boundary(index):
            return answer(source, index)

    return guarded
