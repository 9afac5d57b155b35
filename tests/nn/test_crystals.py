"""The network on crystals: the same numbers however the crystal is described; gradients are derivatives."""

import numpy as np
import pytest
import torch

from helm_ase.errors import StructureError
from helm_ase.representation import AOBasis
from helm_ase.representation.graph import AtomicGraph, batch_graphs
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from shared.deviations import largest
from shared.geometries import ETHENE, FORMAMIDE
from shared.rotations import ao_rotation, improper, rotation
from shared.small_models import run, tiny_model

BASIS = AOBasis("sp", {1: (0,), 6: (0, 1), 7: (0, 1), 8: (0, 1)})
NUMBERS = np.array([6, 1, 6])
PLACES = np.array([[0.0, 0.1, 0.2], [1.1, 0.7, 0.3], [0.4, 1.5, 1.5]])
CELL = np.array([[2.4, 0.2, 0.0], [0.7, 2.3, 0.1], [-0.2, 0.6, 2.7]])
PERIODIC = {"bulk": [1, 1, 1], "slab": [1, 1, 0], "chain": [0, 0, 1]}


@pytest.fixture(scope="module")
def model():
    return tiny_model(BASIS)


def crystal(model, numbers, positions, cell, pbc=(1, 1, 1)):
    """Energy, forces, stress and H(T)."""
    lattice = Lattice(cell, np.array(pbc, bool))
    graph = AtomicGraph.from_arrays(numbers, np.asarray(positions), model.cutoff, lattice=lattice)
    out = model(graph, stress=True, hamiltonian=True)
    h = out.correction[:, 0].detach().numpy()
    return (
        float(out.energy.detach()), out.forces.numpy(), out.stress[0].numpy(),
        RealSpaceMatrix(graph.translation.numpy(), h, np.asarray(numbers), BASIS),
    )  # fmt: skip


def apart(one, other):
    """Largest difference of two matrices, whichever translations they list."""
    t = {tuple(x) for m in (one, other) for x in m.translations.tolist()}
    return max(largest(one.at(x) - other.at(x)) for x in t)


@pytest.fixture(scope="module", params=PERIODIC)
def case(request, model):
    pbc = PERIODIC[request.param]
    return pbc, crystal(model, NUMBERS, PLACES, CELL, pbc)


def test_half_of_the_pairs_of_the_test_crystal_are_images_of_one_atom(model):
    graph = AtomicGraph.from_arrays(NUMBERS, PLACES, model.cutoff, lattice=Lattice(CELL, [True] * 3))
    own = (graph.pair_index[0] == graph.pair_index[1]).sum()
    assert 0.2 < float(own) / graph.pair_index.shape[1] < 0.6


def test_blocks_of_opposite_translations_are_transposes_to_the_last_bit(model):
    graph = AtomicGraph.from_arrays(NUMBERS, PLACES, model.cutoff, lattice=Lattice(CELL, [True] * 3))
    h = model(graph, energy=False, hamiltonian=True).correction
    assert torch.equal(h, h[graph.partner].transpose(-1, -2))


def test_another_image_of_an_atom_changes_nothing_but_the_names_of_translations(model, case):
    pbc, (e, f, s, h) = case
    moved = np.array([[0, 0, 0], [1, -2, 1], [-1, 0, 3]]) * pbc
    e2, f2, s2, h2 = crystal(model, NUMBERS, PLACES + moved @ CELL, CELL, pbc)
    assert abs(e2 / e - 1) < 1e-12
    assert largest(f2 - f) < 1e-11 * largest(f)
    assert largest(s2 - s) < 1e-11 * largest(s)
    assert apart(h2, h.rewrapped(moved)) < 1e-12


def test_other_vectors_of_the_same_lattice_change_nothing_but_the_names_of_translations(model):
    u = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])
    e, f, s, h = crystal(model, NUMBERS, PLACES, CELL)
    e2, f2, s2, h2 = crystal(model, NUMBERS, PLACES, u @ CELL)
    assert abs(e2 / e - 1) < 1e-12
    assert largest(f2 - f) < 1e-11 * largest(f)
    assert largest(s2 - s) < 1e-11 * largest(s)
    assert apart(h2, h.recelled(u)) < 1e-12


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]])
def test_renumbering_renumbers(model, case, order):
    pbc, (e, f, s, h) = case
    e2, f2, s2, h2 = crystal(model, NUMBERS[order], PLACES[order], CELL, pbc)
    assert abs(e2 / e - 1) < 1e-12
    assert largest(f2 - f[order]) < 1e-11 * largest(f)
    assert largest(s2 - s) < 1e-11 * largest(s)
    assert apart(h2, h.renumbered(order)) < 1e-12


@pytest.mark.parametrize("operation", [rotation(1), -np.eye(3), improper(3)])
def test_everything_follows_rotations_and_reflections(model, case, operation):
    pbc, (e, f, s, h) = case
    e2, f2, s2, h2 = crystal(model, NUMBERS, PLACES @ operation.T, CELL @ operation.T, pbc)
    d = ao_rotation(BASIS, NUMBERS, operation)
    assert abs(e2 / e - 1) < 1e-10
    assert largest(f2 - f @ operation.T) < 1e-9 * largest(f)
    assert largest(s2 - operation @ s @ operation.T) < 1e-9 * largest(s)
    np.testing.assert_array_equal(h2.translations, h.translations)
    assert largest(h2.values - d @ h.values @ d.T) < 1e-9


def test_a_shift_of_all_atoms_changes_nothing(model, case):
    pbc, (e, f, _, h) = case
    e2, f2, _, h2 = crystal(model, NUMBERS, np.add(PLACES, [0.37, -41.0, 5.1]), CELL, pbc)
    assert abs(e2 / e - 1) < 1e-10
    assert largest(f2 - f) < 1e-9 * largest(f)
    assert apart(h2, h) < 1e-10


def test_a_supercell_is_the_same_crystal(model, case):
    pbc, (e, f, s, h) = case
    n = np.where(pbc, [2, 1, 3], 1)
    cells = np.array(np.meshgrid(*map(range, n), indexing="ij")).reshape(3, -1).T
    places = np.concatenate([PLACES + c @ CELL for c in cells])
    e2, f2, s2, h2 = crystal(model, np.tile(NUMBERS, len(cells)), places, CELL * n[:, None], pbc)
    assert abs(e2 / (len(cells) * e) - 1) < 1e-12
    assert largest(f2 - np.tile(f, (len(cells), 1))) < 1e-11 * largest(f)
    assert apart(h2, h.supercell(n.tolist())) < 1e-12
    if all(pbc):
        assert largest(s2 - s) < 1e-11 * largest(s)


@pytest.mark.parametrize("pbc", [[1, 1, 0], [1, 1, 1]])
def test_vacuum_changes_nothing(model, pbc):
    high = CELL * [[1], [1], [0]] + [[0, 0, 0], [0, 0, 0], [0.3, 0.1, 9.0]]
    higher = np.add(high, [[0, 0, 0], [0, 0, 0], [0.0, 0.0, 11.0]])
    e, f, _, h = crystal(model, NUMBERS, PLACES, high, pbc)
    e2, f2, _, h2 = crystal(model, NUMBERS, PLACES, higher, pbc)
    assert abs(e2 / e - 1) < 1e-12
    assert largest(f2 - f) < 1e-11 * largest(f)
    assert apart(h2, h) < 1e-12


@pytest.mark.parametrize("molecule", [FORMAMIDE, ETHENE])
@pytest.mark.parametrize("box", ["none", "large", "cut"])
def test_a_molecule_in_a_box_is_the_molecule(model, molecule, box):
    numbers, places = np.array(molecule[0]), np.array(molecule[1])
    e, f, h = run(model, numbers, places)
    pbc, cell = ([0, 0, 0], np.zeros((3, 3))) if box == "none" else ([1, 1, 1], 12.0 * np.eye(3))
    moved = np.array([[k % 2, 0, -(k % 3)] for k in range(len(numbers))]) * (box == "cut")
    lattice = Lattice(cell, np.array(pbc, bool))
    graph = AtomicGraph.from_arrays(numbers, places + moved @ cell, model.cutoff, lattice=lattice)
    out = model(graph, forces=True, hamiltonian=True)
    found = RealSpaceMatrix(graph.translation.numpy(), out.correction[:, 0].detach().numpy(), numbers, BASIS)
    assert abs(float(out.energy.detach()) / e - 1) < 1e-12
    assert largest(out.forces.numpy() - f) < 1e-11 * largest(f)
    assert largest(found.rewrapped(-moved).pruned(0.0).molecule().values - h[0]) < 1e-12


def test_forces_and_stress_are_derivatives_of_the_energy(model, case):
    pbc, (_, f, s, _) = case
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2), (2, 1)):
        shift = np.zeros_like(PLACES)
        shift[atom, axis] = step
        high, low = (crystal(model, NUMBERS, PLACES + x, CELL, pbc)[0] for x in (shift, -shift))
        assert abs(-(high - low) / (2 * step) - f[atom, axis]) < 1e-6 * largest(f)
    volume = abs(np.linalg.det(Lattice(CELL, np.array(pbc, bool)).complete))
    for a, b in ((0, 0), (2, 2), (0, 1), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        high, low = (
            crystal(model, NUMBERS, PLACES @ (np.eye(3) + x), CELL @ (np.eye(3) + x), pbc)[0]
            for x in (strain, -strain)
        )
        assert abs((high - low) / (2 * step) / volume - s[a, b]) < 1e-6 * largest(s)
    assert largest(s - s.T) == 0
    assert largest(f.sum(0)) < 1e-10 * largest(f)


def test_crystals_in_one_batch_do_not_see_each_other(model):
    lattices = [Lattice(CELL, [True] * 3), Lattice(1.2 * CELL, [True, True, False])]
    graphs = [AtomicGraph.from_arrays(NUMBERS, PLACES, model.cutoff, lattice=x) for x in lattices]
    both = model(batch_graphs(graphs), stress=True, hamiltonian=True)
    ones = [model(g, stress=True, hamiltonian=True) for g in graphs]
    torch.testing.assert_close(both.energy, torch.cat([o.energy for o in ones]), rtol=1e-12, atol=0)
    for name in ("forces", "stress", "correction"):
        alone = torch.cat([getattr(o, name) for o in ones])
        torch.testing.assert_close(getattr(both, name), alone, rtol=0, atol=1e-11)


def test_a_molecule_has_no_stress(model):
    with pytest.raises(StructureError, match="no stress"):
        model(AtomicGraph.from_arrays(NUMBERS, PLACES, model.cutoff), stress=True)
