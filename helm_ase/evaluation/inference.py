"""Predictions of a network for samples, in batches of bounded size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.dataset.batch import collate
from helm_ase.dataset.sample import Sample
from helm_ase.errors import SettingError
from helm_ase.nn import HELM, trust_correction

MAX_LOAD = 1500
"""Largest number of pairs and atoms in one batch; the network needs some kilobytes for a pair."""

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Answer:
    """Prediction of the network for one sample."""

    sample: Sample
    correction: NDArray[np.float64] | None
    """ΔH after the trust filter, Hartree, canonical AO order, (s, A, A); None if it was not asked for."""
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
        Matrices.
    max_load
        Pairs and atoms of a batch; a larger molecule makes a batch of its own.
    """
    for batch in _batches(samples, max_load):
        yield from _answer(model, batch, energy, hamiltonian)


def move(model: HELM, device: str | None = None, dtype: str = "float32") -> None:
    """Put a model where it is to compute, in the precision asked for.

    Parameters
    ----------
    model
        Changed in place.
    device
        ``cpu``, ``cuda``, …; None: a GPU if there is one.
    dtype
        ``float32`` or ``float64``.

    Raises
    ------
    SettingError
        If there is no such device or precision.
    """
    if dtype not in PRECISIONS:
        raise SettingError(f"dtype {dtype!r} is not one of {', '.join(PRECISIONS)}")
    try:
        model.cast(PRECISIONS[dtype]).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"device {device!r} cannot be used: {reason}; cpu always can") from error


def _batches(samples: Sequence[Sample], max_load: int) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    load = 0
    for k in range(len(samples)):
        sample = samples[k]
        if batch and load + sample.load > max_load:
            yield batch
            batch, load = [], 0
        batch.append(sample)
        load += sample.load
    if batch:
        yield batch


def _answer(model: HELM, batch: Sequence[Sample], energy: bool, hamiltonian: bool) -> Iterator[Answer]:
    with torch.inference_mode(False), torch.no_grad():  # forces switch autograd on by themselves
        graph = collate(batch).graph.to(model.energy_reference.device)
        out = model(graph, energy=energy, forces=energy, hamiltonian=hamiltonian)
    energies = out.energy.tolist() if out.energy is not None else [float("nan")] * len(batch)
    forces = None if out.forces is None else out.forces.detach().cpu().numpy().astype(np.float64)
    padded = None if out.correction is None else out.correction.double().cpu()
    first = 0
    for k, sample in enumerate(batch):
        n = len(sample.graph.z)
        correction = None if padded is None else _trusted(model, sample, padded[k])
        own = None if forces is None else forces[first : first + n]
        features = None if out.energy_features is None else out.energy_features[k].cpu().double().numpy()
        yield Answer(sample, correction, energies[k], own, features)
        first += n


def _trusted(model: HELM, sample: Sample, padded: torch.Tensor) -> NDArray[np.float64]:
    """Correction of one molecule without padding, with as many spins as its label has, filtered."""
    size, spins = len(sample.overlap), len(sample.correction)
    correction = padded[:spins, :size, :size].expand(spins, size, size)
    if (sides := model.settings.filter_of(sample.overlap)) is not None:
        correction = trust_correction(correction, sides)
    return np.asarray(correction.numpy())
