"""From label files to samples and batches."""

import multiprocessing
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule

from helm_ase.dataset.batch import balanced_batches, collate, make_loader
from helm_ase.dataset.dataset import MoleculeDataset, open_dataset
from helm_ase.dataset.derived_cache import DerivedCache
from helm_ase.dataset.statistics import element_statistics
from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.record_log import RecordLog
from helm_ase.labels.writer import LabelWriter
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.level import Baseline
from helm_ase.representation.structure import Structure
from shared.sample_labels import TINY, write_labels

pytestmark = pytest.mark.scf
SAP = Baseline("sap")


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


@pytest.fixture(scope="module")
def train(labels, tmp_path_factory):
    return dataset(labels, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Closed and open shells, neutral and charged."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.h5"
    states = {"H2O": (0, 1), "OH": (0, 2), "O2": (0, 3), "H3O": (1, 1), "H": (0, 2)}
    with LabelWriter(path, TINY) as writer:
        for name, (charge, multiplicity) in states.items():
            atoms = molecule("NH3" if name == "H3O" else name)
            numbers = np.where(atoms.numbers == 7, 8, atoms.numbers)
            structure = Structure(name, numbers, atoms.positions, charge, multiplicity)
            writer.add(label_structure(structure, LabelSettings(TINY)))
    return path


def dataset(path, cache, split="train", **options):
    return open_dataset(path, split, TINY, **({"baseline": SAP, "cutoff": 10.0, "cache": cache} | options))


def test_baseline_plus_correction_is_the_label_and_reference_orbitals_diagonalise_it(train):
    for sample in train:
        h = (sample.baseline + sample.correction[0].double()).numpy()
        c = sample.orbitals[0].double().numpy()
        levels = np.diag(c.T @ h @ c)
        np.testing.assert_allclose(levels, sample.orbital_energies[0, : len(levels)], atol=2e-5)
        assert sample.electrons == (int(sample.graph.z.sum()) // 2,)


def test_open_shells_have_two_matrices_and_their_own_orbitals(mixed):
    data = MoleculeDataset(open_labels(mixed), baseline=SAP)
    for sample in data:
        label = data.label([s.name for s in data].index(sample.name))
        assert len(sample.correction) == label.spin_channels == len(sample.electrons)
        for h, c, e, n in zip(
            sample.correction.double() + sample.baseline, sample.orbitals.double(), sample.orbital_energies,
            sample.electrons, strict=True,
        ):  # fmt: skip
            kept = int((c != 0).any(0).sum())
            assert kept == min(n + 6, len(h))
            np.testing.assert_allclose(np.diag(c.T @ h @ c)[:kept], e[:kept], atol=2e-5)
        assert label.multiplicity == 1 or sample.electrons[0] - sample.electrons[1] == label.multiplicity - 1


def test_a_batch_of_closed_and_open_shells_repeats_the_one_matrix(mixed):
    samples = list(MoleculeDataset(open_labels(mixed), baseline=SAP))
    batch = collate(samples)
    assert batch.correction.shape[1] == 2
    for k, sample in enumerate(samples):
        a = len(sample.overlap)
        for spin in (0, 1):
            expected = sample.correction[min(spin, len(sample.correction) - 1)]
            assert torch.equal(batch.correction[k, spin, :a, :a], expected)


def test_h0_is_computed_once_and_taken_from_the_disk_afterwards(labels, tmp_path, monkeypatch):
    first = list(dataset(labels, tmp_path))
    monkeypatch.setattr("helm_ase.dataset.derived.baseline_of_spins", None)
    second = list(dataset(labels, tmp_path))
    assert all(torch.equal(a.baseline, b.baseline) for a, b in zip(first, second, strict=True))
    with pytest.raises(TypeError):  # another baseline must not be served from the same cache
        dataset(labels, tmp_path, baseline=Baseline("minao", grid=(20, 110)))


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_fill_the_cache_like_one(labels, tmp_path, monkeypatch, processes):
    """What goes to them and comes back, in a thread; and in processes, where there is time."""
    if not processes:
        monkeypatch.setattr(
            "helm_ase.dataset.derived_cache.ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1)
        )
    one = dataset(labels, tmp_path / "one")
    two = MoleculeDataset(one.source, one.indices, SAP, 10.0, cache=tmp_path / "two").prepare(processes=2)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a.baseline, b.baseline, rtol=0, atol=1e-12)
        torch.testing.assert_close(a.orbital_energies, b.orbital_energies, rtol=0, atol=1e-10)


def test_a_cache_of_which_a_part_was_lost_is_completed(labels, tmp_path):
    whole = list(dataset(labels, tmp_path))
    (cache,) = tmp_path.glob("*.cache")
    os.truncate(cache, cache.stat().st_size * 2 // 3)  # as a kill in the middle of a record leaves it
    for a, b in zip(whole, dataset(labels, tmp_path), strict=True):
        assert torch.equal(a.baseline, b.baseline)


def test_orbitals_of_another_hamiltonian_are_not_served(labels, tmp_path, monkeypatch):
    data = dataset(labels, tmp_path, in_memory=False)
    before = data[0].orbital_energies
    read = type(data.source).read

    def shifted(source, index):
        label = read(source, index)
        object.__setattr__(label, "hamiltonian", label.hamiltonian + 0.1 * np.eye(len(label.hamiltonian)))
        return label

    monkeypatch.setattr(type(data.source), "read", shifted)
    assert (data[0].orbital_energies > before + 0.01).any()


def test_a_batch_pads_with_zeros_and_keeps_every_molecule(train):
    batch = collate(list(train))
    for k, sample in enumerate(train):
        n = len(sample.overlap)
        assert torch.equal(batch.correction[k, :, :n, :n], sample.correction)
        assert batch.correction[k].abs().sum() == pytest.approx(sample.correction.abs().sum())


def test_batches_hold_every_sample_once_within_the_limit(train):
    batches = list(balanced_batches(train.loads, 30, np.random.default_rng(0)))
    assert sorted(k for batch in batches for k in batch) == list(range(len(train)))
    assert all(train.loads[batch].sum() <= 30 or len(batch) == 1 for batch in batches)
    assert list(train.loads) == [s.graph.pair_index.shape[1] + s.graph.num_nodes for s in train]


def test_worker_processes_prepare_the_same_batches_and_targets(labels, tmp_path):
    data = dataset(labels, tmp_path, observables=True)
    batches = list(balanced_batches(data.loads, 40, np.random.default_rng(0)))
    here = list(make_loader(data, batches))
    there = list(make_loader(data, batches, workers=1))
    for a, b in zip(here, there, strict=True):
        assert len(a.targets) == len(a.correction)
        for mine, theirs in zip(a.targets, b.targets, strict=True):
            assert torch.equal(mine.polarizability, theirs.polarizability)
            assert torch.equal(mine.projection, theirs.projection)
        assert torch.equal(a.correction, b.correction)
        assert torch.equal(a.graph.pos, b.graph.pos)
        assert torch.equal(a.orbital_count, b.orbital_count)


@pytest.mark.slow  # workers of a loader show it, too
def test_a_dataset_travels_without_its_open_files(labels, tmp_path):
    data = dataset(labels, tmp_path)
    data[0]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (energy,) = pool.map(first_energy, [pickle.dumps(data)])
    assert energy == data[0].energy


def first_energy(pickled):
    return pickle.loads(pickled)[0].energy


def test_a_split_that_is_not_there_is_refused(labels, tmp_path):
    with pytest.raises(DatasetError, match="no molecules of split 'test'"):
        dataset(labels, tmp_path, split="test")


def test_labels_of_another_level_are_refused(mixed, tmp_path):
    from helm_ase.qc import LevelOfTheory

    with pytest.raises(DatasetError, match="holds labels of"):
        open_dataset(mixed, level=LevelOfTheory(), cache=tmp_path)


def test_statistics_are_those_of_the_set(train):
    found = element_statistics(train, (1, 6, 8, 9, 17))
    numbers = np.concatenate([s.graph.z.numpy() for s in train])
    assert found.atoms.tolist() == [(numbers == z).sum() for z in found.elements]
    assert found.atoms[-1] == 0
    assert found.reference_energies[-1] == 0
    assert found.pairs.sum() == sum(s.graph.pair_index.shape[1] for s in train)
    assert (np.tril(found.pairs, -1) == 0).all()
    forces = np.concatenate([s.forces.numpy() for s in train])
    for z, scale in zip(found.elements[:4], found.force_scale, strict=False):
        assert scale == pytest.approx(np.sqrt((forces[numbers == z] ** 2).mean()), rel=1e-5)
    counts = np.array([[(s.graph.z == z).sum() for z in found.elements] for s in train])
    rest = np.array([s.energy for s in train]) - counts @ found.reference_energies
    assert np.sqrt(((rest / counts.sum(1)) ** 2).mean()) == pytest.approx(found.energy_scale)


def test_labels_without_energies_have_statistics_too(train):
    bare = [replace(s, energy=float("nan"), forces=torch.full_like(s.forces, torch.nan)) for s in train]
    found = element_statistics(bare, (1, 6, 8, 9))
    assert found.molecules == len(train)
    assert np.isnan(found.energy_scale)
    assert np.isnan(found.force_scale).all()


def test_runs_that_share_a_cache_wait_for_each_other(labels, tmp_path):
    """The second one finds what the first has computed, and computes nothing."""
    data = dataset(labels, tmp_path)
    path, settings = data.derived.path, data.derived.settings
    records = path.read_bytes()
    path.write_bytes(b"")
    first = RecordLog(path, settings.title, writable=True).__enter__()

    def finish() -> None:
        time.sleep(1.5)
        path.write_bytes(records)  # in place: the lock stays on the file
        first.close()

    thread = threading.Thread(target=finish)
    thread.start()
    DerivedCache(path, settings).fill(data.source, data.indices.tolist())
    thread.join()
    assert path.read_bytes() == records
