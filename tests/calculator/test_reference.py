"""What the calculator says of the electrons, against PySCF's formulas and a self-consistent field."""

import numpy as np
import pytest
from ase import units
from ase.dft.bandgap import bandgap
from pyscf import scf
from scipy.linalg import eigh

from helm_ase.units import HARTREE_IN_EV
from shared.attached import pyscf_molecule, with_calc

# --- electronic structure -----------------------------------------------------------------------------


def test_dipole_is_that_of_the_predicted_density_in_e_angstrom(water):
    density = water.calc.get_density_matrix()
    debye = scf.hf.dip_moment(pyscf_molecule(water), density, unit="Debye", verbose=0)
    np.testing.assert_allclose(water.get_dipole_moment(), debye * units.Debye, atol=1e-5)


def test_charges_are_the_mulliken_charges_of_the_predicted_density(water):
    mole = pyscf_molecule(water)
    density = water.calc.get_density_matrix()
    _, charges = scf.hf.mulliken_pop(mole, density, mole.intor("int1e_ovlp"), verbose=0)
    np.testing.assert_allclose(water.get_charges(), charges, atol=1e-9)
    assert abs(water.get_charges().sum()) < 1e-9
    assert water.get_charges()[0] < -0.1


def test_density_matrix_holds_all_electrons_and_is_idempotent(water):
    d, s = water.calc.get_density_matrix(), water.calc.get_overlap()
    assert np.trace(d @ s) == pytest.approx(10, abs=1e-9)
    np.testing.assert_allclose(d @ s @ d, 2 * d, atol=1e-9)


def test_eigenvalues_in_ev_solve_the_returned_matrices(water):
    levels = eigh(water.calc.get_hamiltonian(), water.calc.get_overlap(), eigvals_only=True) * HARTREE_IN_EV
    np.testing.assert_allclose(water.calc.get_eigenvalues(), levels, atol=1e-7)
    np.testing.assert_allclose(water.calc.get_property("orbital_energies"), levels, atol=1e-7)
    assert water.calc.get_homo_lumo() == pytest.approx((levels[4], levels[5]), abs=1e-7)
    assert water.calc.get_homo_lumo_by_spin(0) == water.calc.get_homo_lumo()


def test_occupations_are_two_below_the_fermi_level_and_zero_above(water):
    levels, occupations = water.calc.get_eigenvalues(), water.calc.get_occupation_numbers()
    fermi = water.calc.get_fermi_level()
    assert np.array_equal(occupations, np.where(levels < fermi, 2.0, 0.0))
    assert occupations.sum() == 10
    assert water.calc.get_number_of_spins() == 1


@pytest.mark.parametrize("name", ["H2O", "CH3OH", "HCN"])
def test_matrices_come_in_the_ao_order_of_pyscf(name):
    atoms = with_calc(name)
    expected = pyscf_molecule(atoms).intor("int1e_ovlp")
    np.testing.assert_allclose(atoms.calc.get_overlap(), expected, atol=1e-12)
    hamiltonian = atoms.calc.get_hamiltonian()
    assert hamiltonian.shape == expected.shape
    np.testing.assert_allclose(hamiltonian, hamiltonian.T, atol=1e-12)


def test_bandgap_of_ase_agrees_with_homo_and_lumo(water):
    gap, _, _ = bandgap(water.calc, output=None)
    homo, lumo = water.calc.get_homo_lumo()
    assert gap == pytest.approx(lumo - homo, abs=1e-10)
    assert gap > 3


# --- against a real self-consistent field -------------------------------------------------------------


def test_energy_is_dominated_by_the_atoms_and_close_to_b3lyp(water):
    assert water.get_potential_energy() == pytest.approx(-76.36 * HARTREE_IN_EV, abs=0.02 * HARTREE_IN_EV)


@pytest.fixture(scope="module", params=["H2O", pytest.param("CH3OH", marks=pytest.mark.slow)])
def reference(request):
    atoms = with_calc(request.param, 0.03)
    mean_field = new_mean_field(atoms)
    mean_field.kernel()
    assert mean_field.converged
    return atoms, mean_field


def new_mean_field(atoms):
    from pyscf import dft

    mean_field = dft.RKS(pyscf_molecule(atoms), xc="b3lyp").density_fit()
    mean_field.grids.level = 2
    mean_field.conv_tol = 1e-9
    return mean_field


def count_cycles(mean_field, **keywords):
    cycles = []
    mean_field.callback = lambda local: cycles.append(local["cycle"])
    return mean_field.kernel(**keywords), len(cycles)


@pytest.mark.scf
def test_the_hamiltonian_is_that_of_b3lyp_within_350_microhartree(reference):
    atoms, mean_field = reference
    error = np.abs(atoms.calc.get_hamiltonian() - mean_field.get_fock())
    assert error.mean() < 350e-6


@pytest.mark.scf
def test_homo_and_lumo_are_those_of_b3lyp_and_no_ghost_level_lies_in_the_gap(reference):
    atoms, mean_field = reference
    n = mean_field.mol.nelectron // 2
    homo, lumo = mean_field.mo_energy[n - 1 : n + 1] * HARTREE_IN_EV
    predicted_homo, predicted_lumo = atoms.calc.get_homo_lumo()
    assert predicted_homo == pytest.approx(homo, abs=0.15)
    assert predicted_lumo > lumo - 0.5


@pytest.mark.scf
def test_energy_and_forces_are_those_of_b3lyp(reference):
    atoms, mean_field = reference
    energy = mean_field.e_tot * HARTREE_IN_EV
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=0.03 * len(atoms))
    gradient = mean_field.nuc_grad_method()
    gradient.verbose = 0
    forces = -gradient.kernel() * HARTREE_IN_EV / units.Bohr
    assert np.abs(atoms.get_forces() - forces).mean() < 0.2


@pytest.mark.scf
def test_dipole_is_that_of_b3lyp_within_a_tenth_of_a_debye(reference):
    atoms, mean_field = reference
    exact = mean_field.dip_moment(unit="Debye", verbose=0)
    np.testing.assert_allclose(atoms.get_dipole_moment() / units.Debye, exact, atol=0.1)


@pytest.mark.scf
def test_the_predicted_density_starts_an_scf_at_least_as_well_as_minao(reference):
    atoms, mean_field = reference
    energy, cycles = count_cycles(new_mean_field(atoms), dm0=atoms.calc.get_density_matrix())
    _, usual = count_cycles(new_mean_field(atoms))
    assert energy == pytest.approx(mean_field.e_tot, abs=1e-7)
    assert cycles <= usual
