"""AtomicGraph: every near pair once, lower atomic number first, and batching changes nothing."""

import numpy as np
import pytest
import torch

import helm_ase.representation.geometry as geometry
from helm_ase.errors import StructureError
from helm_ase.representation.geometry import near_pairs
from helm_ase.representation.graph import AtomicGraph, batch_graphs, count_molecules, molecule_index
from shared.geometries import FORMAMIDE, WATER


def brute_force_pairs(numbers, positions, cutoff):
    pairs = set()
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            if np.linalg.norm(np.subtract(positions[i], positions[j])) < cutoff:
                pairs.add((j, i) if numbers[i] > numbers[j] else (i, j))
    return pairs


@pytest.mark.parametrize("cutoff", [0.5, 1.5, 2.5, 20.0])
def test_each_near_pair_appears_once_with_the_lower_atomic_number_first(cutoff):
    numbers, positions = FORMAMIDE
    graph = AtomicGraph.from_arrays(numbers, np.array(positions), cutoff)
    found = [tuple(p) for p in graph.pair_index.T.tolist()]
    assert len(found) == len(set(found))
    assert set(found) == brute_force_pairs(numbers, positions, cutoff)


@pytest.mark.parametrize("cutoff", [0.3, 2.0, 5.0])
def test_pairs_of_many_atoms_are_found_as_those_of_few(rng, cutoff, monkeypatch):
    positions = rng.uniform(0, 9, (150, 3))
    few = near_pairs(positions, cutoff)
    monkeypatch.setattr(geometry, "FEW", 10)
    many = near_pairs(positions, cutoff)
    assert len(few.first) > 0
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_of_many_atoms_that_coincide_are_named(rng):
    positions = np.stack(np.meshgrid(*[np.arange(7.0)] * 3), -1).reshape(-1, 3)
    positions[300] = positions[17] + [0.0, 0.05, 0.0]
    with pytest.raises(StructureError, match=r"atoms 17 and 300 are 0\.050"):
        AtomicGraph.from_arrays(np.ones(343, int), positions, 2.0)


def test_a_batch_holds_the_same_atoms_and_pairs_as_its_molecules():
    graphs = [
        AtomicGraph.from_arrays(WATER[0], np.array(WATER[1]), 3.0, charge=1, multiplicity=2),
        AtomicGraph.from_arrays([2], np.zeros((1, 3)), 3.0),
        AtomicGraph.from_arrays(FORMAMIDE[0], np.array(FORMAMIDE[1]), 3.0, charge=-1, multiplicity=2),
    ]
    batch = batch_graphs(graphs)
    assert count_molecules(batch) == 3
    assert molecule_index(batch).tolist() == [0] * 3 + [1] + [2] * 6
    assert batch.charge.tolist() == [1, 0, -1]
    assert batch.multiplicity.tolist() == [2, 1, 2]
    assert torch.equal(batch.z, torch.cat([g.z for g in graphs]))
    assert torch.equal(batch.pos, torch.cat([g.pos for g in graphs]))
    shifted = [g.pair_index + start for g, start in zip(graphs, (0, 3, 4), strict=True)]
    assert torch.equal(batch.pair_index, torch.cat(shifted, dim=1))


def test_a_single_graph_is_a_batch_of_one():
    graph = AtomicGraph.from_arrays(WATER[0], np.array(WATER[1]), 3.0)
    assert count_molecules(graph) == 1
    assert molecule_index(graph).tolist() == [0, 0, 0]


def test_positions_are_double_precision_and_a_copy():
    positions = np.array(WATER[1], dtype=np.float32)
    graph = AtomicGraph.from_arrays(WATER[0], positions, 3.0)
    assert graph.pos.dtype == torch.float64
    doubles = np.array(WATER[1])
    graph = AtomicGraph.from_arrays(WATER[0], doubles, 3.0)
    graph.pos += 1.0
    np.testing.assert_array_equal(doubles, np.array(WATER[1]))


def test_no_atoms_at_all_are_refused():
    with pytest.raises(StructureError, match="at least one atom"):
        AtomicGraph.from_arrays([], np.zeros((0, 3)), 5.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_position_that_is_not_finite_is_refused_and_named(bad):
    positions = np.array(WATER[1])
    positions[1, 2] = bad
    with pytest.raises(StructureError, match="atom 1 is not finite"):
        AtomicGraph.from_arrays(WATER[0], positions, 5.0)


@pytest.mark.parametrize("distance", [0.0, 1e-8, 0.099])
def test_coincident_atoms_are_refused_and_named(distance):
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.0, distance, 0]])
    with pytest.raises(StructureError, match="atoms 1 and 2"):
        AtomicGraph.from_arrays([8, 1, 1], positions, 5.0)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (9,)])
def test_positions_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(StructureError, match="shape"):
        AtomicGraph.from_arrays([8, 1, 1], np.zeros(shape), 5.0)
