"""Pairs of elements that no label had get the scale of those that share an element with them."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.nn.hamiltonian_head import path_name
from helm_ase.nn.unseen_pairs import estimate_unseen_scales
from helm_ase.prediction.electronic import make_graph
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.charge_state import ChargeState

ELEMENTS, SMALL = (1, 6, 8), 1e-3
H, C, O = range(3)


def network(hermitian=True):
    torch.manual_seed(0)
    backbone = BackboneSettings(8, 4, lmax=2, mmax_nodes=2, node_layers=1, edge_layers=1)
    return HELM(ao_basis("sto-3g", ELEMENTS), HELMSettings(backbone, hermitian=hermitian)).eval()


def scales_of(head, first, second):
    return [getattr(head.pair, f"scale_{path_name(k)}")[first * 3 + second] for k in head.pair.position]


def set_scales(head, pairs):
    """As training sets them: only the rows of the shells that a pair has."""
    for (first, second), value in pairs.items():
        plan, _ = head.plan(first, second)
        for key, rows in head.pair.rows(plan).items():
            getattr(head.pair, f"scale_{path_name(key)}")[first * 3 + second, rows] = value


def test_an_unseen_pair_gets_the_geometric_mean_of_pairs_that_share_an_element():
    head = network().hamiltonian_heads[0]
    set_scales(head, {(H, H): 1e-3, (H, C): 1e-3, (C, C): 1e-1, (C, O): 4e-3, (O, O): 1e-3})
    before = {pair: scales_of(head, *pair) for pair in ((H, C), (C, O), (O, H))}
    before = {pair: [x.clone() for x in some] for pair, some in before.items()}
    assert estimate_unseen_scales(head) == 1
    plan, _ = head.plan(H, O)
    for key, rows in head.pair.rows(plan).items():
        scale = getattr(head.pair, f"scale_{path_name(key)}")[H * 3 + O, rows]
        others = [(H, H), (H, C), (C, O), (O, O)]
        shared = [getattr(head.pair, f"scale_{path_name(key)}")[3 * a + b, rows] for a, b in others]
        mine = torch.stack(shared)
        expected = torch.where(mine != 1, mine.log(), 0).sum(0) / (mine != 1).sum(0)
        torch.testing.assert_close(scale, expected.exp())
    for pair, kept in before.items():  # O before H is not read
        assert all(torch.equal(x, y) for x, y in zip(scales_of(head, *pair), kept, strict=True))
    assert estimate_unseen_scales(head) == 0


def test_both_orders_are_filled_where_both_are_read():
    head = network(hermitian=False).hamiltonian_heads[0]
    set_scales(head, {(a, b): SMALL for a in range(3) for b in range(3) if {a, b} != {H, O}})
    assert estimate_unseen_scales(head) == 2
    assert max(float(x.max()) for pair in ((H, O), (O, H)) for x in scales_of(head, *pair)) < 2 * SMALL


def test_rows_that_nothing_shares_get_the_mean_of_the_row_or_of_all():
    head = network().hamiltonian_heads[0]
    set_scales(head, {(H, H): 2e-3})  # no p shells anywhere
    assert estimate_unseen_scales(head) == 5
    for scale in scales_of(head, C, O):
        np.testing.assert_allclose(scale, 2e-3, rtol=1e-5)


def test_a_network_that_learnt_no_hamiltonians_is_left_alone():
    head = network().hamiltonian_heads[0]
    assert estimate_unseen_scales(head) == 0
    assert all((x == 1).all() for x in scales_of(head, H, O))


@pytest.mark.parametrize("fill", [False, True])
def test_a_block_of_an_unseen_pair_is_as_small_as_the_others(fill):
    model = network()
    pairs = [(a, b) for a in range(3) for b in range(a, 3) if (a, b) != (H, O)]
    set_scales(model.hamiltonian_heads[0], dict.fromkeys(pairs, SMALL))
    if fill:
        estimate_unseen_scales(model.hamiltonian_heads[0])
    atoms = molecule("H2O")
    with torch.no_grad():
        graph = make_graph(model, atoms, ChargeState(0, 1))
        correction = model(graph, energy=False, hamiltonian=True).correction[0, 0]
    size = correction[:5, 5:].abs().max()  # oxygen comes first, with five functions
    assert (size < 0.05) == fill
