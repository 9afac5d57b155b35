"""Samples of crystals: what is left of F(k) after H0, on the translations that the network sees."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helm_ase.dataset.crystals import _spread, fit_crystal_operators, make_crystal_sample, pairs_within
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import DatasetError
from helm_ase.qc.crystal import crystal_basis
from helm_ase.representation import AOBasis
from shared.crystal_labels import CARBON, LEVEL, OTHER, hamiltonian, label
from shared.deviations import largest

BASIS = crystal_basis(LEVEL, [6])


@pytest.fixture(scope="module")
def sample():
    return make_crystal_sample(label(0, OTHER), LEVEL, BASIS, [CARBON], 4.0)


def test_nothing_is_left_of_a_matrix_that_the_operators_made():
    found = make_crystal_sample(label(0), LEVEL, BASIS, [CARBON], 4.0)
    assert largest(found.correction) < 1e-9
    assert largest(found.rest.values) < 1e-9


def test_at_the_points_of_the_mesh_the_reference_is_the_label(sample):
    one = label(0, OTHER)
    h, s, rest = sample.reference(one.k_mesh.kpts)
    expected = LatticeOperator.of(hamiltonian(0, OTHER)[2]).at(one.k_mesh.kpts)
    assert largest(h - expected) < 1e-9
    assert largest(rest) > 1e-3
    assert float(torch.linalg.eigvalsh(s).min()) > 0.05


def test_between_them_it_is_the_same_crystal(sample):
    k = torch.tensor([[0.137, 0.0, 0.0], [-0.31, 0.0, 0.0]]).double()
    expected = LatticeOperator.of(hamiltonian(0, OTHER)[2]).at(k)
    assert largest(sample.reference(k)[0] - expected) < 1e-6


def test_the_target_is_the_rest_where_the_network_can_reach(sample):
    graph, within = sample.graph, sample.within
    torch.testing.assert_close(within, within[graph.partner].transpose(1, 2))
    assert not sample.correction[~within].any()
    places = {tuple(t): v for t, v in zip(sample.rest.translations.tolist(), sample.rest.values, strict=True)}
    for t, block, mask in zip(graph.translation.tolist(), sample.correction, within, strict=True):
        torch.testing.assert_close(block, places[tuple(t)] * mask)
    pairs = len(graph.pair_index[0])
    assert int(pairs_within(graph, BASIS).sum()) == 16 * (2 * pairs + 2)  # four functions on an atom


def test_the_fit_of_labels_leaves_nothing_where_operators_made_them():
    made = [label(k, length=2.4 + 0.1 * k) for k in range(3)]
    found = fit_crystal_operators(made, LEVEL)
    for one in made:
        rest = make_crystal_sample(one, LEVEL, BASIS, found, 4.0).rest.values
        assert largest(rest) < 2e-3


def test_some_labels_of_a_list_are_of_all_of_it_and_hold_every_element():
    made = [SimpleNamespace(numbers=np.array([6, 6])) for _ in range(100)]
    made.insert(73, SimpleNamespace(numbers=np.array([5, 7])))
    chosen = _spread(made, 10)
    places = [k for k, x in enumerate(made) if any(x is y for y in chosen)]
    assert len(chosen) == 11
    assert {0, 73, 100} <= set(places)
    assert len(_spread(made[:3], 10)) == 3
    assert _spread([], 10) == []


def test_energies_that_are_not_known_are_no_numbers(sample):
    assert sample.energy == -300.1  # the free energy, to which forces and stress belong
    assert sample.forces.shape == (2, 3)
    assert bool(torch.isnan(sample.forces).all() & torch.isnan(sample.stress).all())
    assert sample.electrons == 8


def test_matrices_of_another_basis_are_refused():
    larger = AOBasis("larger", {6: (0, 0, 1)}, {6: 2})
    with pytest.raises(DatasetError, match="has 8 functions, larger has 10"):
        make_crystal_sample(label(0), LEVEL, larger, [CARBON], 4.0)


def test_the_order_of_functions_is_that_of_the_network(sample):
    """PySCF has p as x, y, z; the network as y, z, x: of a chain along x the p functions differ."""
    onsite = sample.baseline.values[len(sample.baseline.values) // 2].numpy()
    along = onsite[3, 3], hamiltonian(0)[2].reorder("pyscf").at([0, 0, 0])[1, 1]
    assert along[0] == pytest.approx(along[1])
    assert abs(onsite[1, 1] - onsite[3, 3]) > 1e-3
    assert np.allclose(onsite, onsite.T)
