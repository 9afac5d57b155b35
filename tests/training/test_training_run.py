"""Training from labels to a checkpoint that the calculator loads."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from ase.build import molecule

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.checkpoint import read_checkpoint
from helm_ase.checkpoint.publication import publish
from helm_ase.errors import (
    BasisError,
    CheckpointError,
    DatasetError,
    ElementError,
    SettingError,
    UntrainedError,
)
from helm_ase.evaluation.errors import evaluate, matrix_errors, summarise
from helm_ase.labels.formats import open_labels
from helm_ase.labels.writer import LabelWriter
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.representation.structure import Structure
from helm_ase.training.batches import SharedBatches
from helm_ase.training.curves import read_log
from helm_ase.training.initial_model import check_baseline, initial_model, open_start
from helm_ase.training.losses import LossWeights, loss_terms, term_value
from helm_ase.training.recipe import DataSettings, OptimiserSettings
from helm_ase.training.run import train
from helm_ase.training.samples import draw, open_samples
from shared.sample_labels import TINY, write_labels
from shared.small_recipes import SETTINGS, recipe, stage

pytestmark = [
    pytest.mark.scf,
    pytest.mark.filterwarnings("ignore:.*GPU available.*"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


def samples_of(made, validation=False):
    return open_samples(made.data, validation, 8.0, made.folder)[0]


def model_of(made, samples):
    return initial_model(made, open_start(made), samples, TINY)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Hamiltonians first, then everything."""
    stages = (stage("hamiltonian", 12, validate_every=3), stage("joint", 18, validate_every=3))
    made = recipe(data, tmp_path_factory.mktemp("run"), *stages, name="tiny")
    return made, train(made)


def test_training_beats_the_baseline(trained):
    made, path = trained
    found = read_checkpoint(path)
    baseline = summarise([matrix_errors(s, np.zeros(s.correction.shape)) for s in samples_of(made, True)])
    assert found.metrics["hamiltonian"] < 0.3 * baseline["hamiltonian"]
    assert found.metrics["homo"] < baseline["homo"]
    assert found.training["train_structures"] == 7
    assert found.training["recipe"]["stages"][1]["scheme"] == "joint"
    assert found.predicts == {"energy", "forces", "hamiltonian"}
    again = summarise(evaluate(found.model, samples_of(made, True)))
    assert again["hamiltonian"] == pytest.approx(found.metrics["hamiltonian"], rel=1e-4)
    assert again["forces"] == pytest.approx(found.metrics["forces"], rel=1e-4)


def test_the_calculator_takes_what_training_writes(trained):
    _, path = trained
    water = molecule("H2O")
    water.calc = HELMCalculator(str(path))
    assert np.isfinite(water.get_forces()).all()
    assert water.calc.get_hamiltonian().shape == (7, 7)
    with pytest.raises(ElementError, match="N"):
        molecule("NH3").calc = water.calc


def test_every_epoch_takes_every_batch(data, tmp_path, monkeypatch):
    """Batches are cut anew in each epoch, and their number is not always the same."""
    plain, counts = SharedBatches.whole, [2, 4, 3, 5]
    monkeypatch.setattr(
        SharedBatches,
        "whole",
        lambda self: plain(self) if self.seed is None else plain(self)[: counts[self.epoch]],
    )
    train(recipe(data, tmp_path, stage("direct", 4, batch_load=12, validate_every=3)))
    rows = read_log(tmp_path / "0")
    assert [row["step"] for row in rows] == list(np.cumsum(counts))
    assert ["val_loss" in row for row in rows] == [False, False, True, True]  # the last one always


def test_a_run_leaves_curves_logs_and_its_recipe(trained):
    folder = trained[1].parent
    names = {p.name for p in folder.iterdir()}
    assert {"recipe.yaml", "curves.png", "report.html", "metrics-1.csv", "0", "1"} <= names
    rows = read_log(folder / "1")
    assert [row["epoch"] for row in rows] == list(range(18))
    assert {"train_loss", "val_loss", "val_hamiltonian", "val_forces", "rate", "minutes"} <= set(rows[-1])
    page = (folder / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert not list(folder.rglob("*.partial"))


def test_a_finished_run_is_not_run_again_and_another_recipe_is_refused(trained):
    made, path = trained
    before = read_log(path.parent / "1")
    assert train(made) == path
    assert read_log(path.parent / "1") == before
    with pytest.raises(SettingError, match="seed is 0 there and 1 here"):
        train(replace(made, seed=1))


def test_a_checkpoint_is_published_under_a_name_once(trained, tmp_path):
    publish(trained[1], tmp_path, "helm-tiny", "a test")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["default"] == "helm-tiny"
    assert read_checkpoint(tmp_path / "helm-tiny.safetensors").name == "helm-tiny"
    with pytest.raises(CheckpointError, match="not used twice"):
        publish(trained[1], tmp_path, "helm-tiny")


def test_a_start_brings_its_weights_and_renewed_heads_do_not(trained, data, tmp_path):
    made = recipe(data, tmp_path, stage("finetune"), start=str(trained[1]), model=None, renew=("energy",))
    start = open_start(made)
    model = model_of(made, samples_of(made))
    for key, value in start.model.state_dict().items():
        same = torch.equal(model.state_dict()[key], value)
        assert same or key.startswith("energy_head.")
    assert not torch.equal(model.energy_head.mix.weight, start.model.energy_head.mix.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": replace(SETTINGS, energy_hidden=8)}, "not that of checkpoint"),
        ({"elements": (1, 6, 7)}, "leave it out"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(trained, data, tmp_path, change, message):
    made = recipe(data, tmp_path, start=str(trained[1]), **({"model": None} | change))
    with pytest.raises(SettingError, match=message):
        model_of(made, samples_of(made))


def test_a_start_of_another_level_or_baseline_is_refused(trained, data, tmp_path):
    made = recipe(data, tmp_path, start=str(trained[1]), model=None)
    samples = samples_of(made)
    with pytest.raises(SettingError, match="functional: 'pbe' and 'b3lyp'"):
        initial_model(made, open_start(made), samples, replace(TINY, functional="b3lyp"))
    other = replace(made, data=replace(made.data, baseline=replace(made.data.baseline, name="none")))
    with pytest.raises(SettingError, match="baseline"):
        check_baseline(other, open_start(other))


def test_a_moving_backbone_spoils_the_heads_that_do_not_move(data, tmp_path):
    path = train(recipe(data, tmp_path, stage("hamiltonian", 1), stage("finetune", 1)))
    assert read_checkpoint(tmp_path / "0" / "best.safetensors").predicts == {"hamiltonian"}
    assert read_checkpoint(path).predicts == {"energy", "forces"}


def test_labels_that_do_not_fit_each_other_are_refused_before_the_first_step(data, tmp_path):
    made = recipe(data, tmp_path / "a")
    with LabelWriter(tmp_path / "other.h5", replace(TINY, functional="b3lyp")) as writer:
        for x in open_labels(data):
            writer.add(x)
    other = replace(made.data, validation=(str(tmp_path / "other.h5"),))
    with pytest.raises(DatasetError, match=r"another level.*functional"):
        train(replace(made, data=other))
    with pytest.raises(SettingError, match="7 geometries are in the training and in the validation set"):
        train(replace(made, folder=str(tmp_path / "b"), data=replace(made.data, validation_split="train")))
    with LabelWriter(tmp_path / "bare.h5", TINY) as writer:
        for x in open_labels(data):
            writer.add(replace(x, forces=None))
    bare = replace(made.data, train=(str(tmp_path / "bare.h5"),))
    with pytest.raises(SettingError, match="no training label has forces"):
        train(replace(made, folder=str(tmp_path / "c"), data=bare))


def test_other_labels_under_the_same_name_are_noticed(data, tmp_path):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(data.read_bytes())
    made = recipe(copy, tmp_path / "run", stage("direct", 1))
    train(made)
    copy.unlink()
    write_labels(copy)
    with h5py.File(copy, "a") as file:
        file.attrs["remark"] = "changed"
    with pytest.raises(SettingError, match="labels are not these"):
        train(made)


def test_as_many_processes_as_the_recipe_names(data, tmp_path, monkeypatch):
    for name, value in (("LOCAL_RANK", "1"), ("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="2 processes were started, but the recipe names 1"):
        train(recipe(data, tmp_path))


def test_what_was_not_trained_is_refused(data, tmp_path):
    path = train(recipe(data, tmp_path / "h", stage("hamiltonian", 1)))
    water = molecule("H2O")
    water.calc = HELMCalculator(str(path))
    assert np.isfinite(water.calc.get_homo_lumo(water)).all()
    with pytest.raises(UntrainedError, match="not trained to predict the energy, only hamiltonian"):
        water.get_potential_energy()
    path = train(recipe(data, tmp_path / "e", stage("direct", 1)))
    water.calc = HELMCalculator(str(path))
    assert np.isfinite(water.get_forces()).all()
    with pytest.raises(UntrainedError, match="hamiltonian, only energy, forces"):
        water.calc.get_hamiltonian(water)


def test_references_make_the_untrained_energy_the_least_squares_fit(data, tmp_path):
    made = recipe(data, tmp_path)
    samples = samples_of(made)
    model = model_of(made, samples)
    counts = np.array([[(s.graph.z == z).sum() for z in model.basis.elements] for s in samples], dtype=float)
    residual = np.array([s.energy for s in samples]) - counts @ model.energy_reference.numpy()
    np.testing.assert_allclose(counts.T @ residual, 0, atol=1e-6)


def test_evaluation_of_a_perfect_correction_is_zero(data, tmp_path):
    for sample in samples_of(recipe(data, tmp_path), True):
        errors = matrix_errors(sample, sample.correction.double().numpy())
        assert errors.hamiltonian == 0
        assert errors.gap < 1e-4


def test_evaluation_and_training_agree_on_the_hamiltonian_error(data, tmp_path):
    from helm_ase.dataset.batch import collate
    from helm_ase.nn import trust_matrix

    made = recipe(data, tmp_path)
    samples = list(samples_of(made, True))
    model = model_of(made, samples_of(made)).eval()
    batch = collate(samples, [trust_matrix(s.overlap, SETTINGS.trust_delta).float() for s in samples])
    terms = loss_terms(model(batch.graph, energy=False, hamiltonian=True), batch, ["hamiltonian"])
    mean = summarise(evaluate(model, samples, energy=False))["hamiltonian"]
    value = term_value("hamiltonian", *terms["hamiltonian"])
    assert float(value.detach()) * 300 == pytest.approx(mean, rel=1e-3)


def test_draws_are_nested_and_cover_all_files():
    entries = [[0, 2, 4], list(range(10))]
    small, large = draw(entries, 4, 0), draw(entries, 9, 0)
    assert sum(map(len, small)) == 4
    assert all(set(a) <= set(b) for a, b in zip(small, large, strict=True))
    assert draw(entries, None, 0) == [[0, 2, 4], list(range(10))]
    assert draw(entries, 4, 1) != small


def test_several_files_are_one_training_set(data, tmp_path):
    made = recipe(data, tmp_path)
    twice = replace(made, data=replace(made.data, train=(str(data), str(data))))
    one, two = samples_of(made), samples_of(twice)
    assert len(two) == 2 * len(one)
    assert [s.name for s in two] == 2 * [s.name for s in one]
    assert list(two.loads) == 2 * list(one.loads)


def test_data_that_are_not_there_or_do_not_fit_are_named(data, tmp_path):
    made = recipe(data, tmp_path)
    with pytest.raises(DatasetError, match="no molecules of split 'tset'"):
        samples_of(replace(made, data=replace(made.data, train_split="tset")))
    with LabelWriter(tmp_path / "other.h5", replace(TINY, functional="b3lyp")) as writer:
        writer.add(next(iter(open_labels(data))))
    mixed = DataSettings(train=(str(data), str(tmp_path / "other.h5")), level=TINY)
    with pytest.raises(DatasetError, match=r"another level.*functional"):
        samples_of(replace(made, data=mixed))


def test_labels_of_another_grid_and_version_are_of_the_same_level(data, trained, tmp_path):
    made, path = trained
    finer = replace(TINY, grid_level=TINY.grid_level + 1, conv_tol=1e-11, code="PySCF 9.9")
    with LabelWriter(tmp_path / "finer.h5", finer) as writer:
        for x in open_labels(data):
            writer.add(x)
    both = replace(made.data, train=(str(data), str(tmp_path / "finer.h5")))
    assert len(samples_of(replace(made, data=both))) == 2 * len(samples_of(made))
    alone = replace(made.data, train=both.train[1:])
    again = recipe(data, tmp_path / "again", stage("joint", 1))
    again = replace(again, data=alone, start=str(path), model=None)
    assert read_checkpoint(train(again)).level == finer


def test_a_matrix_in_the_basis_of_the_labels_is_no_effective_one_and_a_larger_one_cannot_be(data, tmp_path):
    made = recipe(data, tmp_path, stage("hamiltonian", 1, weights=LossWeights(levels=1.0)))
    same = replace(made, data=replace(made.data, model_basis="STO3G"))
    assert read_checkpoint(train(same)).level == TINY
    larger = replace(made, folder=str(tmp_path / "b"), data=replace(made.data, model_basis="6-31g"))
    with pytest.raises(BasisError, match="not larger"):
        train(larger)


@pytest.fixture(scope="module")
def open_shells(tmp_path_factory):
    """Water, its cation and anion, hydroxyl and triplet oxygen, each in three geometries."""
    path = tmp_path_factory.mktemp("open") / "open.h5"
    rng = np.random.default_rng(0)
    states = {"H2O": [(0, 1), (1, 2)], "OH": [(0, 2), (-1, 1)], "O2": [(0, 3)]}
    with LabelWriter(path, TINY) as writer:
        for name, found in states.items():
            for charge, multiplicity in found:
                for k, split in enumerate(("train", "train", "val")):
                    atoms = molecule(name)
                    atoms.positions += rng.normal(scale=0.04, size=atoms.positions.shape)
                    name_k = f"{name}{charge}{k}"
                    structure = Structure(
                        name_k, atoms.numbers, atoms.positions, charge, multiplicity, split=split
                    )
                    writer.add(label_structure(structure, LabelSettings(TINY)))
    return path


def test_charges_and_open_shells_are_trained_and_used(open_shells, tmp_path):
    settings = replace(SETTINGS, charges=(-1, 0, 1), multiplicities=(1, 2, 3))
    weights = LossWeights(hamiltonian=1.0, spectrum=0.1, energy=0.1, forces=0.1, levels=0.02, charges=0.01)
    quick = OptimiserSettings(learning_rate=1e-2, averaging=0.9)
    joint = stage("joint", 70, weights=weights, optimiser=quick, validate_every=70)
    made = recipe(open_shells, tmp_path, joint, model=settings)
    path = train(made)
    baseline = summarise([matrix_errors(s, np.zeros(s.correction.shape)) for s in samples_of(made, True)])
    assert read_checkpoint(path).metrics["hamiltonian"] < 0.3 * baseline["hamiltonian"]
    oxygen = molecule("O2")
    oxygen.calc = HELMCalculator(str(path), multiplicity=3)
    alpha, beta = oxygen.calc.get_hamiltonian(oxygen)
    (label,) = [x for x in open_labels(open_shells) if x.name == "O200"]
    split = label.hamiltonian[1] - label.hamiltonian[0]
    error = np.abs(beta - alpha - split).mean()
    assert error < 0.3 * np.abs(split).mean()  # the exchange splitting is learnt


def test_settings_that_name_other_states_than_the_labels_are_refused(open_shells, tmp_path):
    made = recipe(open_shells, tmp_path)
    with pytest.raises(SettingError, match=r"labels hold charge \[-1, 0, 1\], the settings name \[0\]"):
        model_of(made, samples_of(made))
