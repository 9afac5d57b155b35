"""Environments of atoms in crystals, by which models that predict no energies tell what they know."""

from typing import NamedTuple

import numpy as np
import torch
from ase.data import covalent_radii
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.checkpoint.format import Checkpoint
from helm_ase.nn import HELM
from helm_ase.representation.connectivity import BOND_FACTOR
from helm_ase.representation.graph import AtomicGraph
from helm_ase.representation.lattice import Lattice
from helm_ase.system.torch_state import own_torch_state

BONDS = "bonds"
"""Key of the facts of a record that lists the kinds of bonds in training."""


class BondKind(NamedTuple):
    """Bond in a crystal by its ends, the smaller one first; zeros for the other end if there is no bond."""

    element: int
    neighbours: int
    """How many atoms it is bonded to."""
    other_element: int
    other_neighbours: int


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
    """
    record = checkpoint.uncertainty
    if record is None or "energy" in checkpoint.predicts:
        return None
    features = atomic_features(checkpoint.model, numbers, positions, lattice)
    return record.scale * float(record.distances(features).max())


def bond_kinds(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice
) -> frozenset[BondKind]:
    """Kinds of bonds in a crystal; parameters as for :func:`atomic_features`.

    Missing and added atoms show in them, also where distances in the space of features are small.
    """
    first, second = primitive_neighbor_list(
        "ij", lattice.pbc, lattice.complete, positions, BOND_FACTOR * covalent_radii[numbers]
    )
    neighbours = np.bincount(first, minlength=len(numbers))
    ends = list(zip(numbers.tolist(), neighbours.tolist(), strict=True))
    bonds = {(*ends[i], *ends[j]) for i, j in zip(first.tolist(), second.tolist(), strict=True)}
    alone = {(z, 0, 0, 0) for z, n in ends if n == 0}
    return frozenset(BondKind(*x) for x in bonds | alone if x[:2] <= x[2:] or x in alone)
