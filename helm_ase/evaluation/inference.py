"""Predictions of a network for samples, in batches of bounded size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.dataset.batch import collate
from helm_ase.dataset.sample import Sample
from helm_ase.nn import HELM, applied_correction
from helm_ase.representation.graph import bounded_batches

MAX_LOAD = 1500
"""Largest number of pairs and atoms in one batch; the network needs some kilobytes for a pair."""


@dataclass(frozen=True)
class Answer:
    """Prediction of the network for one sample."""

    sample: Sample
    correction: NDArray[np.float64] | None
    """ΔH as predictions use it (:func:`~helm_ase.nn.applied_correction`), Hartree, canonical AO order,
    (s, A, A); None if it was not asked for, or the sample has nothing to compare it with."""
    energy: float
    """eV; NaN if it was not asked for."""
    forces: NDArray[np.float64] | None
    """eV/Å, (N, 3); None if they were not asked for."""
    features: NDArray[np.float64] | None = None
    """Last hidden layer of the energy head, mean over atoms, (F,); None without energy."""


def answers(
    model: HELM,
    samples: Sequence[Sample],
    energy: bool = True,
    hamiltonian: bool = True,
    max_load: int = MAX_LOAD,
) -> Iterator[Answer]:
    """Answers for every sample, in their order; samples are read a batch at a time.

    Parameters
    ----------
    model
        In evaluation mode, on any device.
    samples
        A list, or a :class:`~helm_ase.dataset.dataset.MoleculeDataset`.
    energy
        Energies and forces.
    hamiltonian
        Matrices of samples that have one to compare with.
    max_load
        Pairs and atoms of a batch; a larger molecule makes a batch of its own.
    """
    for batch in bounded_batches((samples[k] for k in range(len(samples))), max_load):
        yield from _answer(model, batch, energy, hamiltonian)


def _answer(model: HELM, batch: Sequence[Sample], energy: bool, hamiltonian: bool) -> Iterator[Answer]:
    hamiltonian &= not all(sample.energy_only for sample in batch)
    with torch.inference_mode(False), torch.no_grad():  # forces switch autograd on by themselves
        graph = collate(batch).graph.to(model.energy_reference.device)
        out = model(graph, energy=energy, forces=energy, hamiltonian=hamiltonian)
    energies = out.energy.tolist() if out.energy is not None else [float("nan")] * len(batch)
    forces = None if out.forces is None else out.forces.detach().cpu().numpy().astype(np.float64)
    first = 0
    for k, sample in enumerate(batch):
        n = len(sample.graph.z)
        correction = None
        if out.correction is not None and not sample.energy_only:
            spins = len(sample.correction)
            numbers = sample.graph.z.cpu().numpy()
            output = out.correction[k]
            correction = applied_correction(model, output, sample.overlap, spins, numbers).numpy()
        own = None if forces is None else forces[first : first + n]
        features = None
        if out.energy_features is not None:
            features = out.energy_features[first : first + n].mean(0).cpu().double().numpy()
        yield Answer(sample, correction, energies[k], own, features)
        first += n
