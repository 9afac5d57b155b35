"""``refine=``: energy, forces and orbitals of DFT through ASE, and how consistent they are."""

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces
from ase.db import connect

from helm_ase import HELMCalculator
from helm_ase.errors import SettingError

pytestmark = pytest.mark.scf


@pytest.fixture(scope="module")
def water():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture(scope="module")
def refined(water):
    atoms = water.copy()
    atoms.calc = HELMCalculator(refine=2)
    return atoms


def test_everything_is_what_refine_gives(water, refined):
    calc = HELMCalculator()
    expected = calc.refine(2, forces=True, atoms=water)
    assert refined.get_potential_energy() == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(refined.get_forces(), expected.forces, atol=1e-9)
    assert refined.calc.get_homo_lumo() == pytest.approx(expected.homo_lumo, abs=1e-9)
    assert refined.calc.get_homo_lumo() != pytest.approx(calc.get_homo_lumo(water), abs=1e-4)
    dipole = expected.structure.dipole().numpy()
    assert np.linalg.norm(refined.get_dipole_moment()) == pytest.approx(
        np.linalg.norm(dipole) * 0.529177, abs=1e-4
    )
    assert np.abs(refined.get_potential_energy() - calc.get_potential_energy(water)) > 1e-4


def test_forces_are_the_slope_of_the_energy_up_to_what_is_documented(refined):
    """``Refinement.forces`` says: some meV/Å after two steps."""
    atoms = refined.copy()
    atoms.calc = HELMCalculator(refine=2)
    analytic = atoms.get_forces()
    numeric = calculate_numerical_forces(atoms, eps=0.01, iatoms=[1])
    assert np.abs(numeric).max() > 0.5
    np.testing.assert_allclose(analytic[[1]], numeric, atol=10e-3)


def test_steps_are_part_of_the_question_and_of_its_record(refined, tmp_path):
    energy = refined.get_potential_energy()
    again = refined.copy()
    again.calc = HELMCalculator(refine=1)
    one = again.get_potential_energy()
    again.calc.set(refine=2)
    assert abs(again.get_potential_energy() - energy) < 1e-9 < abs(one - energy)
    with connect(tmp_path / "x.db") as database:
        database.write(refined)
        assert database.get(1).calculator_parameters["refine"] == 2


def test_the_verdict_is_about_the_last_step(refined):
    verdict = refined.calc.get_verdict()
    assert verdict.trust == "trusted"
    assert "the last SCF step changed the energy" in str(verdict)
    assert 0 < verdict.error_bar < verdict.threshold == 1e-3


@pytest.mark.parametrize("steps", [-1, 1.5, True, "2", float("nan"), None])
def test_a_number_of_steps_that_is_none_is_refused(steps):
    with pytest.raises(SettingError, match="refine is"):
        HELMCalculator(refine=steps)


def test_one_step_has_an_energy_and_no_forces(water):
    atoms = water.copy()
    atoms.calc = HELMCalculator(refine=1)
    assert atoms.get_potential_energy() < 0
    with pytest.raises(SettingError, match="refine=2 or more"):
        atoms.get_forces()


def test_what_belongs_to_the_network_is_refused(refined):
    with pytest.raises(SettingError, match="network"):
        refined.calc.get_uncertainty()
    with pytest.raises(SettingError, match=r"ase\.vibrations"):
        refined.calc.get_vibrations()
