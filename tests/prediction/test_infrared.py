"""Infrared intensities and thermochemistry: laws, and ASE's own implementation of the same formulas."""

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.optimize import BFGS
from ase.vibrations import Infrared, VibrationsData

from helm_ase import HELMCalculator
from helm_ase.checkpoint.format import save_checkpoint
from helm_ase.errors import SettingError, StructureError
from helm_ase.prediction.infrared import ideal_gas, internal_modes, predict_infrared, rotations
from shared.evaluated_models import checkpoint


def relaxed(name):
    atoms = molecule(name)
    atoms.calc = HELMCalculator(dtype="float64", device="cpu")
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=100)
    return atoms


@pytest.fixture(scope="module")
def water():
    return relaxed("H2O")


@pytest.fixture(scope="module")
def spectrum(water):
    return water.calc.get_infrared()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Calculator of a network without training, for which the laws hold, too."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(checkpoint(), path)
    return HELMCalculator(path, dtype="float64", device="cpu")


def compare_with_ase(atoms, folder):
    spectrum = atoms.calc.get_infrared()
    reference = Infrared(atoms, name=str(folder / "ir"), delta=0.01)
    reference.run()
    reference.read()
    largest = spectrum.intensities.max()
    there = reference.intensities * units_of_ase()
    for k in spectrum.internal:
        wavenumber = reference.get_frequencies()[k]
        assert spectrum.wavenumbers[k] == pytest.approx(wavenumber.real - wavenumber.imag, abs=2.0, rel=5e-3)
        assert spectrum.intensities[k] == pytest.approx(there[k], rel=0.02, abs=0.002 * largest)


def test_intensities_are_those_of_ases_finite_differences(untrained, tmp_path):
    atoms = molecule("H2O")
    atoms.calc = untrained
    compare_with_ase(atoms, tmp_path)


@pytest.mark.slow
def test_intensities_of_the_default_model_are_those_of_ases_finite_differences(water, tmp_path):
    compare_with_ase(water, tmp_path)


def units_of_ase():
    """ASE keeps (D/Å)²/amu; this in km/mol."""
    return 42.255


def test_dipole_derivatives_of_a_neutral_molecule_add_to_nothing(spectrum):
    total = spectrum.dipole_derivatives.reshape(-1, 3, 3).sum(0)  # a shift of the whole
    np.testing.assert_allclose(total, 0, atol=5e-4)  # of the differences
    assert np.abs(spectrum.dipole_derivatives).max() > 0.1


def test_a_turned_molecule_has_the_same_spectrum(untrained):
    atoms = molecule("H2O")
    atoms.calc = untrained
    before = untrained.get_infrared().intensities[-2:]
    atoms.rotate(40, (1, 2, 3))
    atoms.translate((3.0, -2.0, 1.0))
    np.testing.assert_allclose(untrained.get_infrared().intensities[-2:], before, rtol=2e-3)


def test_the_area_under_the_lines_is_the_sum_of_the_intensities(spectrum):
    grid = np.linspace(-40_000, 50_000, 200_001)
    area = np.trapezoid(spectrum.broadened(grid, 30.0), grid)
    assert area == pytest.approx(spectrum.intensities[spectrum.internal].sum(), rel=5e-3)
    with pytest.raises(SettingError, match="must be positive"):
        spectrum.broadened(grid, 0.0)


def test_charges_that_move_with_their_atoms_give_the_textbook_intensity():
    atoms = molecule("HF")
    atoms.positions -= atoms.get_center_of_mass()
    hessian = np.zeros((6, 6))
    hessian[2, 2] = hessian[5, 5] = 60.0  # eV/Å² along z, the bond
    hessian[2, 5] = hessian[5, 2] = -60.0
    charges = np.array([0.4, -0.4])[: len(atoms)]
    found = predict_infrared(
        VibrationsData.from_2d(atoms, hessian), lambda many: [charges @ a.positions for a in many]
    )
    reduced = 1 / (1 / atoms.get_masses()).sum()
    wanted = (0.4 / units.Debye) ** 2 / reduced * 42.2561
    assert found.internal.tolist() == [5]
    assert found.intensities[5] == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(SettingError, match="displacement"):
        predict_infrared(found.vibrations, lambda many: [], 0.0)


@pytest.mark.parametrize(("name", "number"), [("H2O", 3), ("CO2", 2), ("C2H2", 2), ("CH4", 3), ("H", 0)])
def test_linear_molecules_have_two_rotations(name, number):
    assert rotations(molecule(name)) == number


def test_an_imaginary_mode_is_a_vibration_and_forbids_thermochemistry():
    atoms = molecule("H2O")
    values = np.diag([-50.0, 1e-4, 2e-4, 1e-4, 2e-4, 3e-4, 1e-4, 40.0, 30.0])
    saddle = VibrationsData.from_2d(atoms, values)
    assert internal_modes(saddle).tolist() == [0, 7, 8]
    with pytest.raises(SettingError, match="1 vibrations are imaginary"):
        ideal_gas(saddle, 0.0)


def test_the_entropy_of_water_is_that_of_the_tables(water, spectrum):
    gas = ideal_gas(spectrum.vibrations, water.get_potential_energy(), symmetry_number=2)
    entropy = gas.get_entropy(298.15, 1e5, verbose=False) * units.mol / units.J
    assert entropy == pytest.approx(188.8, abs=0.5)  # J/(mol K), NIST WebBook: 188.84


def test_it_needs_atoms_and_a_hamiltonian():
    with pytest.raises(StructureError, match="no atoms yet"):
        HELMCalculator(device="cpu").get_infrared()
