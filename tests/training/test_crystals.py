"""Training on crystals: losses are zero at the truth, gradients are derivatives, and a run learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helm_ase.checkpoint import load_model
from helm_ase.dataset.crystals import make_crystal_sample
from helm_ase.errors import DatasetError, SettingError
from helm_ase.evaluation.crystals import crystal_errors, mean_errors
from helm_ase.labels.crystals import write_crystals
from helm_ase.nn import HELM, HELMSettings
from helm_ase.nn.model import Prediction
from helm_ase.qc.crystal import crystal_basis
from helm_ase.representation.graph import AtomicGraph
from helm_ase.training.crystal_data import prepare_crystals, set_references
from helm_ase.training.crystal_losses import CrystalLossWeights, crystal_loss_terms, weighted_sum
from helm_ase.training.crystals import CrystalTraining, train_on_crystals, train_on_samples
from helm_ase.training.recipe import RateSettings
from shared.crystal_labels import CARBON, LEVEL, OTHER, label
from shared.small_models import TINY

BASIS = crystal_basis(LEVEL, [6])
EVERYTHING = CrystalLossWeights(1.0, 1.0, 1.0, 0.0)
KPTS = torch.tensor([[0.13, 0.0, 0.0], [0.41, 0.0, 0.0]]).double()


@pytest.fixture(scope="module")
def samples():
    return [make_crystal_sample(label(k, OTHER), LEVEL, BASIS, [CARBON], 14.0) for k in range(2)]


def terms_of(correction, samples, weights=EVERYTHING):
    prediction = Prediction(None, None, correction[:, None])
    return crystal_loss_terms(prediction, samples, weights, [KPTS] * len(samples), 2)


def test_at_the_truth_every_term_vanishes(samples):
    truth = torch.cat([s.correction for s in samples])
    assert all(float(x) < 2e-2 for x in terms_of(truth, samples).values())  # what is beyond the cutoff
    wrong = terms_of(torch.zeros_like(truth), samples)
    assert all(float(x) > 1 for x in wrong.values())


def test_a_shift_of_all_levels_is_seen_by_the_bands_as_what_it_is(samples):
    one = samples[:1]
    s = {
        tuple(t): v for t, v in zip(one[0].overlap.translations.tolist(), one[0].overlap.values, strict=True)
    }
    moved = one[0].correction + 1e-3 * torch.stack(
        [s.get(tuple(t), torch.zeros(8, 8)) for t in one[0].graph.translation.tolist()]
    )
    found = terms_of(moved, one)
    assert float(found["bands"]) == pytest.approx(1e-3 / 2e-3, rel=1e-2)
    assert float(found["spectrum"]) == pytest.approx((1 / 6 + 1) * 1e-3 / 2e-3, rel=2e-2)


def test_gradients_of_all_terms_are_derivatives(samples):
    torch.manual_seed(0)
    one = samples[:1]
    base = one[0].correction + 0.01 * torch.randn_like(one[0].correction)
    base = 0.5 * (base + base[one[0].graph.partner].mT)
    direction = torch.randn_like(base)
    direction = 0.5 * (direction + direction[one[0].graph.partner].mT)
    base.requires_grad_(True)
    loss = weighted_sum(terms_of(base, one), EVERYTHING)
    (gradient,) = torch.autograd.grad(loss, base)
    step = 1e-6
    high, low = (
        float(weighted_sum(terms_of(base.detach() + x * direction, one), EVERYTHING)) for x in (step, -step)
    )
    assert float((gradient * direction).sum()) == pytest.approx((high - low) / (2 * step), rel=1e-4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    labels = [label(k, OTHER, energy=-300 + 0.3 * k) for k in range(3)] + [label(3, OTHER, "val")]
    write_crystals(folder / "chains.h5", labels, LEVEL)
    model = HELMSettings(replace(TINY, lmax=2), trust_delta=0.0, energy_hidden=16)
    settings = CrystalTraining(
        "chains", model, CrystalLossWeights(1.0, 0.2, 0.0, 0.1), epochs=25, k_points=2
    )  # fmt: skip
    return train_on_crystals(folder / "chains.h5", folder / "chains.safetensors", settings), folder


def test_a_run_writes_a_checkpoint_that_says_what_it_learnt(run):
    found, folder = run
    read = load_model(folder / "chains.safetensors")
    assert read.dimensions == (1,)
    assert read.predicts == {"hamiltonian", "energy", "forces"}
    assert read.level == LEVEL
    assert read.baseline.operators == found.checkpoint.baseline.operators
    assert read.baseline.operators[0].is_of_crystals
    assert {"train_hamiltonian", "val_occupied", "val_energy"} <= set(read.metrics)


def test_the_loss_falls(run):
    history = run[0].history
    assert len(history) == 25
    assert np.mean([h["energy"] for h in history[-3:]]) < np.mean([h["energy"] for h in history[:3]])
    assert all(np.isfinite(list(h.values())).all() for h in history)


def test_errors_of_h0_alone_are_those_of_no_correction(run):
    found, _ = run
    alone = mean_errors(crystal_errors(None, found.validation, 0.005))
    expected = [1e6 * float(s.correction[s.within].abs().mean()) for s in found.validation]
    assert alone["hamiltonian"] == pytest.approx(np.mean(expected))
    assert np.isnan(alone["energy"])


def test_a_run_repeats_to_the_last_digit(run, tmp_path):
    found, folder = run
    settings = CrystalTraining(
        "chains",
        found.checkpoint.model.settings,
        CrystalLossWeights(1.0, 0.2, 0.0, 0.1),
        epochs=2,
        k_points=2,
    )
    again = [
        train_on_crystals(folder / "chains.h5", tmp_path / f"{k}.safetensors", settings) for k in range(2)
    ]
    assert again[0].history == again[1].history


def test_a_run_goes_on_from_a_checkpoint_with_its_h0_and_elements(run, tmp_path):
    found, folder = run
    first = folder / "chains.safetensors"
    more = [label(k, OTHER) for k in range(2)]  # to which another H0 would be fitted
    write_crystals(tmp_path / "more.h5", more, LEVEL)
    settings = CrystalTraining(
        "more", start=first, weights=CrystalLossWeights(1.0, 0.2), epochs=1, k_points=2,
        rate=RateSettings(warmup_steps=10_000),
    )  # fmt: skip
    again = train_on_crystals(tmp_path / "more.h5", tmp_path / "more.safetensors", settings)
    assert again.checkpoint.baseline == found.checkpoint.baseline
    assert again.checkpoint.model.settings == found.checkpoint.model.settings
    before, after = (
        mean_errors(crystal_errors(m, again.train, 0.005))
        for m in (load_model(first).model, again.checkpoint.model)
    )
    assert after["hamiltonian"] == pytest.approx(before["hamiltonian"], rel=0.1)
    other = replace(more[0], name="boron", numbers=np.full_like(more[0].numbers, 5))
    write_crystals(tmp_path / "boron.h5", [other], LEVEL)
    with pytest.raises(DatasetError, match="new elements"):
        train_on_crystals(tmp_path / "boron.h5", tmp_path / "x.safetensors", settings)
    write_crystals(tmp_path / "both.h5", [other, *more], LEVEL)
    wider = train_on_crystals(tmp_path / "both.h5", tmp_path / "both.safetensors", settings).checkpoint
    assert wider.basis.elements == (5, 6)
    assert {x.number for x in wider.baseline.operators} == {5, 6}
    mine, theirs = (m.backbone.edge_updates[0].ffn for m in (wider.model, again.checkpoint.model))
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=0.1, atol=1e-3)


def test_forces_and_stress_are_learnt_with_the_free_energy(tmp_path):
    rng = np.random.default_rng(0)
    known = [
        replace(label(k), forces=rng.normal(size=(2, 3)), stress=0.1 * rng.normal(size=(3, 3)))
        for k in range(3)
    ]
    write_crystals(tmp_path / "x.h5", [*known, label(3), label(4, split="val")], LEVEL)
    weights = CrystalLossWeights(0.0, energy=0.1, forces=1.0, stress=1.0, spectrum=0.0)
    model = HELMSettings(replace(TINY, lmax=2), trust_delta=0.0, energy_hidden=16)
    settings = CrystalTraining("forces", model, weights, epochs=12)
    found = train_on_crystals(tmp_path / "x.h5", tmp_path / "x.safetensors", settings)
    assert found.train[0].energy == known[0].free_energy
    assert found.checkpoint.predicts == {"energy", "forces"}
    for name in ("forces", "stress"):
        assert found.history[-1][name] < found.history[0][name]


def test_at_the_labels_forces_and_stress_have_no_error(samples):
    one = replace(samples[0], forces=torch.ones(2, 3).double(), stress=torch.eye(3).double())
    off = Prediction(
        torch.zeros(1), one.forces + torch.tensor([0.3, 0.0, 0.4]), None, stress=one.stress[None]
    )
    weights = CrystalLossWeights(0.0, forces=1.0, stress=1.0, spectrum=0.0)
    terms = crystal_loss_terms(off, [one], weights, [KPTS], 2)
    assert float(terms["forces"]) == pytest.approx(5.0)  # 0.5 eV/Å in units of 0.1
    assert float(terms["stress"]) == 0.0


def test_losses_that_no_label_can_have_are_refused(tmp_path):
    write_crystals(tmp_path / "x.h5", [replace(label(0), energy=None, free_energy=None)], LEVEL)
    for name in ("energy", "forces", "stress"):
        weights = CrystalLossWeights(1.0, **{name: 1.0})
        with pytest.raises(SettingError, match=f"no training label has {name}"):
            train_on_crystals(tmp_path / "x.h5", tmp_path / "x.safetensors", CrystalTraining(weights=weights))


def test_energies_go_on_where_those_of_the_checkpoint_ended(run):
    found, _ = run
    old = found.checkpoint.model
    boron = replace(label(1, OTHER), name="boron", numbers=np.array([5, 5]), free_energy=-150.0)
    model = HELM(crystal_basis(LEVEL, [5, 6]), old.settings)
    samples = [replace(found.train[0], graph=graph_of(x), energy=x.free_energy) for x in (label(0), boron)]
    set_references(model, samples, old)
    assert model.energy_reference[1] == old.energy_reference[0]
    assert float(model.energy_reference[0]) == pytest.approx(-75.0)
    assert model.energy_scale == old.energy_scale


def graph_of(crystal):
    return AtomicGraph.from_arrays(crystal.numbers, crystal.positions, 8.0, lattice=crystal.lattice)


def test_what_crystals_cannot_have_is_refused(tmp_path):
    with pytest.raises(SettingError, match="no trust filter"):
        CrystalTraining(model=HELMSettings())
    with pytest.raises(SettingError, match="neutral closed shells"):
        CrystalTraining(model=HELMSettings(trust_delta=0.0, charges=(0, 1)))
    with pytest.raises(SettingError, match="every weight"):
        CrystalLossWeights(0.0, 0.0)
    write_crystals(tmp_path / "x.h5", [label(0, split="test")], LEVEL)
    with pytest.raises(DatasetError, match="split 'train'"):
        train_on_crystals(tmp_path / "x.h5", tmp_path / "x.safetensors")


def test_trainings_may_share_their_samples(run):
    found, folder = run
    model = HELMSettings(replace(TINY, lmax=2), trust_delta=0.0, energy_hidden=16)
    data = prepare_crystals(folder / "chains.h5", max(TINY.cutoff, TINY.pair_cutoff))
    assert [s.name for s in data.train] == [s.name for s in found.train]
    histories = []
    for weights in (
        CrystalLossWeights(1.0, 0.2),
        CrystalLossWeights(0.0, 0.0, 1.0),
        CrystalLossWeights(1.0, 0.2),
    ):
        settings = CrystalTraining("chains", model, weights, epochs=2, k_points=2)
        histories.append(train_on_samples(data, folder / "shared.safetensors", settings).history)
    assert histories[0] == histories[2]  # one training leaves nothing behind for the next
    assert [set(h[0]) for h in histories[:2]] == [{"hamiltonian", "spectrum"}, {"bands"}]
    with pytest.raises(SettingError, match="hold pairs within 3 Å"):
        train_on_samples(replace(data, cutoff=3.0), folder / "short.safetensors", settings)
