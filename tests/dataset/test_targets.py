"""What data sets give to losses of observables, and that nobody else pays for it."""

import numpy as np
import pytest
import torch

from helm_ase.dataset.batch import collate
from helm_ase.dataset.dataset import open_dataset
from helm_ase.qc.level import Baseline
from shared.sample_labels import TINY, write_labels

pytestmark = pytest.mark.scf


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


def dataset(path, cache, **options):
    return open_dataset(path, "train", TINY, baseline=Baseline("sap"), cutoff=10.0, cache=cache, **options)


def test_a_plain_data_set_computes_no_integrals_of_the_position(labels, tmp_path, monkeypatch):
    monkeypatch.setattr("helm_ase.dataset.position.dipole_integrals", None)
    monkeypatch.setattr("helm_ase.dataset.sample.make_targets", None)
    data = dataset(labels, tmp_path)
    assert data[0].targets is None
    assert collate([data[0]]).targets is None
    assert [p.name.split(".")[2].split("-")[0] for p in tmp_path.glob("*.cache")] == ["sap"]


def test_h0_is_taken_from_the_disk_when_observables_are_asked_for_later(labels, tmp_path, monkeypatch):
    plain = dataset(labels, tmp_path)
    before = list(tmp_path.glob("*.cache"))
    monkeypatch.setattr("helm_ase.dataset.derived.baseline_of_spins", None)
    full = dataset(labels, tmp_path, observables=True)
    assert torch.equal(plain[0].baseline, full[0].baseline)
    assert len(list(tmp_path.glob("*.cache"))) == len(before) + 1
    monkeypatch.setattr("helm_ase.dataset.position.dipole_integrals", None)
    again = dataset(labels, tmp_path, observables=True)
    for a, b in zip(full, again, strict=True):
        assert torch.equal(a.targets.position, b.targets.position)


def test_targets_belong_to_the_sample(labels, tmp_path):
    for sample in dataset(labels, tmp_path, observables=True):
        t, x = sample.targets, sample.targets.orthogonaliser
        identity = np.eye(x.shape[1])
        np.testing.assert_allclose((x.T @ t.overlap @ x).numpy(), identity, atol=1e-10)
        np.testing.assert_allclose(t.levels, sample.orbital_energies[:, : t.levels.shape[1]], atol=2e-5)
        assert float(t.populations.sum()) == pytest.approx(2 * sum(sample.electrons))
        homo = sample.electrons[0]
        assert float(t.gap) == pytest.approx(float(t.levels[0, homo] - t.levels[0, homo - 1]))
        assert (t.atom.diff() >= 0).all()
        assert t.atom.unique().tolist() == list(range(len(sample.graph.z)))
