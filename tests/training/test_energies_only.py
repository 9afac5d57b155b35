"""Energies and forces are learnt without H0 and without Hamiltonians in the labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from helm_ase.checkpoint import load_model
from helm_ase.dataset.batch import collate
from helm_ase.dataset.dataset import MoleculeDataset, open_dataset
from helm_ase.errors import SettingError
from helm_ase.evaluation.assessment import AssessmentSettings, assess
from helm_ase.evaluation.selection import select
from helm_ase.labels.formats import open_labels
from helm_ase.qc.level import Baseline
from helm_ase.training.losses import LossWeights
from helm_ase.training.run import train
from shared.sample_labels import TINY, write_labels
from shared.small_recipes import recipe, stage

ENERGIES = LossWeights(energy=1.0, forces=1.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same molecules with and without Hamiltonians."""
    folder = tmp_path_factory.mktemp("energies")
    write_labels(folder / "all.h5")
    frames = []
    for label in open_labels(folder / "all.h5", level=TINY):
        atoms = Atoms(label.numbers, label.positions, info={"split": label.split})
        atoms.calc = SinglePointCalculator(atoms, energy=label.energy, forces=label.forces)
        frames.append(atoms)
    write(folder / "energies.xyz", frames, format="extxyz")
    return folder


@pytest.fixture
def no_h0(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("H0 was computed")

    monkeypatch.setattr("helm_ase.dataset.derived.baseline_of_spins", refuse)


@pytest.mark.scf
@pytest.mark.usefixtures("no_h0")
def test_a_run_that_learns_energies_is_the_same_with_and_without_hamiltonians(files, tmp_path):
    found = []
    for name in ("all.h5", "energies.xyz"):
        wanted = recipe(files / name, tmp_path / name, stage("direct", 2, weights=ENERGIES))
        found.append(load_model(train(wanted)))
    assert found[0].metrics == pytest.approx(found[1].metrics, rel=1e-4)
    for checkpoint in found:
        assert checkpoint.baseline.name == "none"
        assert checkpoint.predicts == {"energy", "forces"}


@pytest.mark.scf
def test_hamiltonians_of_some_and_energies_of_others_are_learnt_together(files, tmp_path):
    with_h = load_model(train(recipe(files / "all.h5", tmp_path / "first", stage(epochs=1))))
    both = recipe(files / "all.h5", tmp_path / "both", stage(epochs=1))
    moved = [replace_positions(a) for a in open_labels(files / "energies.xyz")]
    write(files / "others.xyz", moved, format="extxyz")
    data = replace(both.data, train=(str(files / "all.h5"), str(files / "others.xyz")))
    found = load_model(train(replace(both, data=data)))
    assert found.training["train_structures"] == 2 * with_h.training["train_structures"]
    assert np.isfinite(found.metrics["hamiltonian"])
    assert np.isfinite(found.metrics["energy"])


def replace_positions(label):
    atoms = Atoms(label.numbers, label.positions[:, [1, 2, 0]], info={"split": label.split})
    forces = label.forces[:, [1, 2, 0]]
    atoms.calc = SinglePointCalculator(atoms, energy=label.energy, forces=forces)
    return atoms


@pytest.mark.scf
def test_hamiltonians_that_no_label_has_cannot_be_learnt(files, tmp_path):
    with pytest.raises(SettingError, match="no training label has a Hamiltonian: set the weight"):
        train(recipe(files / "energies.xyz", tmp_path / "run", stage(epochs=1)))


@pytest.mark.scf
def test_samples_hold_what_was_asked_for(files):
    options = {"level": TINY, "baseline": Baseline("sap")}
    full, light, without = (
        open_dataset(files / name, cache=files, **options, **more)
        for name, more in (("all.h5", {}), ("all.h5", {"matrices": False}), ("energies.xyz", {}))
    )
    assert isinstance(light, MoleculeDataset)
    for one, two, three in zip(full, light, without, strict=True):
        assert one.energy == two.energy == pytest.approx(three.energy)
        assert two.overlap.numel() == 0
        torch.testing.assert_close(one.overlap, three.overlap, atol=1e-7, rtol=0)
        assert one.has_matrix
        assert not two.has_matrix
        assert not three.has_matrix
        assert two.energy_only
        assert three.energy_only
    mixed = collate([full[0], without[1]])
    assert mixed.matrix_known is not None
    assert mixed.matrix_known.tolist() == [True, False]
    assert collate(light[:3]).correction.shape[-1] == 0


@pytest.mark.scf
def test_a_model_is_judged_by_energies_and_forces_alone(files, tmp_path):
    checkpoint = load_model(train(recipe(files / "all.h5", tmp_path / "run", stage(epochs=1))))
    judged = []
    for name in ("all.h5", "energies.xyz"):
        with open_labels(files / name) as labels:
            labels.level = TINY
            selection = select(checkpoint, labels, "val", cache=tmp_path)
            judged.append(assess(checkpoint, selection, AssessmentSettings(energy_from_h=False)).molecules)
    for one, two in zip(*judged, strict=True):
        assert two.energy == pytest.approx(one.energy, abs=1e-4)
        assert two.forces == pytest.approx(one.forces, abs=1e-4)
        assert np.isnan([two.homo, two.model.errors.hamiltonian]).all()
        assert two.functions == 0
