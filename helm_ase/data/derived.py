"""What follows from a label at some cost: H0, S and reference orbitals, computed once and kept on disk."""

import hashlib
import json
import os
import struct
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from tqdm import tqdm

from helm_ase.data.record_log import RecordLog
from helm_ase.data.source import LabelSource
from helm_ase.processes import die_with_parent
from helm_ase.qc.baseline import baseline_hamiltonian
from helm_ase.qc.level import Baseline, use_one_thread
from helm_ase.qc.molecule import basis_of, build_mole, overlap
from helm_ase.representation import AOMatrix
from helm_ase.representation.labelled import LabelledMolecule, pack_triangle, unpack_triangle
from helm_ase.representation.level import LevelOfTheory

VIRTUALS = 6
"""Reference virtual orbitals kept for losses that see the spectrum."""
SHAPE = struct.Struct("<iiii")


@dataclass(frozen=True)
class Derived:
    """Matrices in canonical AO order; spin first in an open shell, as in the label."""

    baseline: NDArray[np.float64]
    """H0, Hartree, (A, A)."""
    overlap: NDArray[np.float64]
    """S, (A, A)."""
    orbital_energies: NDArray[np.float64]
    """All levels of the label's H, Hartree, (s, A)."""
    orbitals: NDArray[np.float32]
    """Its occupied and lowest virtual orbitals, (s, A, M); columns beyond a spin's own are zero."""
    electrons: tuple[int, ...]
    """Occupied orbitals of each spin, (s,)."""


@dataclass(frozen=True)
class DerivationSettings:
    """On what the derived quantities depend, besides the label."""

    level: LevelOfTheory
    baseline: Baseline
    virtuals: int = VIRTUALS

    @property
    def title(self) -> bytes:
        """What a cache of them says it holds."""
        level = asdict(self.level)
        facts = {k: level[k] for k in ("functional", "basis", "density_fitting", "auxiliary_basis")}
        facts |= {"baseline": [self.baseline.name, list(self.baseline.grid)], "virtuals": self.virtuals}
        return json.dumps({"derived from": facts}).encode()


def derive(label: LabelledMolecule, settings: DerivationSettings, known: Derived | None = None) -> Derived:
    """Compute H0, S and the orbitals of the label's own H.

    ``known`` holds H0 and S of the geometry, which do not depend on the label's matrix.

    Raises
    ------
    DatasetError, BasisError
        If the matrix does not fit the basis.
    """
    mole = build_mole(label.numbers, label.positions, settings.level.basis, label.charge, label.multiplicity)
    basis = basis_of(mole)
    if known is None:
        s = overlap(mole, basis).values
        h0 = baseline_hamiltonian(mole, basis, settings.level, settings.baseline).values
    else:
        s, h0 = known.overlap, known.baseline
    electrons = mole.nelec[: label.spin_channels]
    width = min(max(electrons) + settings.virtuals, len(s))
    energies, orbitals = [], []
    for matrix, n in zip(
        label.hamiltonian.reshape(-1, *label.hamiltonian.shape[-2:]), electrons, strict=True
    ):
        h = AOMatrix(matrix, label.numbers, basis, "pyscf").reorder("e3nn").values
        levels, vectors = scipy.linalg.eigh(h, s)
        kept = np.zeros((len(s), width), dtype=np.float32)
        own = min(n + settings.virtuals, width)
        kept[:, :own] = vectors[:, :own]
        energies.append(levels)
        orbitals.append(kept)
    return Derived(h0, s, np.stack(energies), np.stack(orbitals), tuple(map(int, electrons)))


def hamiltonian_digest(label: LabelledMolecule) -> bytes:
    """Fingerprint of the matrix, 32 bytes: orbitals of another one must not be served."""
    return hashlib.sha256(np.ascontiguousarray(label.hamiltonian).data).digest()


class DerivedCache:
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

    def __init__(self, path: str | Path, settings: DerivationSettings) -> None:
        self.path, self.settings = Path(path), settings
        self._opened: tuple[int, RecordLog] | None = None

    def get(self, label: LabelledMolecule) -> Derived:
        """Read, or compute, what follows from a label."""
        log = self._reader()
        if log is not None and label.key in log:
            digest, payload = split_digest(log.read(label.key))
            known = unpack(payload)
            return known if digest == hamiltonian_digest(label) else derive(label, self.settings, known)
        return derive(label, self.settings)

    def fill(self, source: LabelSource, indices: Iterable[int], processes: int = 1) -> int:
        """Compute what is missing, in parallel, and return how much that was.

        Killed at any moment, what it has computed stays.
        """
        log = self._reader()
        missing = [k for k in indices if log is None or source.key_of(k) not in log]
        if not missing:
            return 0
        if not os.access(self.path if self.path.exists() else _existing(self.path.parent), os.W_OK):
            warnings.warn(
                f"{self.path} cannot be written, so H0 is computed anew each time: pass cache=FOLDER",
                stacklevel=3,
            )
            return len(missing)
        self.close()
        with RecordLog(self.path, self.settings.title, writable=True, durable=False) as log:
            bar = tqdm(total=len(missing), desc=f"H0 of {source.path.name}", unit="mol")
            with bar:
                for key, payload in self._compute(source, missing, processes):
                    if key not in log:  # the same molecule twice
                        log.append(key, payload)
                    bar.update()
        return len(missing)

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
        if self._opened is None or self._opened[0] != os.getpid():
            if not self.path.exists():
                return None
            self._opened = os.getpid(), RecordLog(self.path, self.settings.title).__enter__()
        return self._opened[1]

    def close(self) -> None:
        """Close the file; it opens again when needed."""
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def cache_path(labels: str | Path, settings: DerivationSettings, folder: str | Path | None = None) -> Path:
    """Where the cache of a label file lies: beside it, or in ``folder``."""
    labels = Path(labels)
    digest = hashlib.sha256(settings.title).hexdigest()[:8]
    return Path(folder or labels.parent) / f"{labels.name}.{settings.baseline.name}-{digest}.cache"


def _derive_entry(source: LabelSource, index: int, settings: DerivationSettings) -> tuple[str, bytes]:
    label = source[index]
    return label.key, hamiltonian_digest(label) + pack(derive(label, settings))


def _begin_worker() -> None:
    die_with_parent()
    use_one_thread()


def split_digest(record: bytes) -> tuple[bytes, bytes]:
    """Fingerprint of the Hamiltonian, and the packed quantities."""
    return record[:32], record[32:]


def pack(derived: Derived) -> bytes:
    """Record → bytes."""
    s, a, m = derived.orbitals.shape
    head = SHAPE.pack(s, a, m, len(derived.electrons)) + np.array(derived.electrons, "<i8").tobytes()
    matrices = [pack_triangle(derived.baseline), pack_triangle(derived.overlap), derived.orbital_energies]
    return b"".join([head, *(np.ascontiguousarray(x, "<f8").tobytes() for x in matrices),
                     np.ascontiguousarray(derived.orbitals, "<f4").tobytes()])  # fmt: skip


def unpack(payload: bytes) -> Derived:
    """Bytes → record."""
    s, a, m, n = SHAPE.unpack_from(payload)
    electrons = np.frombuffer(payload, "<i8", n, SHAPE.size)
    start, triangle = SHAPE.size + 8 * n, a * (a + 1) // 2
    numbers = np.frombuffer(payload, "<f8", 2 * triangle + s * a, start)
    orbitals = np.frombuffer(payload, "<f4", s * a * m, start + 8 * len(numbers)).reshape(s, a, m)
    return Derived(
        unpack_triangle(numbers[:triangle]),
        unpack_triangle(numbers[triangle : 2 * triangle]),
        numbers[2 * triangle :].reshape(s, a).copy(),
        orbitals.copy(),
        tuple(electrons.tolist()),
    )
