"""The blocks of the Hamiltonian head are the same whichever way they are put together."""

from functools import partial

import pytest
import torch

from helm_ase.nn.hamiltonian_head import own_functions
from helm_ase.representation import AOBasis
from helm_ase.representation.graph import batch_graphs
from shared.geometries import ETHENE, FORMAMIDE, WATER
from shared.small_models import SPD, graph, tiny_model

UNLIKE = AOBasis("unlike", {1: (0, 0, 1), 6: (0, 1, 1), 7: (0, 0, 0, 2), 8: (0, 0, 0, 1, 1, 2)})
"""Elements of which none has all shells of the others."""
MOLECULES = (WATER, FORMAMIDE, ETHENE)


def corrections(model, together):
    for head in model.hamiltonian_heads:
        for name in ("onsite_blocks", "pair_blocks"):
            setattr(head, name, partial(getattr(type(head), name), head, together=together))
    batch = batch_graphs([graph(model, *m) for m in MOLECULES])
    model.zero_grad()
    out = model(batch, energy=False, hamiltonian=True).correction
    out.square().sum().backward()
    return out.detach(), {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("basis", [SPD, UNLIKE], ids=["spd", "unlike"])
@pytest.mark.parametrize("settings", [{}, {"hermitian": False}, {"multiplicities": (1, 3)}], ids=str)
def test_blocks_of_all_kinds_at_once_are_those_of_one_kind_after_the_other(basis, settings):
    model = tiny_model(basis, **settings)
    (apart, slopes), (together, others) = corrections(model, False), corrections(model, True)
    assert apart.abs().max() > 0.1
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-13)
    for name, slope in slopes.items():
        torch.testing.assert_close(others[name], slope, rtol=1e-10, atol=1e-10)


def test_a_processor_goes_from_kind_to_kind_by_itself():
    model = tiny_model()
    batch = graph(model, *WATER)
    head, nodes = model.hamiltonian_heads[0], model.embed_nodes(graph(model, *WATER))
    elements = model.element_index[batch.z]
    assert len(head.onsite_blocks(nodes, elements)) == 2
    assert len(head.onsite_blocks(nodes, elements, together=True)) == 1


def test_functions_of_shells_that_an_element_lacks_have_no_place():
    places = own_functions(((0, 0), (1, 1)), ((0, 0), (0, 1), (1, 0), (1, 1)))
    assert places.tolist() == [0, -1, -1, -1, -1, 1, 2, 3]
