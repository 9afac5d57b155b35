"""Edges computed in parts: the same numbers in less memory."""

import numpy as np
import pytest
import torch

import helm_ase.nn.edge_parts as edge_parts
from shared.geometries import FORMAMIDE
from shared.small_models import graph, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def few_at_once(monkeypatch):
    monkeypatch.setitem(edge_parts.AT_ONCE, "cpu", 4)


def chain(copies):
    """Formamide molecules in a row, near enough to exchange messages."""
    numbers, places = FORMAMIDE
    positions = np.concatenate([places + k * np.array([4.0, 0.1, 0.0]) for k in range(copies)])
    return list(numbers) * copies, positions


def test_energy_and_forces_of_parts_are_those_of_the_whole(model, few_at_once):
    g = graph(model, *chain(3))
    whole, parts = (model(g, forces=True, recompute=again) for again in (False, True))
    torch.testing.assert_close(parts.energy, whole.energy, rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.forces, whole.forces, rtol=0, atol=1e-11)
    assert whole.forces.abs().max() > 0.1


def test_without_gradients_nothing_changes_whatever_is_computed_at_once(model, monkeypatch):
    g = graph(model, *chain(3))
    with torch.no_grad():
        results = []
        for size in (3, 16, 10_000):
            monkeypatch.setitem(edge_parts.AT_ONCE, "cpu", size)
            results.append(model(g, hamiltonian=True))
    for other in results[:-1]:
        torch.testing.assert_close(other.energy, results[-1].energy, rtol=1e-12, atol=0)
        torch.testing.assert_close(other.correction, results[-1].correction, rtol=0, atol=1e-12)


def test_the_network_can_be_trained_on_forces_of_parts(model, few_at_once):
    g = graph(model, *chain(2))
    model.train()
    slopes = []
    for again in (False, True):
        loss = model(g, forces=True, recompute=again).forces.square().sum()
        slopes.append(torch.autograd.grad(loss, list(model.backbone.parameters()), allow_unused=True))
    model.eval()
    there = [(a, b) for a, b in zip(*slopes, strict=True) if a is not None]
    assert len(there) > 20
    for a, b in there:
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


def kept(model, copies, again):
    """Bytes that are kept for the gradient of the energy."""
    blocks = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        blocks[storage.data_ptr()] = storage.nbytes(), tensor  # kept alive, so that no address is used twice
        return tensor

    g = graph(model, *chain(copies))
    g.pos.requires_grad_(True)
    elements, state = model._elements(g), model._state(g)
    vectors = g.pos[g.pair_index[1]] - g.pos[g.pair_index[0]]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        nodes = model.backbone.nodes(elements, state, vectors, g.pair_index, again)
        model._energy(g, elements, state, nodes)
    return sum(size for size, _ in blocks.values())


def test_parts_keep_less_than_a_third_for_the_gradient(model, few_at_once):
    assert kept(model, 8, True) < kept(model, 8, False) / 3


@pytest.mark.parametrize("again", [False, True])
def test_what_is_kept_grows_with_the_atoms_not_faster(model, few_at_once, again):
    sizes = [kept(model, copies, again) for copies in (8, 16, 32)]
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.05)


def test_many_edges_are_computed_in_parts_unless_one_asks_otherwise(model, few_at_once, monkeypatch):
    used = []
    monkeypatch.setattr(edge_parts, "checkpoint", lambda f, *args, **_: used.append(f) or f(*args))
    g = graph(model, *chain(2))
    model(g, forces=True)
    assert not used
    monkeypatch.setitem(edge_parts.KEPT, "cpu", 10)
    model(g, forces=True, recompute=False)
    assert not used
    model(g, forces=True)
    assert used
