"""Which weights move, and how fast, under each scheme."""

import pytest
import torch

from helm_ase.checkpoint import read_checkpoint
from helm_ase.errors import SettingError
from helm_ase.nn import HELM
from helm_ase.qc.molecule import ao_basis
from helm_ase.training.losses import LossWeights
from helm_ase.training.optimisers import make_optimiser
from helm_ase.training.run import train
from helm_ase.training.schemes import SCHEMES, check_order, freeze, moving_parts, part_of, settled
from shared.sample_labels import write_labels
from shared.small_recipes import SETTINGS, recipe, stage


@pytest.fixture(scope="module")
def model():
    return HELM(ao_basis("sto-3g", (1, 8)), SETTINGS)


@pytest.mark.parametrize(
    ("scheme", "parts"),
    [
        ("direct", {"nodes", "energy"}),
        ("hamiltonian", {"nodes", "edges", "hamiltonian"}),
        ("frozen", {"energy"}),
        ("edges", {"edges", "hamiltonian"}),
        ("finetune", {"nodes", "energy"}),
        ("joint", {"nodes", "edges", "hamiltonian", "energy"}),
    ],
)
def test_parts_that_move(model, scheme, parts):
    plan = settled(stage(scheme))
    assert moving_parts(plan) == parts
    freeze(model, plan)
    assert {part_of(n) for n, p in model.named_parameters() if p.requires_grad} == parts


def test_finetuning_with_a_hamiltonian_in_the_loss_moves_everything():
    plan = settled(stage("finetune", weights=LossWeights(hamiltonian=1.0, energy=1.0)))
    assert moving_parts(plan) == {"nodes", "edges", "hamiltonian", "energy"}


def test_every_gradient_reaches_what_moves_and_nothing_else(model):
    """The parts are right: with each scheme's loss exactly its parameters get a gradient."""
    from ase.build import molecule

    from helm_ase.representation.graph import AtomicGraph

    peroxide = molecule("H2O2")  # has every kind of pair
    graph = AtomicGraph.from_arrays(peroxide.numbers, peroxide.positions, 8.0)
    for scheme in ("direct", "hamiltonian", "edges", "joint"):
        plan = settled(stage(scheme))
        freeze(model, plan)
        model.zero_grad(set_to_none=True)
        weights = plan.weights
        out = model(graph, energy=weights.needs_energy, hamiltonian=weights.needs_hamiltonian)
        sum(x.double().square().sum() for x in (out.energy, out.correction) if x is not None).backward()
        assert all((p.grad is not None) == p.requires_grad for p in model.parameters()), scheme


def test_pretrained_weights_move_more_slowly(model):
    plan = settled(stage("finetune"))
    groups = freeze(model, plan)
    optimiser = make_optimiser([(groups[True], 1.0), (groups[False], plan.backbone_rate)], plan.optimiser)
    head, backbone = (g["initial_lr"] for g in optimiser.param_groups)
    assert backbone == pytest.approx(SCHEMES["finetune"].backbone_rate * head)


@pytest.mark.parametrize(
    ("scheme", "weights", "message"),
    [
        ("direct", LossWeights(hamiltonian=1.0, energy=1.0), "does not train Hamiltonians"),
        ("hamiltonian", LossWeights(energy=1.0), "does not train energies"),
        ("joint", LossWeights(), "every weight is zero"),
    ],
)
def test_contradictions_are_refused(scheme, weights, message):
    with pytest.raises(SettingError, match=message):
        settled(stage(scheme, weights=weights))


def test_a_frozen_backbone_must_have_been_trained(tmp_path):
    with pytest.raises(SettingError, match="needs a trained backbone"):
        check_order(recipe(tmp_path, tmp_path, stage("frozen")))
    with pytest.raises(SettingError, match="'edges' needs a trained backbone"):
        check_order(recipe(tmp_path, tmp_path, stage("edges")))
    check_order(recipe(tmp_path, tmp_path, stage("hamiltonian"), stage("frozen")))


@pytest.mark.scf
@pytest.mark.parametrize(
    ("first", "second", "moved"),
    [("hamiltonian", "frozen", {"energy"}), ("direct", "edges", {"edges", "hamiltonian"})],
)
def test_what_is_frozen_stays_to_the_last_bit(first, second, moved, tmp_path):
    write_labels(tmp_path / "labels.h5")
    path = train(recipe(tmp_path / "labels.h5", tmp_path / "run", stage(first, 1), stage(second, 2)))
    before, after = (
        read_checkpoint(tmp_path / "run" / k / "best.safetensors").model.state_dict() for k in "01"
    )
    changed = {part_of(k) for k, v in after.items() if not torch.equal(v, before[k])}
    assert changed == moved
    assert read_checkpoint(path).predicts >= {"hamiltonian", "energy"}
