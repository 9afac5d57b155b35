"""A network that adopts the weights of one with fewer elements predicts the same for those."""

import pytest
import torch
from ase.build import molecule

from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.nn.new_elements import adopt_weights
from helm_ase.prediction.electronic import make_graph
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.charge_state import ChargeState

SETTINGS = HELMSettings(BackboneSettings(8, 4, lmax=2, mmax_nodes=2, node_layers=1, edge_layers=1))


def network(elements, seed, basis="sto-3g"):
    torch.manual_seed(seed)
    model = HELM(ao_basis(basis, elements), SETTINGS).eval()
    for head in model.hamiltonian_heads:
        for name, buffer in head.named_buffers():
            if "scale" in name:
                buffer.copy_(1e-2 * torch.rand_like(buffer))
    return model


def predicted(model, atoms):
    graph = make_graph(model, atoms, ChargeState(0, 1))
    with torch.no_grad():
        return model(graph)


@pytest.mark.parametrize("more", [(1, 3, 6, 8), (1, 6, 8, 9)], ids=["between", "after"])
def test_old_elements_keep_their_predictions(more):
    start, model = network((1, 6, 8), 0), network(more, 1)
    rest = model.backbone.element.weight.detach().clone()
    adopt_weights(model, start)
    for name in ("H2O", "CH3CH2OH"):
        mine, theirs = (predicted(m, molecule(name)) for m in (model, start))
        torch.testing.assert_close(mine.correction, theirs.correction, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(mine.energy, theirs.energy)
    new = [k for k, z in enumerate(more) if z not in (1, 6, 8)]
    assert torch.equal(model.backbone.element.weight[new], rest[new])


def test_networks_that_do_not_fit_are_refused():
    start = network((1, 6, 8), 0)
    with pytest.raises(ValueError, match=r"lacks the elements \[8\]"):
        adopt_weights(network((1, 6, 7), 0), start)
    with pytest.raises(ValueError, match="different parts"):
        adopt_weights(network((1, 6, 7, 8), 0, basis="6-31g"), start)
