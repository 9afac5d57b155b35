"""Optimisers and learning rates."""

import copy
import math

import pytest
import torch
from torch import nn

from helm_ase.training.optimisers import all_orthogonalised, in_parts, make_optimiser, orthogonalised
from helm_ase.training.rates import RateSchedule
from helm_ase.training.recipe import OptimiserSettings, RateSettings


@pytest.mark.parametrize("shape", [(3, 20, 40), (2, 40, 20), (30, 30)])
def test_newton_schulz_turns_matrices_into_nearly_orthogonal_ones(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator, dtype=torch.float64)
    turned = orthogonalised(matrices)
    values = torch.linalg.svdvals(turned)
    assert ((values > 0.6) & (values < 1.3)).all()
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity(turned.flatten(-2), (u @ vh).flatten(-2), dim=-1)
    assert (cosine > 0.97).all()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16), nn.Linear(16, 1))


def steps(model, optimiser, n):
    x = torch.linspace(-1, 1, 64)[:, None] * torch.arange(1, 17) / 16
    losses = []
    for _ in range(n):
        loss = (model(x) - x[:, :1].sin()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimisers_learn_and_resume_to_the_last_bit(name):
    settings = OptimiserSettings(name, learning_rate=1e-3, muon_rate=5e-3)
    whole = network()
    optimiser = make_optimiser([(list(whole.parameters()), 1.0)], settings)
    first = steps(whole, optimiser, 20)
    saved, weights = copy.deepcopy(optimiser.state_dict()), copy.deepcopy(whole.state_dict())
    rest = steps(whole, optimiser, 20)
    assert rest[-1] < 0.3 * first[0]

    again = network()
    resumed = make_optimiser([(list(again.parameters()), 1.0)], settings)
    again.load_state_dict(weights)
    resumed.load_state_dict(saved)
    assert steps(again, resumed, 20) == rest


def test_muon_takes_the_matrices_and_adamw_the_rest():
    model = network()
    optimiser = make_optimiser([(list(model.parameters()), 0.5)], OptimiserSettings("muon"))
    muon = {id(p) for g in optimiser.param_groups if g["muon"] for p in g["params"]}
    assert muon == {id(model[0].weight), id(model[2].weight)}
    assert {g["initial_lr"] for g in optimiser.param_groups} == {0.5e-2, 1e-3}


@pytest.mark.parametrize(
    ("shape", "rows", "wanted"),
    [
        ((3, 40, 44), 16, (3, 4, 10, 44)),  # the fewest equal parts
        ((40, 44), 40, (40, 44)),
        ((40, 44), None, (40, 44)),
        ((400, 16), 16, (400, 16)),  # cheap already
        ((37, 40), 20, (37, 40)),  # a prime number of rows
        ((33, 64), 32, (33, 64)),  # three parts would be too small
    ],
)
def test_large_matrices_are_taken_in_equal_parts_of_rows(shape, rows, wanted):
    matrices = torch.arange(math.prod(shape)).reshape(shape)
    found = in_parts(matrices, rows)
    assert found.shape == wanted
    assert torch.equal(found.reshape(shape), matrices)


def test_muon_in_parts_moves_elements_as_far_as_in_one():
    moved = {}
    for rows in (None, 16):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.zeros(64, 48))
        optimiser = make_optimiser([([weight], 1.0)], OptimiserSettings("muon", muon_rows=rows))
        weight.grad = torch.randn(64, 48)
        optimiser.step()
        moved[rows] = weight.detach().square().mean().sqrt()
    assert 0.8 < moved[16] / moved[None] < 1.25


@pytest.mark.parametrize("padded", [False, True])
def test_matrices_that_go_through_the_iteration_together_do_not_meet(padded):
    shapes = [(5, 16, 16), (5, 32, 20), (90, 64), (44, 60), (128, 88), (2, 3, 20, 24), (44, 60)]
    matrices = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    for given, turned in zip(matrices, all_orthogonalised(matrices, padded), strict=True):
        torch.testing.assert_close(turned, orthogonalised(given), rtol=0, atol=1e-12)


def test_parameters_without_gradient_stay():
    model = network()
    before = copy.deepcopy(model.state_dict())
    optimiser = make_optimiser([(list(model.parameters()), 1.0)], OptimiserSettings("muon"))
    optimiser.step()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_cosine_warms_up_and_comes_down():
    rate = RateSchedule(RateSettings(warmup_steps=10, final_fraction=0.1))
    assert rate.fraction(0, 0.0) == pytest.approx(0.1)
    assert rate.fraction(9, 0.0) == pytest.approx(1.0)
    assert rate.fraction(100, 0.5) == pytest.approx(0.55)
    assert rate.fraction(100, 1.0) == rate.fraction(100, 2.0) == pytest.approx(0.1)


def test_a_plateau_lowers_the_rate_and_ends_the_stage():
    rate = RateSchedule(RateSettings("plateau", warmup_steps=0, final_fraction=0.2, patience=1))
    for loss in (3.0, 2.0, 2.5, 1.0):
        rate.validated(loss)
    assert (rate.reduction, rate.over) == (1.0, False)
    for loss in (1.0, 1.1):
        rate.validated(loss)
    assert rate.reduction == 0.5
    for loss in (math.inf, math.nan, 1.0, 2.0):
        rate.validated(loss)
    assert rate.over
    copy_ = RateSchedule(rate.settings)
    copy_.restore(rate.state())
    assert copy_ == rate
