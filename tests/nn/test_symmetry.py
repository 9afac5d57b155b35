"""The whole network obeys the symmetries of space and of numbering to rounding error."""

import numpy as np
import pytest
import torch

from helm_ase.representation import AOMatrix
from helm_ase.representation.graph import batch_graphs
from shared.deviations import largest, relative
from shared.geometries import CO2, ETHENE, FORMAMIDE, WATER, line
from shared.rotations import ao_rotation, improper, rotation
from shared.small_models import SPD, SPDF, graph, run, tiny_model

PROPER = {"rotation 1": rotation(1), "rotation 2": rotation(2), "half turn": np.diag([-1.0, -1.0, 1.0])}
IMPROPER = {"inversion": -np.eye(3), "mirror": np.diag([1.0, 1.0, -1.0]), "improper": improper(3)}
CASES = [("spd", FORMAMIDE), ("spdf", ETHENE)]


@pytest.fixture(scope="module")
def models():
    return {"spd": tiny_model(SPD), "spdf": tiny_model(SPDF, edge_layers=1)}


def deviations(model, numbers, positions, operation):
    """Relative violations of equivariance of energy, forces and Hamiltonian."""
    positions = np.array(positions)
    e, f, h = run(model, numbers, positions)
    e2, f2, h2 = run(model, numbers, positions @ operation.T)
    d = ao_rotation(model.basis, numbers, operation)
    return abs(e2 / e - 1), relative(f2, f @ operation.T), relative(h2, d @ h @ d.T)


@pytest.mark.parametrize("operation", [*PROPER, *IMPROPER])
@pytest.mark.parametrize(("basis", "molecule"), CASES)
def test_energy_forces_and_every_block_follow_rotations_and_reflections(models, basis, molecule, operation):
    assert max(deviations(models[basis], *molecule, (PROPER | IMPROPER)[operation])) <= 1e-9


@pytest.mark.parametrize("operation", [*PROPER, *IMPROPER])
def test_a_linear_molecule_may_be_turned_onto_and_off_an_axis(models, operation):
    positions = line(CO2[1], 2)
    e, f, h = run(models["spd"], CO2[0], positions)
    r = (PROPER | IMPROPER)[operation]
    e2, f2, h2 = run(models["spd"], CO2[0], positions @ r.T)
    d = ao_rotation(SPD, CO2[0], r)
    assert max(abs(e2 / e - 1), relative(f2, f @ r.T), relative(h2, d @ h @ d.T)) <= 1e-9


def test_the_hamiltonian_really_changes_when_the_molecule_turns(models):
    positions = np.array(FORMAMIDE[1])
    h = run(models["spd"], FORMAMIDE[0], positions)[2]
    assert relative(run(models["spd"], FORMAMIDE[0], positions @ rotation(1).T)[2], h) > 0.01


def test_without_parity_rotations_hold_but_reflections_fail():
    model = tiny_model(SPD, parity=False)
    assert max(deviations(model, *FORMAMIDE, rotation(1))) <= 1e-9
    energy, forces, hamiltonian = deviations(model, *FORMAMIDE, improper(3))
    assert min(energy, forces, hamiltonian) > 1e-5


@pytest.mark.parametrize(("basis", "molecule"), CASES)
def test_a_shift_by_100_angstrom_changes_nothing(models, basis, molecule):
    numbers, positions = molecule[0], np.array(molecule[1])
    e, f, h = run(models[basis], numbers, positions)
    e2, f2, h2 = run(models[basis], numbers, np.add(positions, [100.0, -100.0, 100.0]))
    assert max(abs(e2 / e - 1), relative(f2, f), relative(h2, h)) <= 1e-9


@pytest.mark.parametrize("hermitian", [True, False])
@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [1, 0, 2, 3, 4, 5], [3, 0, 5, 2, 4, 1]])
@pytest.mark.parametrize("molecule", [ETHENE, FORMAMIDE])
def test_renumbering_the_atoms_renumbers_forces_and_blocks(molecule, order, hermitian):
    model = tiny_model(SPD, hermitian=hermitian)
    numbers, positions = np.array(molecule[0]), np.array(molecule[1])
    e, f, h = run(model, numbers, positions)
    e2, f2, h2 = run(model, numbers[order], positions[order])
    assert abs(e2 / e - 1) <= 1e-12
    assert relative(f2, f[order]) <= 1e-11
    before, after = AOMatrix(h[0], numbers, SPD), AOMatrix(h2[0], numbers[order], SPD)
    for i, old_i in enumerate(order):
        for j, old_j in enumerate(order):
            np.testing.assert_allclose(
                after.block(i, j), before.block(old_i, old_j), rtol=0, atol=1e-11 * largest(h)
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", [{}, {"hermitian": False}, {"parity": False}, {"pad_shells": True}])
def test_the_hamiltonian_is_symmetric_to_the_last_bit(settings, dtype):
    model = tiny_model(SPD, dtype=dtype, **settings)
    h = model(graph(model, *ETHENE), energy=False, hamiltonian=True).correction
    assert h.abs().max() > 1e-2
    assert torch.equal(h, h.transpose(-1, -2))


def test_with_hermitian_off_the_model_is_still_equivariant():
    model = tiny_model(SPD, hermitian=False)
    assert max(deviations(model, *FORMAMIDE, rotation(2))) <= 1e-9
    assert max(deviations(model, *FORMAMIDE, improper(2))) <= 1e-9


def test_molecules_in_one_batch_do_not_see_each_other(models):
    model = models["spd"]
    molecules = [WATER, FORMAMIDE, ([6], [[0.0, 0.0, 0.0]]), ETHENE, WATER]
    out = model(batch_graphs([graph(model, *m) for m in molecules]), forces=True, hamiltonian=True)
    start = 0
    for k, (numbers, positions) in enumerate(molecules):
        e, f, h = run(model, numbers, positions)
        stop, size = start + len(numbers), h.shape[1]
        assert abs(float(out.energy[k].detach()) / e - 1) <= 1e-12
        np.testing.assert_allclose(out.forces[start:stop].numpy(), f, rtol=0, atol=1e-12)
        padded = out.correction[k].detach().numpy()
        np.testing.assert_allclose(padded[:, :size, :size], h, rtol=0, atol=1e-12)
        assert not padded[:, size:].any()
        assert not padded[:, :, size:].any()
        start = stop


def test_a_lone_atom_is_spherical_and_feels_no_force(models):
    _, forces, h = run(models["spdf"], [6], np.zeros((1, 3)))
    assert not forces.any()
    assert largest(h) > 1e-2
    d = ao_rotation(SPDF, [6], improper(5))
    np.testing.assert_allclose(d @ h[0] @ d.T, h[0], rtol=0, atol=1e-11)


def test_two_atoms_out_of_reach_are_two_lone_atoms(models):
    model = models["spd"]
    e, f, h = run(model, [6, 8], [[0.0, 0, 0], [0, 0, 50.0]])
    alone = [run(model, [z], np.zeros((1, 3))) for z in (6, 8)]
    assert abs(e - sum(a[0] for a in alone)) <= 1e-12 * abs(e)
    assert not f.any()
    matrix = AOMatrix(h[0], np.array([6, 8]), SPD)
    assert not matrix.block(0, 1).any()
    for k in (0, 1):
        np.testing.assert_allclose(matrix.block(k, k), alone[k][2][0], rtol=0, atol=1e-12)


def test_far_atoms_outside_the_message_cutoff_still_share_a_block(models):
    model = models["spd"]
    h = run(model, [6, 8], [[0.0, 0, 0], [0, 0, 3.3]])[2]
    assert largest(AOMatrix(h[0], np.array([6, 8]), SPD).block(0, 1)) > 1e-3
