"""Copies are copies, settings are used, and nonsense is refused by our own errors."""

import os

import numpy as np
import pytest
import torch
from ase.build import molecule
from pyscf import gto

from helm_ase import HELMCalculator, load_model
from helm_ase.checkpoint import save_checkpoint
from helm_ase.electronic.fields import Grid
from helm_ase.errors import HelmError, SettingError, StructureError


@pytest.fixture(scope="module")
def water():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator()
    atoms.get_potential_energy()
    return atoms


def test_what_callers_do_to_an_electronic_structure_stays_theirs(water):
    before = water.calc.get_hamiltonian(), water.calc.get_homo_lumo(), water.get_dipole_moment()
    structure = water.calc.get_electronic_structure()
    for tensor in (structure.hamiltonian, structure.orbital_energies, structure.orbitals, structure.overlap):
        tensor.zero_()
    structure.molecule.nuclear_positions.zero_()
    water.calc.get_density_matrix()[:] = 0
    assert np.array_equal(water.calc.get_hamiltonian(), before[0])
    assert water.calc.get_homo_lumo() == before[1]
    assert np.array_equal(water.calc.get_density_matrix(), water.calc.initial_guess())
    assert np.abs(water.calc.get_density_matrix()).max() > 0.5


def test_a_setting_written_to_parameters_is_used():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator()
    single = atoms.get_potential_energy()
    atoms.calc.parameters["dtype"] = "float64"
    assert atoms.get_potential_energy() != single
    again = molecule("H2O")
    again.calc = HELMCalculator(dtype="float64")
    assert atoms.get_potential_energy() == again.get_potential_energy()
    atoms.calc.parameters["dtype"] = "float8"
    with pytest.raises(SettingError, match="float8"):
        atoms.get_potential_energy()


def test_a_checkpoint_replaced_by_one_of_the_same_size_and_time_is_read_anew(tmp_path):
    path, model = tmp_path / "model.safetensors", load_model()
    save_checkpoint(model, path)
    first, before = HELMCalculator(model=str(path)), path.stat()
    with torch.no_grad():
        model.model.energy_reference += 1
    save_checkpoint(model, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second, atoms = HELMCalculator(model=str(path)), molecule("H2O")
    assert second.checkpoint.sha256 != first.checkpoint.sha256
    energies = [calc.get_potential_energy(atoms) for calc in (first, second)]
    assert energies[1] - energies[0] == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize("steps", [1.5, 0, -1, True, "2", None, float("nan")])
def test_a_number_of_steps_that_is_none_is_refused(water, steps):
    with pytest.raises(SettingError, match=r"n_iterations is .*whole number"):
        water.calc.refine(steps)


@pytest.mark.parametrize(
    ("spacing", "margin"),
    [
        (1e-4, 3),
        (1e-300, 3),
        (0.2, np.inf),
        (np.inf, 3),
        (np.nan, 3),
        (0.2, np.nan),
        (0.2, 1e6),
        (0, 3),
        (-1, 3),
    ],
)
def test_grids_that_cannot_be_are_refused(spacing, margin):
    with pytest.raises(SettingError, match="spacing"):
        Grid.around(molecule("H2O").positions, spacing, margin)


@pytest.mark.parametrize("mol", ["abc", 3, gto.Mole()])
def test_a_guess_for_what_is_no_molecule_is_refused(water, mol):
    with pytest.raises((StructureError, HelmError), match="Mole"):
        water.calc.initial_guess(mol)
