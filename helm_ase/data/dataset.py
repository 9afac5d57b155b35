"""Labelled molecules → training samples: graph, ΔH target, trust filter, reference orbitals."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch
from tqdm import tqdm

from helm_ase.data.labelled import LabelledMolecule, read_labelled
from helm_ase.qc.baseline import baseline_hamiltonian
from helm_ase.qc.level import Baseline, LevelOfTheory
from helm_ase.qc.molecule import basis_of, build_mole, overlap
from helm_ase.representation import AOBasis, AOMatrix, AtomicGraph, batch_graphs


@dataclass(frozen=True)
class Sample:
    """One molecule, ready for training; matrices in canonical AO order, float32."""

    name: str
    graph: AtomicGraph
    energy: float
    """eV."""
    forces: Tensor
    """eV/Å, (N, 3)."""
    correction: Tensor
    """H − H0, Hartree, (A, A)."""
    overlap: Tensor
    """S, (A, A), float64."""
    baseline: Tensor
    """H0, Hartree, (A, A), float64."""
    orbitals: Tensor
    """Reference orbitals: occupied and the lowest virtual ones, (A, M)."""
    orbital_energies: Tensor
    """All reference orbital energies, Hartree, (A,), float64."""
    n_occupied: int
    """Doubly occupied orbitals."""


@dataclass(frozen=True)
class TrainingBatch:
    """Samples padded to the largest matrix."""

    graph: Batch
    energy: Tensor
    """(B,) eV, float64."""
    forces: Tensor
    """(N, 3) eV/Å."""
    correction: Tensor
    """(B, A, A) Hartree."""
    trust: Tensor | None
    """(B, A, A) trust filter W, or None."""
    orbitals: Tensor
    """(B, A, M); columns beyond a molecule's own are zero."""
    orbital_count: Tensor
    """(B,) number of orbitals that are not padding."""
    ao_count: Tensor
    """(B,) number of functions of each molecule."""


def load_samples(
    path: str | Path,
    split: str,
    level: LevelOfTheory,
    baseline: Baseline,
    cutoff: float,
    cache: str | Path,
    virtuals: int = 6,
    limit: int | None = None,
) -> list[Sample]:
    """Read one split and prepare every molecule; H0 is computed once and kept in ``cache``.

    Parameters
    ----------
    path
        File of labels.
    split
        ``train`` or ``val``.
    level, baseline
        Level of theory of the labels, and the H0 to subtract.
    cutoff
        Largest pair distance in Å.
    cache
        HDF5 file for H0, keyed by baseline and geometry; created if absent.
    virtuals
        Number of reference virtual orbitals kept for the spectral loss.
    limit
        Stop after so many molecules.
    """
    samples = []
    Path(cache).parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(cache, "a") as store:
        for k, label in enumerate(tqdm(read_labelled(path, split), desc=f"{split} set", unit="mol")):
            if limit is not None and k >= limit:
                break
            samples.append(prepare_sample(label, level, baseline, cutoff, store, virtuals))
    return samples


def prepare_sample(
    label: LabelledMolecule,
    level: LevelOfTheory,
    baseline: Baseline,
    cutoff: float,
    store: h5py.File,
    virtuals: int,
) -> Sample:
    """Turn one label into a sample."""
    mole = build_mole(label.numbers, label.positions, level.basis)
    basis = basis_of(mole)
    h = AOMatrix(label.hamiltonian, label.numbers, basis, "pyscf").reorder("e3nn").values
    s = overlap(mole, basis).values
    h0 = _cached_baseline(mole, basis, level, baseline, store)
    n_occupied = basis.electrons(label.numbers) // 2
    energies, orbitals = reference_orbitals(h, s)
    return Sample(
        name=label.name,
        graph=AtomicGraph.from_arrays(label.numbers, label.positions, cutoff),
        energy=label.energy,
        forces=torch.from_numpy(label.forces).float(),
        correction=torch.from_numpy(h - h0).float(),
        overlap=torch.from_numpy(s),
        baseline=torch.from_numpy(h0),
        orbitals=torch.from_numpy(orbitals[:, : n_occupied + virtuals]).float(),
        orbital_energies=torch.from_numpy(energies),
        n_occupied=n_occupied,
    )


def reference_orbitals(
    hamiltonian: NDArray[np.float64], overlap: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve H C = S C ε of a converged label; energies (A,), orbitals (A, A)."""
    import scipy.linalg

    energies, orbitals = scipy.linalg.eigh(hamiltonian, overlap)
    return energies, orbitals


def _cached_baseline(
    mole: object, basis: AOBasis, level: LevelOfTheory, baseline: Baseline, store: h5py.File
) -> NDArray[np.float64]:
    key = _baseline_key(mole, level, baseline)
    if key not in store:
        values = baseline_hamiltonian(mole, basis, level, baseline).values
        store.create_dataset(key, data=values[np.tril_indices(len(values))])
        store.flush()
    triangle = np.asarray(store[key])
    size = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    values = np.zeros((size, size))
    values[np.tril_indices(size)] = triangle
    return values + np.tril(values, -1).T


def _baseline_key(mole: object, level: LevelOfTheory, baseline: Baseline) -> str:
    what = f"{baseline} {level.functional} {level.basis} {level.density_fitting}"
    geometry = np.round(mole.atom_coords(), 8).tobytes() + mole.atom_charges().tobytes()  # type: ignore[attr-defined]
    return hashlib.sha256(what.encode() + geometry).hexdigest()


def collate(samples: Sequence[Sample], trust: Sequence[Tensor] | None = None) -> TrainingBatch:
    """Pad and stack samples; ``trust`` holds the filter of each sample."""
    return TrainingBatch(
        graph=batch_graphs([s.graph for s in samples]),
        energy=torch.tensor([s.energy for s in samples], dtype=torch.float64),
        forces=torch.cat([s.forces for s in samples]),
        correction=_pad([s.correction for s in samples]),
        trust=None if trust is None else _pad(trust),
        orbitals=_pad([s.orbitals for s in samples]),
        orbital_count=torch.tensor([s.orbitals.shape[1] for s in samples]),
        ao_count=torch.tensor([len(s.correction) for s in samples]),
    )


def _pad(matrices: Sequence[Tensor]) -> Tensor:
    rows, cols = (max(m.shape[k] for m in matrices) for k in (0, 1))
    padded = matrices[0].new_zeros(len(matrices), rows, cols)
    for target, matrix in zip(padded, matrices, strict=True):
        target[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded


def balanced_batches(
    samples: Sequence[Sample], max_pairs: int, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Shuffle, sort roughly by size, and cut into batches of at most ``max_pairs`` pairs each.

    A batch of molecules of similar size wastes little padding; the batches come in random order.
    """
    pairs = np.array([s.graph.pair_index.shape[1] + s.graph.num_nodes for s in samples])
    order = np.argsort(pairs * generator.uniform(0.7, 1.4, len(pairs)))
    batches: list[list[int]] = [[]]
    load = 0
    for k in order:
        if batches[-1] and load + pairs[k] > max_pairs:
            batches.append([])
            load = 0
        batches[-1].append(int(k))
        load += int(pairs[k])
    for b in generator.permutation(len(batches)):
        yield batches[b]
