"""Cache on disk of quantities that were derived from the labels of a file."""

import hashlib
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from helm_ase.labels.record_log import BusyError, RecordLog
from helm_ase.labels.source import LabelSource, OpenFile
from helm_ase.qc.level import use_one_thread
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.system.terminal import progress_bar
from helm_ase.system.worker_process import LOOK_EVERY, die_with_parent

T = TypeVar("T")


class Derivation(Protocol[T]):
    """Quantities that are derived from a label, and their encoding in a cache file."""

    @property
    def title(self) -> bytes:
        """Description of the contents in a cache file."""

    @property
    def name(self) -> str:
        """Part of the name of the cache file."""

    @property
    def subject(self) -> str:
        """Name of the quantities, for messages."""

    def derive(self, label: LabelledMolecule, known: T | None = None) -> T:
        """Compute it; ``known`` was derived from a label of the same geometry with another matrix."""

    def holds(self, derived: T) -> bool:
        """Whether a record written by an earlier version is still valid; if not, it is computed again."""

    def pack(self, derived: T) -> bytes:
        """Record → bytes."""

    def unpack(self, payload: bytes) -> T:
        """Bytes → record."""


def hamiltonian_digest(label: LabelledMolecule) -> bytes:
    """Fingerprint of the matrix, 32 bytes, by which cached orbitals of another matrix are recognised."""
    matrix = np.empty(0) if label.hamiltonian is None else np.ascontiguousarray(label.hamiltonian)
    return hashlib.sha256(matrix.data).digest()


class DerivedCache(Generic[T]):
    """Derived quantities of one label file, on disk; missing ones are computed when asked for.

    Any number of processes may read; :meth:`fill` is the one that writes.  The cache may be deleted at any
    time.

    Parameters
    ----------
    path
        File; see :func:`cache_path`.
    settings
        What is derived.
    """

    def __init__(self, path: str | Path, settings: Derivation[T]) -> None:
        self.path, self.settings = Path(path), settings
        self._opened: OpenFile | None = None

    def get(self, label: LabelledMolecule) -> T:
        """Read, or compute, what follows from a label."""
        log = self._reader()
        if log is not None and label.key in log:
            digest, payload = split_digest(log.read(label.key))
            known = self.settings.unpack(payload)
            same = digest == hamiltonian_digest(label) and self.settings.holds(known)
            return known if same else self.settings.derive(label, known)
        return self.settings.derive(label)

    def fill(self, source: LabelSource, indices: Iterable[int], processes: int = 1) -> int:
        """Compute what is missing, in parallel, and return how much that was.

        If the process is killed, everything computed so far is kept.
        """
        log = self._reader()
        missing = [k for k in indices if log is None or source.key_of(k) not in log]
        if not missing:
            return 0
        if not may_write(self.path):
            warnings.warn(
                f"{self.path} cannot be written, so {self.settings.subject} is computed again each time: "
                "pass cache=FOLDER",
                stacklevel=3,
            )
            return len(missing)
        self.close()
        with closing(self._writer()) as log:
            missing = [k for k in missing if source.key_of(k) not in log]  # what others computed meanwhile
            bar = progress_bar(
                total=len(missing), desc=f"{self.settings.subject} of {source.path.name}", unit="mol"
            )
            with bar:
                for key, payload in self._compute(source, missing, processes):
                    if key not in log:  # the same molecule twice
                        log.append(key, payload)
                    bar.update()
        return len(missing)

    def _writer(self) -> RecordLog:
        """The file, once nobody else is writing to it: several runs may share a cache."""
        while True:
            try:
                return RecordLog(self.path, self.settings.title, writable=True, durable=False).__enter__()
            except BusyError:
                time.sleep(LOOK_EVERY)

    def _compute(
        self, source: LabelSource, indices: list[int], processes: int
    ) -> Iterator[tuple[str, bytes]]:
        if processes == 1 or len(indices) < 2:
            yield from (_derive_entry(source, k, self.settings) for k in indices)
            return
        pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_begin_worker)
        with pool:
            waiting: list[Any] = []
            for k in indices:
                waiting.append(pool.submit(_derive_entry, source, k, self.settings))
                if len(waiting) > 4 * processes:  # results wait here, not in memory without bound
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

    def _reader(self) -> RecordLog | None:
        if self._opened is None or self._opened.process != os.getpid():
            if not self.path.exists():
                return None
            self._opened = OpenFile(os.getpid(), RecordLog(self.path, self.settings.title).__enter__())
        log: RecordLog = self._opened.file
        return log

    def close(self) -> None:
        """Close the file; it opens again when needed."""
        if self._opened is not None and self._opened.process == os.getpid():
            self._opened.file.close()
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


def may_write(path: Path) -> bool:
    """Whether a file, or else the folder it would be in, may be written.

    The mode counts also for root, who could write everywhere: a folder without permission is meant to stay
    as it is.
    """
    there = next(p for p in (path, *path.resolve().parents) if p.exists())
    return os.access(there, os.W_OK) and bool(there.stat().st_mode & 0o222)


def cache_path(labels: str | Path, settings: Derivation[Any], folder: str | Path | None = None) -> Path:
    """Where the cache of a label file lies: beside it, or in ``folder``."""
    labels = Path(labels)
    digest = hashlib.sha256(settings.title).hexdigest()[:8]
    return Path(folder or labels.parent) / f"{labels.name}.{settings.name}-{digest}.cache"


def _derive_entry(source: LabelSource, index: int, settings: Derivation[Any]) -> tuple[str, bytes]:
    label = source[index]
    return label.key, hamiltonian_digest(label) + settings.pack(settings.derive(label))


def _begin_worker() -> None:
    die_with_parent()
    use_one_thread()


def split_digest(record: bytes) -> tuple[bytes, bytes]:
    """Fingerprint of the Hamiltonian, and the packed quantities."""
    return record[:32], record[32:]
