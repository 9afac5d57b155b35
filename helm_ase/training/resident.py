"""Training samples that are kept on the device, where batches are assembled without copies from the host.

A GPU takes a step of a hundred molecules in less time than a processor needs to pad their matrices.  Sets of
some ten thousand small molecules fit into the memory of a GPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from helm_ase.dataset.batch import TrainingBatch, known_matrices, shared_states
from helm_ase.dataset.sample import Sample
from helm_ase.nn import HELMSettings
from helm_ase.training.batches import SharedBatches


@dataclass(frozen=True)
class Ragged:
    """Arrays of different length, one after the other."""

    values: Tensor
    """All numbers, (total, …)."""
    first: Tensor
    """Where each array begins, on the host, (M,)."""
    length: Tensor
    """Its length, on the host, (M,)."""

    @classmethod
    def of(cls, arrays: Sequence[Tensor], device: torch.device) -> "Ragged":
        """Join arrays of shapes (n, …)."""
        length = torch.tensor([len(a) for a in arrays])
        first = torch.cumsum(length, 0) - length
        return cls(torch.cat(list(arrays)).to(device), first, length)

    def places(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Positions of the numbers of some members, and the member that each belongs to, both (n,)."""
        length = self.length[chosen]
        member = torch.repeat_interleave(torch.arange(len(chosen)), length)
        start = torch.cumsum(length, 0) - length
        place = torch.arange(len(member)) - start[member] + self.first[chosen][member]
        return place.to(self.values.device), member.to(self.values.device)


class ResidentSamples:
    """All samples of a training set on one device.

    Parameters
    ----------
    samples
        With matrices; observables are not kept.
    settings
        Settings of the model, whose filter is kept beside every sample.
    device
        Where to keep them.
    """

    def __init__(self, samples: Sequence[Sample], settings: HELMSettings, device: torch.device) -> None:
        self.device = device
        graphs = [s.graph for s in samples]
        self.atoms = Ragged.of([g.z for g in graphs], device)
        self.positions = torch.cat([g.pos for g in graphs]).to(device)
        self.forces = torch.cat([s.forces for s in samples]).to(device)
        self.pairs = Ragged.of([g.pair_index.T for g in graphs], device)
        self.energy = torch.tensor([s.energy for s in samples], dtype=torch.float64)
        self.charge = torch.cat([g.charge for g in graphs])
        self.multiplicity = torch.cat([g.multiplicity for g in graphs])
        self.spins = torch.tensor([len(s.correction) for s in samples])
        self.size = torch.tensor([len(s.overlap) for s in samples])
        self.width = torch.tensor([s.orbitals.shape[2] for s in samples])
        self.count = torch.zeros(len(samples), 2, dtype=torch.long)  # orbitals that are not padding
        for k, s in enumerate(samples):
            self.count[k] = (s.orbitals != 0).any(1).sum(1)
        self.energy_only = [s.energy_only for s in samples]
        self.correction = Ragged.of([_masked(s).flatten() for s in samples], device)
        self.orbitals = Ragged.of([s.orbitals.flatten() for s in samples], device)
        self.factors = self._factors(samples, settings)

    def _factors(self, samples: Sequence[Sample], settings: HELMSettings) -> Ragged | None:
        factors = [settings.output_factor(s.overlap) if len(s.overlap) else None for s in samples]
        known = [x.float().flatten() for x in factors if x is not None]
        return Ragged.of(known, self.device) if known else None

    def batch(self, chosen: Sequence[int]) -> TrainingBatch:
        """Samples padded to the largest matrix, as :func:`~helm_ase.dataset.batch.collate` does it."""
        index = torch.tensor(chosen)
        atoms, molecule = self.atoms.places(index)
        spins, size, width = (x[index] for x in (self.spins, self.size, self.width))
        one, known = torch.ones_like(size), known_matrices([self.energy_only[k] for k in index.tolist()])
        return TrainingBatch(
            graph=self._graph(index, atoms, molecule),
            energy=self.energy[index].to(self.device),
            forces=self.forces[atoms],
            correction=padded(self.correction, index, (spins, size, size)),
            output_factor=None
            if self.factors is None
            else padded(self.factors, index, (one, size, size))[:, 0],
            orbitals=padded(self.orbitals, index, (spins, size, width)),
            orbital_count=self.count[index, : int(spins.max())].to(self.device),
            ao_count=size.to(self.device),
            matrix_known=None if known is None else known.to(self.device),
        )

    def _graph(self, index: Tensor, atoms: Tensor, molecule: Tensor) -> Data:
        pairs, owner = self.pairs.places(index)
        length = self.atoms.length[index]
        first = (torch.cumsum(length, 0) - length).to(self.device)
        charge, multiplicity = self.charge[index], self.multiplicity[index]
        return Data(
            z=self.atoms.values[atoms],
            pos=self.positions[atoms],
            charge=charge.to(self.device),
            multiplicity=multiplicity.to(self.device),
            pair_index=(self.pairs.values[pairs] + first[owner, None]).T.contiguous(),
            batch=molecule,
            group=shared_states(charge, multiplicity).to(self.device),
        )


def _masked(sample: Sample) -> Tensor:
    """ΔH, zero where it cannot be learnt, (s, A, A)."""
    return torch.zeros_like(sample.correction) if sample.energy_only else sample.correction


def padded(matrices: Ragged, chosen: Tensor, shape: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Matrices of some members, padded with zeros; a closed shell's one matrix stands in both spins.

    Parameters
    ----------
    matrices
        Flat arrays of shapes (s, n, m).
    chosen
        Members, (B,).
    shape
        s, n and m of each, three times (B,).

    Returns
    -------
    Tensor
        Shape (B, S, N, M) with the largest s, n and m.
    """
    device = matrices.values.device
    first = matrices.first[chosen].to(device)[:, None, None, None]
    s, n, m = (x.to(device)[:, None, None, None] for x in shape)
    largest = [int(x.max()) for x in shape]
    spin, row, column = torch.meshgrid(*(torch.arange(k, device=device) for k in largest), indexing="ij")
    inside = (row < n) & (column < m)
    place = first + (torch.minimum(spin, s - 1) * n + row) * m + column
    blocks = matrices.values[torch.where(inside, place, first)]
    return torch.where(inside, blocks, torch.zeros_like(blocks))


class ResidentBatches:
    """The batches of an epoch, made on the device one after the other."""

    def __init__(self, samples: ResidentSamples, batches: SharedBatches) -> None:
        self.samples, self.batches = samples, batches

    def __iter__(self) -> Iterator[TrainingBatch]:
        for chosen in self.batches:
            yield self.samples.batch(chosen)

    def __len__(self) -> int:
        return len(self.batches)
