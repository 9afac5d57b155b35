"""Forces are the derivative of the energy, and nothing jumps where an atom comes into reach."""

import numpy as np
import pytest

from shared.deviations import largest
from shared.geometries import CO2, FORMAMIDE, HCN, WATER, line
from shared.small_models import TINY, run, run_energies, tiny_model

STEP = 1e-4
LINEAR = [(*m, axis) for m in (CO2, HCN) for axis in range(3)]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def numerical_forces(model, numbers, positions):
    shifts = STEP * np.eye(positions.size).reshape(-1, *positions.shape)
    energies = run_energies(model, numbers, [positions + s * d for s in (1, -1) for d in shifts])
    plus, minus = energies.reshape(2, *positions.shape)
    return -(plus - minus) / (2 * STEP)


@pytest.mark.parametrize("molecule", [WATER, FORMAMIDE], ids=["water", "formamide"])
def test_forces_are_minus_the_slope_of_the_energy(model, molecule):
    positions = np.array(molecule[1])
    forces = run(model, molecule[0], positions)[1]
    assert largest(forces) > 1e-2
    np.testing.assert_allclose(forces, numerical_forces(model, molecule[0], positions), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("numbers", "places", "axis"), LINEAR)
def test_forces_on_molecules_exactly_along_an_axis_are_the_slope_of_the_energy(model, numbers, places, axis):
    positions = line(places, axis)
    forces = run(model, numbers, positions)[1]
    assert np.isfinite(forces).all()
    np.testing.assert_allclose(forces, numerical_forces(model, numbers, positions), rtol=0, atol=1e-5)
    across = np.delete(forces, axis, axis=1)
    assert largest(across) <= 1e-12 * largest(forces)


def test_forces_and_torques_of_a_free_molecule_vanish(model):
    positions = np.array(FORMAMIDE[1])
    forces = run(model, FORMAMIDE[0], positions)[1]
    np.testing.assert_allclose(forces.sum(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.cross(positions, forces).sum(0), 0.0, atol=1e-12)


# --- cutoffs ------------------------------------------------------------------------------------------


def scan(model, cutoff):
    """Energies, forces and Hamiltonians while an oxygen passes ``cutoff`` from the carbon of a C–H pair."""
    distances = cutoff + 1e-4 * np.arange(-4.5, 5.0)
    at = [[[0.0, 0.0, 0.0], [0.3, 0.9, 0.5], [0.0, 0.0, -d]] for d in distances]
    return [np.array(x) for x in zip(*(run(model, [6, 1, 8], r) for r in at), strict=True)]


def largest_steps(values):
    return np.abs(np.diff(values, axis=0)).reshape(len(values) - 1, -1).max(axis=1)


CUTOFFS = {"message": TINY.cutoff, "pair": TINY.pair_cutoff}


@pytest.mark.parametrize("which", CUTOFFS)
def test_energy_forces_and_hamiltonian_are_continuous_where_a_pair_comes_into_reach(model, which):
    for values in scan(model, CUTOFFS[which]):
        steps = largest_steps(values)
        assert steps.max() <= 1e-3 * largest(values)
        assert steps[4] <= 1.5 * max(steps[3], steps[5]) + 1e-9


@pytest.mark.parametrize(("which", "quantities"), [("message", (0, 1, 2)), ("pair", (2,))])
def test_without_the_envelope_they_do_jump(which, quantities):
    values = scan(tiny_model(envelope=False), CUTOFFS[which])
    for k in quantities:
        steps = largest_steps(values[k])
        assert steps[4] > 20 * max(steps[3], steps[5])


def test_the_message_cutoff_is_smooth_enough_for_vibrations(model):
    """Second differences of the energy, i.e. force constants, do not jump either."""
    energies = scan(model, TINY.cutoff)[0]
    curvature = np.diff(energies, 2) / 1e-8
    assert np.abs(np.diff(curvature)).max() < 0.05 * max(1.0, largest(energies))
