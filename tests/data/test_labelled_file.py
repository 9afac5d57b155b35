"""Reading labels: values, units, and damaged files."""

import h5py
import numpy as np
import pytest
import torch
from labels import TINY, write_labels

from helm_ase.data.dataset import balanced_batches, collate, load_samples
from helm_ase.data.labelled import read_labelled
from helm_ase.errors import DatasetError
from helm_ase.qc.level import Baseline
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

pytestmark = pytest.mark.scf


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    return path, write_labels(path)


def samples(path, split, cache, baseline="sap"):
    return load_samples(path, split, TINY, Baseline(baseline, grid=(20, 110)), 10.0, cache)


def test_a_label_comes_back_in_the_units_of_the_package(labels):
    path, records = labels
    for read, record in zip(read_labelled(path), records, strict=True):
        assert read.energy == pytest.approx(record["energy"] * HARTREE_IN_EV, abs=1e-9)
        np.testing.assert_allclose(
            read.forces, record["forces"] * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM, atol=1e-5
        )
        np.testing.assert_allclose(read.hamiltonian, record["hamiltonian"], atol=2e-6)
        assert (read.hamiltonian == read.hamiltonian.T).all()


def test_splits_are_those_of_the_file(labels):
    path, records = labels
    assert len(list(read_labelled(path, "val"))) == sum(r["split"] == "val" for r in records) == 3


def test_baseline_plus_correction_is_the_label_and_reference_orbitals_diagonalise_it(labels, tmp_path):
    path, _ = labels
    for sample in samples(path, "train", tmp_path / "h0.h5"):
        h = (sample.baseline + sample.correction.double()).numpy()
        c = sample.orbitals.double().numpy()
        levels = np.diag(c.T @ h @ c)
        np.testing.assert_allclose(levels, sample.orbital_energies[: len(levels)], atol=2e-5)
        assert sample.n_occupied == int(sample.graph.z.sum()) // 2


def test_the_second_reading_takes_the_baseline_from_the_cache(labels, tmp_path, monkeypatch):
    path, _ = labels
    first = samples(path, "train", tmp_path / "h0.h5")
    monkeypatch.setattr("helm_ase.data.dataset.baseline_hamiltonian", None)
    second = samples(path, "train", tmp_path / "h0.h5")
    assert all(torch.equal(a.baseline, b.baseline) for a, b in zip(first, second, strict=True))
    with pytest.raises(TypeError):  # another baseline must not be served from the same cache
        samples(path, "train", tmp_path / "h0.h5", baseline="minao")


def test_a_batch_pads_with_zeros_and_keeps_every_molecule(labels, tmp_path):
    path, _ = labels
    train = samples(path, "train", tmp_path / "h0.h5")
    batch = collate(train)
    for k, sample in enumerate(train):
        n = len(sample.correction)
        assert torch.equal(batch.correction[k, :n, :n], sample.correction)
        assert batch.correction[k].abs().sum() == pytest.approx(sample.correction.abs().sum())


def test_batches_hold_every_sample_once_within_the_limit(labels, tmp_path):
    path, _ = labels
    train = samples(path, "train", tmp_path / "h0.h5")
    batches = list(balanced_batches(train, 30, np.random.default_rng(0)))
    assert sorted(k for batch in batches for k in batch) == list(range(len(train)))
    size = [s.graph.pair_index.shape[1] + s.graph.num_nodes for s in train]
    assert all(sum(size[k] for k in batch) <= 30 or len(batch) == 1 for batch in batches)


def test_a_damaged_entry_is_named_with_its_file(labels, tmp_path):
    path, _ = labels
    broken = tmp_path / "broken.h5"
    broken.write_bytes(path.read_bytes())
    with h5py.File(broken, "a") as file:
        del file["000003/hamiltonian_tril"]
        file["000003/hamiltonian_tril"] = np.zeros(5)
    with pytest.raises(DatasetError, match=r"broken\.h5, entry 000003"):
        list(read_labelled(broken))


@pytest.mark.parametrize("content", [b"", b"not an HDF5 file", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path, content):
    path = tmp_path / "junk.h5"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"junk\.h5"):
        list(read_labelled(path))
