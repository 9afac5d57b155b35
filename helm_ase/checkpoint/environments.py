"""Environments of atoms in crystals, by which models that predict no energies tell what they know."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.checkpoint.format import Checkpoint
from helm_ase.checkpoint.uncertainty import UNITS, EnergyUncertainty
from helm_ase.errors import PredictionError
from helm_ase.nn import HELM
from helm_ase.representation.bond_kinds import AtomKind, atom_kinds
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


def distances_by_kind(
    record: EnergyUncertainty, model: HELM,
    numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice,
) -> dict[AtomKind, float]:  # fmt: skip
    """Largest distance from training of each kind of atom in a crystal; parameters as for
    :func:`atomic_features`, ``record`` being that of the model.

    Raises
    ------
    PredictionError
        If it is not finite.
    """
    distances = record.distances(atomic_features(model, numbers, positions, lattice)).tolist()
    if not all(map(math.isfinite, distances)):
        raise PredictionError("the network returned features of atoms that are not finite for this crystal")
    found: dict[AtomKind, float] = {}
    for kind, distance in zip(atom_kinds(numbers, positions, lattice), distances, strict=True):
        found[kind] = max(distance, found.get(kind, 0.0))
    return found


def remoteness(
    checkpoint: Checkpoint, numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> float | None:
    """Largest distance of a crystal's atoms from those of training, in units of the largest of atoms of their
    kind in validation; None if the model has no record of environments.

    One strange atom among many ordinary ones counts.  Kinds have units of their own because some vary more
    than others: carbon of diamond less than that of polyacetylene.

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
    if record is None or UNITS not in record.facts:
        return None
    found = distances_by_kind(record, checkpoint.model, numbers, positions, lattice)
    units = {AtomKind(*kind): unit for *kind, unit in record.facts[UNITS]}
    return in_units(found, units)


def in_units(found: Mapping[AtomKind, float], units: Mapping[AtomKind, float]) -> float:
    """Largest of some distances in the units of their kinds, of kinds without one in the largest unit."""
    largest = max(units.values())
    return max(distance / units.get(kind, largest) for kind, distance in found.items())
