"""Padded batches of samples of similar size, prepared also by worker processes."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from helm_ase.dataset.sample import Sample
from helm_ase.dataset.targets import Targets, tensors_on
from helm_ase.representation.graph import batch_graphs


@dataclass(frozen=True)
class TrainingBatch:
    """Samples padded to the largest matrix; s is the number of spin channels of the batch."""

    graph: Batch
    energy: Tensor
    """(B,) eV, float64."""
    forces: Tensor
    """(N, 3) eV/Å."""
    correction: Tensor
    """(B, s, A, A) Hartree; both channels of a closed shell are the same."""
    output_factor: Tensor | None
    """(B, A, A) what multiplies the network's output from both sides (W, or S^½), or None."""
    orbitals: Tensor
    """(B, s, A, M); columns beyond a molecule's own are zero."""
    orbital_count: Tensor
    """(B, s) number of orbitals that are not padding."""
    ao_count: Tensor
    """(B,) number of functions of each molecule."""
    targets: tuple[Targets, ...] | None = None
    """Reference observables of each molecule, if requested."""
    has_matrix: bool = True
    """Whether there is a ΔH to compare with: not if the labels have a larger basis than the model."""
    matrix_known: Tensor | None = None
    """(B,) whether the Hamiltonian of a molecule can be learnt, which is not so for singlets of broken
    symmetry and labels without one; None: all can."""

    def of_known_matrices(self) -> "TrainingBatch":
        """Part of the batch on which losses on the Hamiltonian are computed: molecules whose H can be
        learnt."""
        if self.matrix_known is None:
            return self
        known = self.matrix_known
        of_matrices = ("correction", "output_factor", "orbitals", "orbital_count", "ao_count")
        kept: dict[str, Any] = {
            k: None if getattr(self, k) is None else getattr(self, k)[known] for k in of_matrices
        }
        targets = self.targets and tuple(t for t, k in zip(self.targets, known.tolist(), strict=True) if k)
        return replace(self, targets=targets, matrix_known=None, **kept)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "TrainingBatch":
        """Return the same batch on another device; this one stays where it is."""
        graph = copy.copy(self.graph).to(device, non_blocking=non_blocking)  # Batch.to changes its own
        targets = self.targets and tuple(t.to(device, non_blocking) for t in self.targets)
        return replace(self, graph=graph, targets=targets, **tensors_on(device, self, non_blocking))


def shared_states(charge: Tensor, multiplicity: Tensor) -> Tensor:
    """Group of each molecule of a batch, (B,): every second ion or open shell is joined by a neutral closed
    shell.

    The two are as far apart as two molecules of a batch always are, and share one state.  So the network
    learns from labels of single molecules to leave the charge and the spin of a system where they belong.
    """
    plain = (charge == 0) & (multiplicity == 1)
    special = (~plain).nonzero().squeeze(1)[::2].tolist()
    group = torch.arange(len(charge))
    for one, other in zip(special, plain.nonzero().squeeze(1).tolist(), strict=False):
        group[other] = group[one]
    rank: Tensor = torch.unique(group, return_inverse=True)[1]
    return rank


def collate(
    samples: Sequence[Sample], factors: Sequence[Tensor] | None = None, share: bool = False
) -> TrainingBatch:
    """Pad and stack samples.

    Parameters
    ----------
    samples
        Samples of the batch.
    factors
        Matrix by which the network's output for each sample is multiplied from both sides.
    share
        Let some molecules share a state, see :func:`shared_states`; for training only.
    """
    spins = max(len(s.correction) for s in samples)
    size = max(len(s.overlap) for s in samples)
    width = max(s.orbitals.shape[2] for s in samples)
    batch = len(samples)
    targets = tuple(s.targets for s in samples if s.targets is not None)
    correction = torch.zeros(batch, spins, size, size)
    orbitals = torch.zeros(batch, spins, size, width)
    factor = None if factors is None else torch.zeros(batch, size, size)
    for k, s in enumerate(samples):
        a, m = s.orbitals.shape[1:]
        if not s.energy_only:
            correction[k, :, :a, :a] = s.correction
        orbitals[k, :, :a, :m] = s.orbitals
        if factor is not None and factors is not None:
            factor[k, :a, :a] = factors[k]
    graph = batch_graphs([s.graph for s in samples])
    if share:
        graph.group = shared_states(graph.charge, graph.multiplicity)
    return TrainingBatch(
        graph=graph,
        energy=torch.tensor([s.energy for s in samples], dtype=torch.float64),
        forces=torch.cat([s.forces for s in samples]),
        correction=correction,
        output_factor=factor,
        orbitals=orbitals,
        orbital_count=(orbitals != 0).any(2).sum(2),
        ao_count=torch.tensor([len(s.overlap) for s in samples]),
        targets=targets if len(targets) == batch else None,
        has_matrix=all(s.has_matrix or s.energy_only for s in samples),
        matrix_known=known_matrices([s.energy_only for s in samples]),
    )


def known_matrices(energy_only: Sequence[bool]) -> Tensor | None:
    """Mask of molecules whose H can be learnt, (B,); None if all can."""
    return ~torch.tensor(energy_only) if any(energy_only) else None


def balanced_batches(
    loads: NDArray[np.int64], max_load: int, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Shuffle, sort roughly by size, and cut into batches of at most ``max_load`` pairs and atoms each.

    A batch of molecules of similar size wastes little padding; the batches come in random order.

    Parameters
    ----------
    loads
        Pairs and atoms of every sample, (M,).
    max_load
        Limit of a batch; a larger molecule makes a batch of its own.
    generator
        Source of the order.
    """
    order = np.argsort(loads * generator.uniform(0.7, 1.4, len(loads)))
    batches: list[list[int]] = [[]]
    total = 0
    for k in order:
        if batches[-1] and total + loads[k] > max_load:
            batches.append([])
            total = 0
        batches[-1].append(int(k))
        total += int(loads[k])
    for b in generator.permutation(len(batches)):
        if batches[b]:
            yield batches[b]


def make_loader(
    samples: Sequence[Sample], batches: Sequence[Sequence[int]], workers: int = 0
) -> "DataLoader[TrainingBatch]":
    """Batches in the order given, prepared by worker processes (0: by this one).

    No more than two batches a worker are ever waiting.
    """
    return DataLoader(
        samples,  # type: ignore[arg-type]  # a sequence is a map-style data set
        batch_sampler=[list(b) for b in batches],
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
