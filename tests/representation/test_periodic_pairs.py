"""Pairs of a crystal: each once, images and self-images included, whatever the cell and the wrapping."""

import numpy as np
import pytest
import torch
from ase.build import bulk, graphene

from helm_ase.errors import StructureError
from helm_ase.representation.graph import AtomicGraph, batch_graphs, block_slots, edge_vectors
from helm_ase.representation.lattice import Lattice, integer_grid
from helm_ase.representation.periodic_pairs import periodic_pairs
from shared.geometries import ETHENE

SKEWED = Lattice([[2.1, 0.2, 0.0], [1.7, 2.3, 0.1], [-0.2, 0.9, 2.5]], [True] * 3)
NUMBERS = np.array([6, 1, 6])
PLACES = np.array([[0.0, 0.1, 0.2], [1.1, 0.7, 0.3], [2.9, -0.8, 1.5]])


def brute_force(numbers, positions, cutoff, lattice, reach=6):
    """(i, j, T) of both directions within the cutoff."""
    grid = integer_grid(-reach * lattice.pbc, reach * lattice.pbc)
    found = set()
    for t, v in zip(grid.tolist(), lattice.vectors(grid), strict=True):
        for i in range(len(numbers)):
            for j in range(len(numbers)):
                apart = np.linalg.norm(positions[j] + v - positions[i])
                if apart < cutoff and (i != j or any(t)):
                    found.add((i, j, *t))
    return found


@pytest.mark.parametrize("pbc", [[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
@pytest.mark.parametrize("cutoff", [1.0, 2.7, 4.3])
def test_every_pair_is_there_once_in_one_of_its_directions(pbc, cutoff):
    lattice = Lattice(SKEWED.cell, np.array(pbc, bool))
    found = periodic_pairs(NUMBERS, PLACES, cutoff, lattice)
    listed = [(*p, *t) for p, t in zip(found.pairs.T.tolist(), found.shifts.tolist(), strict=True)]
    opposite = {(j, i, -a, -b, -c) for i, j, a, b, c in listed}
    assert len(set(listed)) == len(listed)
    assert not set(listed) & opposite
    assert set(listed) | opposite == brute_force(NUMBERS, PLACES, cutoff, lattice)
    assert (NUMBERS[found.pairs[0]] <= NUMBERS[found.pairs[1]]).all()


def test_translations_are_closed_ascending_and_hold_those_of_the_pairs():
    found = periodic_pairs(NUMBERS, PLACES, 4.0, SKEWED)
    t = found.translations
    np.testing.assert_array_equal(t, -t[::-1])
    assert sorted(map(tuple, t.tolist())) == [tuple(x) for x in t.tolist()]
    np.testing.assert_array_equal(t[found.slots], found.shifts)
    assert not t[len(t) // 2].any()


def test_vectors_lead_from_the_first_atom_to_the_image_of_the_second():
    graph = AtomicGraph.from_arrays(NUMBERS, PLACES, 4.0, lattice=SKEWED)
    found = periodic_pairs(NUMBERS, PLACES, 4.0, SKEWED)
    i, j = found.pairs
    expected = PLACES[j] + found.shifts @ SKEWED.cell - PLACES[i]
    np.testing.assert_allclose(edge_vectors(graph).numpy(), expected, atol=1e-14)
    assert (np.linalg.norm(expected, axis=1) < 4.0).all()


def test_a_strain_stretches_every_vector_and_never_turns_it():
    graph = AtomicGraph.from_arrays(NUMBERS, PLACES, 4.0, lattice=SKEWED)
    strain = torch.tensor([[[0.01, 0.03, 0.0], [-0.01, 0.0, 0.02], [0.0, 0.02, -0.01]]]).double()
    symmetric = np.array([[0.01, 0.01, 0.0], [0.01, 0.0, 0.02], [0.0, 0.02, -0.01]])
    expected = edge_vectors(graph).numpy() @ (np.eye(3) + symmetric)
    np.testing.assert_allclose(edge_vectors(graph, strain=strain).numpy(), expected, atol=1e-14)


def test_molecules_keep_their_fields_and_a_lattice_without_periodicity_adds_zero_translations():
    plain = AtomicGraph.from_arrays(ETHENE[0], np.array(ETHENE[1]), 3.0)
    assert not plain.is_crystal
    assert set(plain.keys()) == {"z", "pos", "charge", "multiplicity", "pair_index"}
    none = AtomicGraph.from_arrays(ETHENE[0], np.array(ETHENE[1]), 3.0, lattice=Lattice.none())
    assert none.is_crystal
    assert none.translation.tolist() == [[0, 0, 0]]
    assert {tuple(p) for p in none.pair_index.T.tolist()} == {tuple(p) for p in plain.pair_index.T.tolist()}


def test_joined_crystals_count_their_translations_one_after_the_other():
    crystals = [graphene(vacuum=5.0), bulk("C", "diamond", 3.6)]
    graphs = [
        AtomicGraph.from_arrays(a.numbers, a.positions, 3.0, lattice=Lattice.of_atoms(a)) for a in crystals
    ]
    batch = batch_graphs(graphs)
    sizes = [len(g.translation) for g in graphs]
    onsite, slot, partner = block_slots(batch)
    assert onsite.tolist() == [sizes[0] // 2] * 2 + [sizes[0] + sizes[1] // 2] * 2
    assert slot.tolist() == graphs[0].slot.tolist() + (graphs[1].slot + sizes[0]).tolist()
    assert partner.tolist() == [*range(sizes[0] - 1, -1, -1), *range(sum(sizes) - 1, sizes[0] - 1, -1)]
    torch.testing.assert_close(batch.translation[partner], -batch.translation)
    both = torch.cat([edge_vectors(g) for g in graphs])
    torch.testing.assert_close(edge_vectors(batch), both, rtol=0, atol=1e-14)


def test_an_atom_on_the_image_of_another_is_refused_and_both_are_named():
    places = np.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0]])
    with pytest.raises(StructureError, match=r"atom 0 and the image of atom 1 .* listed twice"):
        AtomicGraph.from_arrays([6, 6], places, 3.0, lattice=Lattice(2.5 * np.eye(3), [True] * 3))
