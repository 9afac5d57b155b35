"""Laws of energies, forces and levels: symmetry, slopes, additivity."""

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces
from scipy.stats import special_ortho_group

from helm_ase import HELMCalculator
from helm_ase.units import HARTREE_IN_EV
from shared.attached import PURE, with_calc


def test_forces_of_a_molecule_sum_to_zero_and_exert_no_torque():
    for model, tolerance in ((PURE, 1e-9), (None, 1e-7)):
        atoms = with_calc("CH3OH", 0.1, model=model, dtype="float64")
        forces = atoms.get_forces()
        assert np.abs(forces).max() > 1e-3
        assert np.abs(forces.sum(0)).max() < tolerance
        assert np.abs(np.cross(atoms.positions, forces).sum(0)).max() < tolerance


def random_rotation(seed, improper):
    rotation = special_ortho_group(3, seed=seed).rvs()
    return -rotation if improper else rotation


@pytest.mark.parametrize("improper", [False, True])
def test_energy_is_invariant_and_forces_turn_with_the_molecule(improper):
    atoms = with_calc("CH3OH", 0.1, dtype="float64")
    rotation = random_rotation(3, improper)
    turned = atoms.copy()
    turned.positions = atoms.positions @ rotation.T
    turned.calc = HELMCalculator(dtype="float64")
    assert turned.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(turned.get_forces(), atoms.get_forces() @ rotation.T, atol=1e-8)


def test_energy_does_not_notice_a_translation_by_100_angstrom():
    atoms = with_calc("CH3OH", 0.1, dtype="float64")
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.positions += [100.0, -100.0, 100.0]
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-8)


def test_single_precision_does_not_notice_a_translation_either():
    atoms = with_calc("CH3OH", 0.1)
    energy = atoms.get_potential_energy()
    atoms.positions += 100.0
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-4)


def test_renumbering_the_atoms_renumbers_the_answers():
    atoms = with_calc("CH3OH", 0.1, dtype="float64")
    order = np.random.default_rng(5).permutation(len(atoms))
    renumbered = atoms[order]
    renumbered.calc = HELMCalculator(dtype="float64")
    assert renumbered.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(renumbered.get_forces(), atoms.get_forces()[order], atol=1e-8)
    np.testing.assert_allclose(renumbered.calc.get_eigenvalues(), atoms.calc.get_eigenvalues(), atol=3e-4)
    np.testing.assert_allclose(renumbered.get_charges(), atoms.get_charges()[order], atol=1e-4)


@pytest.mark.parametrize("improper", [False, True])
def test_orbital_energies_are_invariant_within_ten_microhartree(improper):
    atoms = with_calc("H2O", 0.1, dtype="float64")
    turned = atoms.copy()
    turned.positions = atoms.positions @ random_rotation(11, improper).T
    turned.calc = HELMCalculator(dtype="float64")
    difference = (turned.calc.get_eigenvalues() - atoms.calc.get_eigenvalues()) / HARTREE_IN_EV
    assert np.abs(difference).max() < 10e-6


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["CO2", "HCN"])
def test_forces_of_linear_molecules_are_minus_the_slope_of_the_energy_along_each_axis(name, axis):
    """Edges along the polar axis are where spherical harmonics like to lose their derivatives."""
    atoms = with_calc(name, 0.0, dtype="float64")
    along_z = atoms.positions - atoms.positions[0]
    atoms.positions = np.roll(along_z, axis + 1, axis=1)
    atoms.positions[0, axis] += 0.03
    numerical = calculate_numerical_forces(atoms, eps=1e-4, force_consistent=True)
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-5)


def test_forces_of_ethanol_are_minus_the_slope_of_the_energy():
    atoms = with_calc("CH3CH2OH", 0.1, dtype="float64")
    some = [0, 2, 5]
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=some, force_consistent=True)
    np.testing.assert_allclose(atoms.get_forces()[some], numerical, atol=1e-5)
    assert np.abs(numerical).max() > 1e-2


def test_energy_of_two_distant_molecules_is_the_sum_of_theirs():
    a, b = molecule("H2O"), molecule("HCN")
    b.positions += [40.0, 0, 0]
    for model, tolerance in ((PURE, 1e-8), (None, 1e-3)):  # dipoles attract each other 40 Å apart, too
        calc = HELMCalculator(model, dtype="float64")
        energies = [calc.get_potential_energy(atoms) for atoms in (a, b, a + b)]
        assert energies[2] == pytest.approx(energies[0] + energies[1], abs=tolerance)
