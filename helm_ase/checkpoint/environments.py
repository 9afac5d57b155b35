"""Environments of atoms in crystals, by which models that predict no energies tell what they know."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.checkpoint.format import Checkpoint
from helm_ase.errors import PredictionError
from helm_ase.nn import HELM
from helm_ase.representation.graph import AtomicGraph
from helm_ase.representation.lattice import Lattice
from helm_ase.system.torch_state import own_torch_state


def atomic_features(
    model: HELM, numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> Tensor:
    """Features of the atoms of a crystal, in which its environments differ, (N, F), float64.

    They are those of the last hidden layer of the energy head, which sees the embeddings of an atom and of
    its neighbours, also where no energy was learnt: then it maps these at random, but always in one way.

    Parameters
    ----------
    model
        In evaluation mode.
    numbers, positions, lattice
        Atomic numbers, positions (Å) and lattice.
    """
    graph = AtomicGraph.from_arrays(numbers.astype(np.int64), positions, model.cutoff, lattice=lattice)
    with own_torch_state(model.energy_reference.device), torch.inference_mode(False), torch.no_grad():
        features = model(graph.to(model.energy_reference.device), energy=True).energy_features
    assert features is not None
    found: Tensor = features.cpu().double()
    return found


def remoteness(
    checkpoint: Checkpoint, numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> float | None:
    """Largest distance of a crystal's atoms from those of training, in units of the largest in validation.

    One strange atom among many ordinary ones counts.  None if the model has no record of environments.

    Parameters
    ----------
    checkpoint
        The model.
    numbers, positions, lattice
        As for :func:`atomic_features`.

    Raises
    ------
    PredictionError
        If it is not finite.
    """
    record = checkpoint.uncertainty
    if record is None or "energy" in checkpoint.predicts:
        return None
    features = atomic_features(checkpoint.model, numbers, positions, lattice)
    far = record.scale * float(record.distances(features).max())
    if not math.isfinite(far):
        raise PredictionError("the network returned features of atoms that are not finite for this crystal")
    return far
