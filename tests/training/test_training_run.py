"""Training from labels to a checkpoint that the calculator loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule
from labels import TINY, write_labels

from helm_ase.calculator import HELMCalculator
from helm_ase.checkpoint import read_checkpoint
from helm_ase.data.formats import open_labels
from helm_ase.data.writer import LabelWriter
from helm_ase.errors import ElementError, SettingError
from helm_ase.nn import BackboneSettings, HELMSettings
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.level import Baseline
from helm_ase.representation.structure import Structure
from helm_ase.training.evaluation import MoleculeErrors, evaluate, matrix_errors, summarise
from helm_ase.training.export import export
from helm_ase.training.launch import Recipe, build_model, load_split, run
from helm_ase.training.losses import LossWeights
from helm_ase.training.trainer import Schedule, Trainer, validation_score

pytestmark = pytest.mark.scf

SETTINGS = HELMSettings(
    backbone=BackboneSettings(
        natural_channels=8, unnatural_channels=4, lmax=2, mmax_nodes=2, node_layers=2, edge_layers=1,
        gaussians=16, radial_hidden=16, pair_cutoff=8.0,
    ),
    energy_hidden=16,
)  # fmt: skip
ALL = LossWeights(hamiltonian=1.0, spectrum=0.1, energy=0.1, forces=0.1)


def schedule(epochs: int, **more) -> Schedule:
    defaults = {"learning_rate": 5e-3, "warmup_steps": 5, "max_pairs": 30, "ema": 0.9, "weights": ALL}
    return Schedule(epochs=epochs, minutes=1e6, **(defaults | more))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


def make(data, folder, *stages, **more) -> Recipe:
    return Recipe(
        str(data), str(folder), stages, elements=(1, 6, 8, 9), settings=SETTINGS, level=TINY,
        baseline=Baseline("sap"), **more,
    )  # fmt: skip


def test_training_beats_the_baseline_and_exports_a_working_checkpoint(data, tmp_path):
    recipe = make(data, tmp_path / "run", schedule(60))
    run(recipe)
    checkpoint = export(recipe, tmp_path / "run/0/best.pt", "tiny", tmp_path)

    baseline = summarise([matrix_errors(s, np.zeros(s.correction.shape)) for s in load_split(recipe, "val")])
    assert checkpoint.metrics["hamiltonian"] < 0.3 * baseline["hamiltonian"]
    assert checkpoint.metrics["homo"] < baseline["homo"]

    read = read_checkpoint(tmp_path / "tiny.safetensors")
    assert read.training["train_structures"] == 7
    assert json.loads((tmp_path / "manifest.json").read_text())["default"] == "tiny"

    start = str(tmp_path / "tiny.safetensors")
    again = build_model(make(data, tmp_path / "again", start=start), load_split(recipe, "train"))
    assert all(torch.equal(v, read.model.state_dict()[k]) for k, v in again.state_dict().items())
    assert all(p.requires_grad for p in again.parameters())
    with pytest.raises(SettingError, match="another basis, architecture or level"):
        build_model(replace(recipe, start=start, level=replace(TINY, functional="b3lyp")), [])

    water = molecule("H2O")
    water.calc = HELMCalculator(str(tmp_path / "tiny.safetensors"))
    assert np.isfinite(water.get_forces()).all()
    assert water.calc.get_hamiltonian().shape == (7, 7)
    with pytest.raises(ElementError, match="N"):
        molecule("NH3").calc = water.calc


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(data, tmp_path):
    def trainer(folder):
        recipe = make(data, folder, schedule(4))
        train, validation = load_split(recipe, "train"), load_split(recipe, "val")
        return Trainer(build_model(recipe, train), train, validation, recipe.stages[0], folder / "0")

    whole = trainer(tmp_path / "whole")
    whole.fit()

    half = trainer(tmp_path / "half")
    for _ in range(2):
        losses = half._run_epoch()
        half.epoch += 1
        half._finish_epoch(losses)
    again = trainer(tmp_path / "half")
    assert again.resume()
    assert again.epoch == 2
    again.fit()

    a, b = (torch.load(tmp_path / k / "0/last.pt", weights_only=True) for k in ("whole", "half"))
    assert all(torch.equal(a["model"][k], b["model"][k]) for k in a["model"])
    assert all(torch.equal(a["average"][k], b["average"][k]) for k in a["average"])


def test_two_workers_average_their_gradients(data, tmp_path):
    run(make(data, tmp_path / "run", schedule(2), workers=2))
    log = [json.loads(line) for line in (tmp_path / "run/0/log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2]
    assert (tmp_path / "run/0/best.pt").exists()


def test_references_make_the_untrained_energy_the_least_squares_fit(data, tmp_path):
    recipe = make(data, tmp_path)
    train = load_split(recipe, "train")
    model = build_model(recipe, train)
    counts = np.array([[(s.graph.z == z).sum() for z in model.basis.elements] for s in train], dtype=float)
    fitted = counts @ model.energy_reference.numpy()
    residual = np.array([s.energy for s in train]) - fitted
    np.testing.assert_allclose(counts.T @ residual, 0, atol=1e-6)


def test_evaluation_of_a_perfect_correction_is_zero(data, tmp_path):
    for sample in load_split(make(data, tmp_path), "val"):
        errors = matrix_errors(sample, sample.correction.double().numpy())
        assert errors.hamiltonian == 0
        assert errors.gap < 1e-4


def test_evaluation_and_training_agree_on_the_hamiltonian_error(data, tmp_path):
    from helm_ase.data.batch import collate
    from helm_ase.nn import trust_matrix
    from helm_ase.training.losses import loss_terms

    recipe = make(data, tmp_path)
    samples = load_split(recipe, "val")
    model = build_model(recipe, samples).eval()
    batch = collate(samples, [trust_matrix(s.overlap, SETTINGS.trust_delta).float() for s in samples])
    terms = loss_terms(model(batch.graph, energy=False, hamiltonian=True), batch)
    mean = summarise(evaluate(model, samples, energy=False))["hamiltonian"]
    assert float(terms["hamiltonian"].detach()) * 300 == pytest.approx(mean, rel=1e-3)


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
    recipe = replace(make(open_shells, tmp_path / "run", schedule(80)), settings=settings, elements=(1, 8))
    run(recipe)
    checkpoint = export(recipe, tmp_path / "run/0/best.pt", "open", tmp_path)
    validation = load_split(recipe, "val")
    baseline = summarise([matrix_errors(s, np.zeros(s.correction.shape)) for s in validation])
    assert checkpoint.metrics["hamiltonian"] < 0.3 * baseline["hamiltonian"]
    oxygen = molecule("O2")
    oxygen.calc = HELMCalculator(str(tmp_path / "open.safetensors"), multiplicity=3)
    alpha, beta = oxygen.calc.get_hamiltonian(oxygen)
    (label,) = [x for x in open_labels(open_shells) if x.name == "O200"]
    split = label.hamiltonian[1] - label.hamiltonian[0]
    assert (
        np.abs(beta - alpha - split).mean() < 0.3 * np.abs(split).mean()
    )  # the exchange splitting is learned


def test_settings_that_name_other_states_than_the_labels_are_refused(open_shells, tmp_path):
    recipe = replace(make(open_shells, tmp_path), elements=(1, 8))
    with pytest.raises(SettingError, match=r"labels hold charge \[-1, 0, 1\], the settings name \[0\]"):
        build_model(recipe, load_split(recipe, "train"))


def test_molecules_without_energies_do_not_spoil_the_score():
    errors = MoleculeErrors("x", 3, 100.0, 0.1, 0.05, 0.05, 0.05, 0.0, 0.01, 0.05)
    bare = replace(errors, energy=float("nan"), forces=float("nan"))
    whole = validation_score(summarise([errors]), energy=True)
    assert validation_score(summarise([errors, bare]), energy=True) == pytest.approx(whole)
    assert np.isfinite(validation_score(summarise([bare]), energy=True))
    assert validation_score(summarise([replace(errors, energy=float("inf"))]), energy=True) == np.inf
