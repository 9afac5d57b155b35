"""Embeddings of atoms in the last layer of the backbone, as numbers that do not depend on orientation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.labels.source import LabelSource
from helm_ase.nn import HELM
from helm_ase.representation import LabelledMolecule
from helm_ase.representation.connectivity import bonded
from helm_ase.representation.graph import AtomicGraph
from helm_ase.system.atomic_write import whole_file
from helm_ase.system.terminal import progress_bar


@dataclass(frozen=True)
class Embeddings:
    """Atoms of many molecules."""

    values: NDArray[np.float32]
    """Norm over m of every channel for each degree l, and for l = 0 the number itself, (N, lmax + 1, C)."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    molecule: NDArray[np.int64]
    """Index of the molecule in the label file, (N,)."""
    environment: NDArray[np.str_]
    """Element and those bonded to it, ``C(CHHO)``; (N,)."""

    @property
    def degrees(self) -> range:
        """l of the second axis of :attr:`values`."""
        return range(self.values.shape[1])


def embed_both(
    model: HELM, source: LabelSource, indices: NDArray[np.int64], seed: int = 42, progress: bool = False
) -> tuple[Embeddings, Embeddings]:
    """Embeddings by a model and by the same network with random weights, molecules read once.

    Parameters
    ----------
    model
        In evaluation mode, on any device.
    source, indices
        Label file, and which of its molecules; only geometry and state are looked at.
    seed
        Seed of the random weights.
    progress
        Show a bar.
    """
    models = model, randomised(model, seed)
    rows: tuple[list[NDArray[np.float32]], ...] = ([], [])
    numbers, molecule, environment = [], [], []
    for k in progress_bar(indices.tolist(), desc="embeddings", unit="mol", disable=not progress, leave=False):
        label = source[k]
        for embeddings, network in zip(rows, models, strict=True):
            embeddings.append(embed(network, label))
        numbers.append(label.numbers)
        molecule.append(np.full(len(label.numbers), k))
        environment += environments(label)
    columns = np.concatenate(numbers), np.concatenate(molecule), np.array(environment)
    trained, random = (Embeddings(np.concatenate(embeddings), *columns) for embeddings in rows)
    return trained, random


def embed(model: HELM, label: LabelledMolecule) -> NDArray[np.float32]:
    """Embeddings of the atoms of one molecule, which no rotation changes, (N, lmax + 1, C)."""
    graph = AtomicGraph.from_arrays(
        label.numbers, label.positions, model.settings.backbone.cutoff, label.charge, label.multiplicity
    )
    with torch.inference_mode(False), torch.no_grad():
        nodes = model.embed_nodes(graph.to(model.energy_reference.device))
    return invariants(nodes).cpu().numpy().astype(np.float32)


def invariants(nodes: Tensor) -> Tensor:
    """Norms over m of every degree and channel, l = 0 itself; (N, L, C) → (N, lmax + 1, C).

    The unnatural channels of l = 0 change sign in a mirror, and so do these numbers.
    """
    lmax = int(nodes.shape[1] ** 0.5) - 1
    parts = nodes.split([2 * l + 1 for l in range(lmax + 1)], dim=1)
    return torch.stack([parts[0][:, 0], *(torch.linalg.vector_norm(x, dim=1) for x in parts[1:])], dim=1)


def randomised(model: HELM, seed: int) -> HELM:
    """The same network as it is before training, on the same device and in the same precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = HELM(model.basis, model.settings)
    return fresh.cast(model.dtype).to(model.energy_reference.device).eval().requires_grad_(False)


def environments(label: LabelledMolecule) -> list[str]:
    """Element of every atom with the elements bonded to it, as ``C(CHHO)``."""
    symbols = [chemical_symbols[z] for z in label.numbers.tolist()]
    bonds = bonded(label.numbers, label.positions)
    neighbours = ["".join(sorted(symbols[j] for j in np.flatnonzero(row))) for row in bonds]
    return [f"{own}({others})" for own, others in zip(symbols, neighbours, strict=True)]


def save(
    path: Path, embeddings: Embeddings, projections: Mapping[str, NDArray[np.float32]] | None = None
) -> None:
    """Write an ``.npz`` that appears complete or not at all.

    Parameters
    ----------
    path
        File.
    embeddings
        Saved as ``embeddings``, ``atomic_numbers``, ``molecule``, ``environment`` and ``l``.
    projections
        Two coordinates for every atom by name, saved under ``umap_`` and that name.
    """
    arrays: dict[str, Any] = {
        "embeddings": embeddings.values,
        "atomic_numbers": embeddings.numbers,
        "molecule": embeddings.molecule,
        "environment": embeddings.environment,
        "l": np.array(embeddings.degrees),
    }
    arrays |= {f"umap_{name}": values for name, values in (projections or {}).items()}
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
