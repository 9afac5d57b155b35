"""Batches of a training stage, which do not depend on the number of processes that share them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from helm_ase.dataset.batch import TrainingBatch, balanced_batches, collate
from helm_ase.dataset.sample import Sample
from helm_ase.nn import HELMSettings


class FactoredSample(NamedTuple):
    """Sample with the factor by which the network's output for it is multiplied from both sides."""

    sample: Sample
    factor: Tensor | None
    """Trust filter W or S^½, (A, A), float32; None if there is no factor."""


class EmptyBatch:
    """Share of a batch without molecules, for a process that must still take part in every sum."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "EmptyBatch":
        """Nothing to move."""
        return self


@dataclass(frozen=True)
class ValidationBatch:
    """A batch together with the samples it was made of."""

    batch: TrainingBatch
    samples: Sequence[Sample]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ValidationBatch":
        """Move the batch; the samples stay."""
        return replace(self, batch=self.batch.to(device, non_blocking))


class Samples(Dataset[FactoredSample]):
    """Samples with the factors of the output (W, or S^½); what was computed is kept if the samples are.

    Parameters
    ----------
    samples
        Any sequence of them.
    settings
        Settings of the model, whose output it is.
    keep
        Keep factors; for sets that fit into memory.
    """

    def __init__(self, samples: Sequence[Sample], settings: HELMSettings, keep: bool = True) -> None:
        self.samples, self.settings, self.keep = samples, settings, keep
        self._factors: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> FactoredSample:
        sample = self.samples[index]
        factor = self._factors.get(index)
        if factor is None and len(sample.overlap):
            exact = self.settings.output_factor(sample.overlap)
            factor = None if exact is None else exact.float()
            if self.keep and factor is not None:
                self._factors[index] = factor
        return FactoredSample(sample, factor)


class EpochBatches(NamedTuple):
    """Batches of one epoch, as indices of samples."""

    epoch: int
    batches: list[list[int]]


class SharedBatches:
    """Batches of indices, of which each process gets its share.

    A batch is cut into as many parts of similar size as there are processes, so that the sum over
    processes is that of one process with the whole batch.  A part may be empty.

    Parameters
    ----------
    loads
        Pairs and atoms of every sample, (M,).
    max_load
        Largest load of a batch, over all processes.
    seed
        Seed of the order; None: one order, always the same, for validation.
    rank, processes
        Place of this process.
    limit
        Batches of an epoch; None: all.
    """

    def __init__(
        self, loads: NDArray[np.int64], max_load: int, seed: int | None, rank: int = 0, processes: int = 1,
        limit: int | None = None,
    ) -> None:  # fmt: skip
        self.loads, self.max_load, self.seed, self.limit = loads, max_load, seed, limit
        self.rank, self.processes = rank, processes
        self.epoch = 0
        self._known = EpochBatches(-1, [])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order of the batches."""
        self.epoch = epoch

    def whole(self) -> list[list[int]]:
        """Batches of this epoch before they are shared."""
        key = [0] if self.seed is None else [self.seed, self.epoch]
        if self._known.epoch != self.epoch:
            batches = list(balanced_batches(self.loads, self.max_load, np.random.default_rng(key)))
            self._known = EpochBatches(self.epoch, batches[: self.limit])
        return self._known.batches

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.whole():
            yield shares(batch, self.loads, self.processes)[self.rank]

    def __len__(self) -> int:
        return len(self.whole())


def shares(batch: Sequence[int], loads: NDArray[np.int64], parts: int) -> list[list[int]]:
    """Cut a batch into parts of similar load: the largest molecule to the lightest part, and so on."""
    divided: list[list[int]] = [[] for _ in range(parts)]
    total = np.zeros(parts, dtype=np.int64)
    for k in sorted(batch, key=lambda k: (-loads[k], k)):
        lightest = int(np.argmin(total))
        divided[lightest].append(k)
        total[lightest] += loads[k]
    return divided if parts > 1 else [list(batch)]


def loader(samples: Samples, batches: SharedBatches, processes: int = 0) -> "DataLoader[FactoredSample]":
    """Batches prepared by worker processes (0: by this one), at most two each ahead."""
    return DataLoader(
        samples,
        batch_sampler=batches,
        collate_fn=collate_for_training,
        num_workers=processes,
        prefetch_factor=2 if processes else None,
        multiprocessing_context="spawn" if processes else None,
    )


def collate_for_training(pairs: Sequence[FactoredSample]) -> TrainingBatch | EmptyBatch:
    """Pad and stack."""
    if not pairs:
        return EmptyBatch()
    return _collate(pairs, share=True)


def _collate(pairs: Sequence[FactoredSample], share: bool) -> TrainingBatch:
    factors = [pair.factor for pair in pairs if pair.factor is not None]
    return collate([pair.sample for pair in pairs], factors or None, share)


def loads_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Pairs and atoms of every sample, (M,)."""
    known = getattr(samples, "loads", None)
    return np.array([s.load for s in samples], dtype=np.int64) if known is None else known


def validation_loader(samples: Samples, batches: SharedBatches) -> "DataLoader[FactoredSample]":
    """Batches that keep the samples they were made of."""
    return DataLoader(samples, batch_sampler=batches, collate_fn=collate_for_validation)


def collate_for_validation(pairs: Sequence[FactoredSample]) -> ValidationBatch | EmptyBatch:
    """Pad and stack, and keep the samples."""
    if not pairs:
        return EmptyBatch()
    return ValidationBatch(_collate(pairs, share=False), tuple(pair.sample for pair in pairs))
