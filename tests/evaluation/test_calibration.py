"""Error bars: from the features of the last layer, calibrated, in files of their own, and warned about."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from helm_ase import ExtrapolationWarning, HELMCalculator
from helm_ase.checkpoint import load_model, save_checkpoint
from helm_ase.checkpoint.format import read_checkpoint
from helm_ase.checkpoint.uncertainty import (
    EnergyUncertainty,
    read_uncertainty,
    save_uncertainty,
    uncertainty_path,
)
from helm_ase.cli import main
from helm_ase.errors import CheckpointError, SettingError
from helm_ase.evaluation.calibration import EnergyErrors, bars, calibrate, collect, judge, thinned
from helm_ase.prediction.self_consistency import usual_of
from helm_ase.qc.level import pyscf_level
from shared.evaluated_models import CLOSED, checkpoint, label, write


def drawn(count, spread, seed, noise=6e-3):
    """Features of a linear model with known error: a noise in every feature, seen through the features.

    Molecules have three atoms, and some are more unusual than others.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(3 * count, 4)) * spread
    features *= np.repeat(rng.lognormal(sigma=0.7, size=(count, 1)), 3, axis=0)
    errors = (features @ (noise * rng.normal(size=4))).reshape(count, 3).mean(1)
    return EnergyErrors(features, errors, np.full(count, 3), np.tile([0, 1], (count, 1)))


def test_features_are_those_of_which_the_energy_is_a_linear_function():
    subject, labels = checkpoint(), [label(name, 0, 1, 0) for name in CLOSED]
    found = collect(subject, labels)
    last = subject.model.energy_head.mlp[-1]
    atoms = np.split(found.features, np.cumsum(found.atoms)[:-1])
    for features, error, item in zip(atoms, found.errors, labels, strict=True):
        linear = features.mean(0) @ last.weight[0].double().detach().numpy() + float(last.bias.detach())
        energy = (error + item.energy / len(item.numbers)) - float(
            subject.model.energy_reference[subject.model.element_index[torch.tensor(item.numbers)]].mean()
        )
        assert energy == pytest.approx(linear * float(subject.model.energy_scale), abs=1e-4)
    assert found.atoms.tolist() == [len(item.numbers) for item in labels]


def test_directions_that_training_has_not_shown_have_large_bars():
    spread = np.array([1.0, 1.0, 1.0, 1e-3])
    made = calibrate(checkpoint(), drawn(400, spread, 0), drawn(200, spread, 1))
    inside, outside = drawn(50, spread, 2), drawn(50, np.ones(4), 3)
    assert np.median(bars(made, outside)) > 10 * np.median(bars(made, inside))
    assert (bars(made, outside) > made.threshold).mean() > 0.9
    assert set(made.facts) == {"training molecules", "training atoms", "calibration half", "other half"}
    found = made.facts["other half"]
    assert found["spearman"] > 0.4
    assert found["large flagged"] / found["large"] > 0.25 + found["small flagged"] / found["small"]
    assert min(found["large"], found["small"]) > 10


def test_without_large_errors_no_more_small_ones_are_flagged():
    made = calibrate(checkpoint(), drawn(400, np.ones(4), 0), drawn(60, np.ones(4), 1, noise=1e-5))
    assert made.facts["calibration half"]["large"] == 0
    assert made.facts["calibration half"]["small flagged"] <= 6  # of 30


def test_files_of_format_1_mean_the_rigidity_of_averaged_features():
    features, atoms = torch.tensor([[1.0, 0], [-1.0, 0], [0, 2.0]]), torch.tensor([2, 1])
    made = EnergyUncertainty("", torch.eye(2, dtype=torch.float64), 1.0, 0.0, 1.0)
    assert made.novelty(features, atoms).tolist() == [0.0, 4.0]
    assert load_model("helm-hcnof-2").uncertainty.known is None


def test_novelty_is_a_mean_over_atoms_of_distances_from_the_nearest_of_training():
    features, atoms = torch.tensor([[1.0, 0], [-1.0, 0], [0, 2.0]]), torch.tensor([2, 1])
    known = torch.tensor([[1.0, 0], [0, 0], [0, 5]])
    made = EnergyUncertainty("", 2 * torch.eye(2, dtype=torch.float64), 1.0, 0.0, 1.0, known=known)
    expected = [((1 + 2**3) / 2) ** (2 / 3), 1.0]  # W doubles the features, not what is known
    assert made.novelty(features, atoms).tolist() == pytest.approx(expected)
    assert made.per_atom(features, atoms).tolist() == pytest.approx(np.sqrt(expected))


def test_what_training_showed_and_the_model_did_not_learn_enlarges_the_bar_of_its_state():
    known = torch.tensor([[1.0, 0], [0, 5], [0, 5.1]])
    eye, residuals = torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 0.3, 0.1])
    states = torch.tensor([[0, 1], [1, 2], [0, 1]], dtype=torch.int8)
    made = EnergyUncertainty("", eye, 0.0, 0.1, 1.0, known=known, residuals=residuals, known_states=states)
    features, atoms = torch.tensor([[1.0, 0], [0, 5.0], [1.0, 0], [0, 5.0]]), torch.tensor([1, 1, 2])
    for state, r in (((1, 2), (0.3, 0.3, 0.3)), ((0, 1), (0, 0.1, 0.1 / np.sqrt(2))), ((2, 1), (0, 0, 0))):
        found = made.per_atom(features, atoms, torch.tensor([state] * 3))
        assert found.tolist() == pytest.approx(np.sqrt(np.square(r) + 0.1**2), abs=1e-7)
    mixed = made.per_atom(features, atoms, torch.tensor([(1, 2), (0, 1), (2, 1)]))
    assert mixed.tolist() == pytest.approx(np.sqrt(np.square([0.3, 0.1, 0]) + 0.1**2), abs=1e-7)
    anything = made.per_atom(features, atoms)
    assert anything.tolist() == pytest.approx(
        np.sqrt(np.square([0, 0.3, 0.3 / np.sqrt(2)]) + 0.1**2), abs=1e-7
    )


def test_calibration_flags_training_molecules_whose_energies_are_wrong():
    train, validation = drawn(400, np.ones(4), 0, 1e-4), drawn(200, np.ones(4), 1, 1e-4)
    wrong = np.arange(400) < 20
    far = np.where(np.repeat(wrong, 3)[:, None], train.features + 40, train.features)
    train = replace(train, features=far, errors=np.where(wrong, 0.2, train.errors))
    made = calibrate(checkpoint(), train, validation)
    found = bars(made, train)
    assert found[wrong].min() > 0.1
    assert np.median(found[~wrong]) < 0.01


def test_thinned_points_stand_for_all(rng):
    points = rng.normal(size=(500, 3))
    kept = points[thinned(points, 0.5)]
    distances = np.linalg.norm(points[:, None] - kept, axis=2)
    assert distances.min(1).max() < 0.5
    assert len(kept) < 400
    own = np.linalg.norm(kept[:, None] - kept, axis=2)
    assert own[~np.eye(len(kept), dtype=bool)].min() >= 0.5


def test_what_is_flagged_is_counted():
    found = judge(np.array([1.0, 3.0, 3.0, 1.0]), np.array([0.02, -0.02, 0.001, 0.001]), 2.0)
    assert (found["large"], found["large flagged"], found["small"], found["small flagged"]) == (2, 1, 2, 1)


def test_too_few_molecules_are_refused():
    few = drawn(5, np.ones(4), 0)
    with pytest.raises(SettingError, match="at least 20"):
        calibrate(checkpoint(), few, few)
    nothing = collect(checkpoint(), [])
    with pytest.raises(SettingError, match="no training molecules"):
        calibrate(checkpoint(), nothing, few)
    with pytest.raises(SettingError, match="0 validation molecules"):
        calibrate(checkpoint(), few, nothing)


def test_a_bad_model_always_extrapolates():
    training, found = drawn(400, np.ones(4), 0), drawn(60, np.ones(4), 1)
    bad = calibrate(checkpoint(), training, replace(found, errors=np.full(60, 0.05)))
    assert (bars(bad, found) > bad.threshold).mean() > 0.9


@pytest.fixture
def made():
    known = torch.arange(6.0).reshape(2, 3)
    metric = torch.ones(3, 3, dtype=torch.float64)
    return EnergyUncertainty(
        "abc",
        torch.eye(3, dtype=torch.float64),
        0.1,
        0.01,
        0.5,
        {"molecules": 3},
        known=known,
        residuals=torch.tensor([0.5, 0.25]),
        known_states=torch.tensor([[0, 1], [1, 2]], dtype=torch.int8),
        metric=metric,
    )


def test_a_bar_survives_its_file_and_other_weights_are_refused(made, tmp_path):
    path = tmp_path / "x.uncertainty.safetensors"
    save_uncertainty(made, path)
    back = read_uncertainty(path, "abc")
    assert torch.equal(back.whitening, made.whitening)
    assert torch.equal(back.known, made.known)
    assert torch.equal(back.metric, made.metric)
    assert torch.equal(back.residuals, made.residuals)
    assert torch.equal(back.known_states, made.known_states)
    tensors = ("whitening", "known", "residuals", "known_states", "metric")
    assert replace(back, **{name: getattr(made, name) for name in tensors}) == made
    save_uncertainty(replace(made, residuals=torch.ones(3)), path)
    with pytest.raises(CheckpointError, match="damaged"):
        read_uncertainty(path, "abc")
    save_uncertainty(made, path)
    with pytest.raises(CheckpointError, match="other weights"):
        read_uncertainty(path, "abd")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not an error bar"):
        read_uncertainty(path, "abc")


def test_calibrate_puts_the_bar_beside_the_checkpoint_and_the_calculator_shows_it(tmp_path, capsys):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(checkpoint(), path)
    seeds, names = range(10), ("H2O", "HF")
    labels = [label(name, 0, 1, s, "train") for name in names for s in seeds]
    labels += [label(name, 0, 1, 10 + s, "val") for name in names for s in seeds]
    write(tmp_path / "labels.h5", labels)
    assert main(["calibrate", str(path), str(tmp_path / "labels.h5"), "--fock", "0"]) == 0
    assert "other half" in capsys.readouterr().out
    assert uncertainty_path(path).is_file()
    assert read_checkpoint(path).uncertainty is not None
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = atoms.calc.get_uncertainty()
    assert found.energy == pytest.approx(3 * found.per_atom)
    assert found.threshold > 0


def test_calibrate_measures_what_19_of_20_molecules_stay_below(tmp_path, capsys):
    path, names = tmp_path / "tiny.safetensors", ("H2O", "HF")
    subject = checkpoint(level=pyscf_level("pbe", "sto-3g"))
    save_checkpoint(subject, path)
    labels = [label(n, 0, 1, s, "train" if s < 10 else "val") for n in names for s in range(30)]
    write(tmp_path / "labels.h5", labels)
    assert main(["calibrate", str(path), str(tmp_path / "labels.h5"), "--fock", "20"]) == 0
    assert "self-consistency" in capsys.readouterr().out
    calc = HELMCalculator(str(path))
    facts = calc.checkpoint.uncertainty.facts["self-consistency"]
    assert facts["molecules"] == 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = [x for x in labels if x.split == "val"]
        chosen = [chosen[k] for k in np.linspace(0, len(chosen) - 1, 20).round().astype(int)]
        answers = [calc.get_reliability(Atoms(x.numbers, x.positions)) for x in chosen]
    assert sum(a.fock_residual < facts["fock_residual"] for a in answers) == 19
    assert sum(a.commutator_norm < facts["commutator_norm"] for a in answers) == 19
    assert sum("as near" in a.words and "of tiny" in a.words for a in answers) >= 18
    assert "far from" in replace(answers[0], commutator_norm=4 * facts["commutator_norm"]).words


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), "much"])
def test_facts_of_self_consistency_that_are_no_positive_numbers_are_refused(made, tmp_path, wrong):
    path = tmp_path / "x.uncertainty.safetensors"
    facts = {"self-consistency": {"fock_residual": wrong, "commutator_norm": 1e-3, "molecules": 40}}
    save_uncertainty(replace(made, facts=facts), path)
    with pytest.raises(CheckpointError, match="not an error bar"):
        read_uncertainty(path, "abc")


def test_a_level_that_cannot_be_computed_here_leaves_self_consistency_out(tmp_path, capsys):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(checkpoint(), path)  # its functional has the meaning of no PySCF
    seeds, names = range(20), ("H2O", "HF")
    labels = [label(n, 0, 1, s, "train" if s < 10 else "val") for n in names for s in seeds]
    write(tmp_path / "labels.h5", labels)
    assert main(["calibrate", str(path), str(tmp_path / "labels.h5")]) == 0
    printed = capsys.readouterr().out
    assert "20 of 20 Fock matrices could not be computed" in printed
    assert "too few molecules" in printed
    found = read_checkpoint(path)
    assert "self-consistency" not in found.uncertainty.facts
    assert usual_of(found).model == "helm-hcnof-2"


def test_a_model_without_a_bar_says_how_to_make_one(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(checkpoint(), path)
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(str(path))
    with pytest.raises(SettingError, match="helm-ase calibrate"):
        atoms.calc.get_uncertainty()


def test_the_default_model_flags_benzene_and_not_ethanol():
    """Its training set holds no benzene ring: energies of benzene are 1 eV too high."""
    assert load_model("helm-hcnof-2").uncertainty is not None
    benzene, ethanol = molecule("C6H6"), molecule("CH3CH2OH")
    benzene.calc = ethanol.calc = HELMCalculator("helm-hcnof-2")
    with pytest.warns(ExtrapolationWarning, match="meV per atom"):
        benzene.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ethanol.get_potential_energy()
