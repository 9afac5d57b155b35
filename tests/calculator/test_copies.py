"""Files, copies, pickles and calculators that molecules share."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.db import connect
from ase.io import read, write

from helm_ase import HELMCalculator, load_model
from helm_ase.errors import CheckpointError
from shared.attached import with_calc


def test_a_loaded_model_can_be_changed_without_touching_calculators(water):
    energy = water.get_potential_energy()
    load_model().model.cast(torch.float64).energy_reference.zero_()
    again = water.copy()
    again.calc = HELMCalculator()
    assert again.get_potential_energy() == energy


def test_a_pickle_of_another_model_is_refused(water):
    state = water.calc.__getstate__() | {"model_sha256": "0" * 64}
    with pytest.raises(CheckpointError, match="pickled with model"):
        HELMCalculator.__new__(HELMCalculator).__setstate__(state)


def test_extended_xyz_keeps_energy_forces_dipole_and_charges(water, tmp_path):
    water.get_forces(), water.get_dipole_moment(), water.get_charges(), water.calc.get_hamiltonian()
    write(tmp_path / "w.extxyz", water)
    back = read(tmp_path / "w.extxyz")
    assert back.get_potential_energy() == pytest.approx(water.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(back.get_forces(), water.get_forces(), atol=1e-7)
    np.testing.assert_allclose(back.get_dipole_moment(), water.get_dipole_moment(), atol=1e-7)
    np.testing.assert_allclose(back.get_charges(), water.get_charges(), atol=1e-7)


def test_trajectory_files_keep_every_digit(water, tmp_path):
    water.get_forces(), water.calc.get_hamiltonian()
    water.info["charge"] = 0
    write(tmp_path / "w.traj", water)
    back = read(tmp_path / "w.traj")
    assert back.get_potential_energy() == water.get_potential_energy()
    assert np.array_equal(back.get_forces(), water.get_forces())
    assert back.info["charge"] == 0


@pytest.mark.parametrize("suffix", ["db", "json"])
def test_databases_keep_results_and_the_checksum_of_the_model(water, tmp_path, suffix):
    water.get_forces(), water.calc.get_hamiltonian()
    with connect(tmp_path / f"w.{suffix}") as database:
        database.write(water)
    row = connect(tmp_path / f"w.{suffix}").get(1)
    assert row.calculator == "helm"
    assert row.calculator_parameters["model"] == "helm-organic-1"
    assert row.calculator_parameters["model_sha256"] == water.calc.checkpoint.sha256
    assert row.toatoms().get_potential_energy() == pytest.approx(water.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(row.toatoms().get_forces(), water.get_forces(), atol=1e-12)


def test_todict_is_plain_json_with_the_checksum():
    calc = HELMCalculator(dtype=torch.float64, device=torch.device("cpu"), charge=np.int64(2))
    recorded = json.loads(json.dumps(calc.todict()))
    assert recorded["model"] == "helm-organic-1"
    assert len(recorded["model_sha256"]) == 64
    assert (recorded["dtype"], recorded["device"], recorded["charge"]) == ("float64", "cpu", 2)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("used", [False, True])
def test_copies_and_pickles_with_atoms_give_equal_energies_and_levels(duplicate, used):
    water = with_calc()
    if used:
        water.get_forces(), water.calc.get_hamiltonian()
    twin = duplicate(water)
    assert twin.calc is not water.calc
    assert twin.get_potential_energy() == water.get_potential_energy()
    assert np.array_equal(twin.get_forces(), water.get_forces())
    assert twin.calc.get_homo_lumo() == pytest.approx(water.calc.get_homo_lumo(), abs=1e-9)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_getters_of_a_copy_follow_the_copied_atoms(duplicate):
    water = with_calc()
    old = water.calc.get_homo_lumo()
    twin = duplicate(water)
    twin.positions[1] += 0.1
    fresh = twin.copy()
    fresh.calc = HELMCalculator()
    assert twin.calc.get_homo_lumo() == pytest.approx(fresh.calc.get_homo_lumo(), abs=1e-9)
    assert twin.calc.get_homo_lumo() != pytest.approx(old, abs=1e-4)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_getters_of_a_copy_answer_right_away(duplicate):
    water = with_calc()
    assert duplicate(water).calc.get_homo_lumo() == pytest.approx(water.calc.get_homo_lumo(), abs=1e-9)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_bare_calculator_survives_copying(water, duplicate):
    twin = duplicate(HELMCalculator(dtype="float64"))
    assert twin.parameters["dtype"] == "float64"
    energy = water.copy()
    energy.calc = twin
    assert energy.get_potential_energy() == pytest.approx(water.get_potential_energy(), abs=1e-4)


def test_a_pickle_does_not_carry_the_weights(water):
    water.calc.get_hamiltonian()
    assert len(pickle.dumps(water.calc)) < 100_000


def test_two_molecules_sharing_one_calculator_get_their_own_numbers():
    shared = HELMCalculator()
    a, b = molecule("H2O"), molecule("CH3OH")
    expected = {}
    for atoms in (a, b):
        alone = atoms.copy()
        alone.calc = HELMCalculator()
        expected[id(atoms)] = alone.get_potential_energy(), alone.get_forces()
    a.calc = b.calc = shared
    for atoms in (a, b, a, a, b):
        energy, forces = expected[id(atoms)]
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-6)
    assert shared.get_hamiltonian(a).shape == (24, 24)
    assert shared.get_hamiltonian(b).shape == (48, 48)


def test_getters_of_a_shared_calculator_speak_of_the_molecule_used_last():
    a, b = molecule("H2O"), molecule("HCN")
    a.calc = b.calc = shared = HELMCalculator()
    a.get_potential_energy()
    assert shared.get_overlap().shape == (24, 24)
    b.get_forces()
    assert shared.get_overlap().shape == (33, 33)


def test_a_calculator_can_be_attached_by_keyword(water):
    twin = water.copy()
    calc = HELMCalculator(atoms=twin)
    assert twin.calc is calc
    assert twin.get_potential_energy() == water.get_potential_energy()


def test_getters_follow_the_attached_atoms_when_they_move(water):
    old = water.calc.get_homo_lumo()
    water.positions[1] += 0.1
    fresh = water.copy()
    fresh.calc = HELMCalculator()
    assert water.calc.get_homo_lumo() == pytest.approx(fresh.calc.get_homo_lumo(), abs=1e-9)
    assert water.calc.get_homo_lumo() != pytest.approx(old, abs=1e-4)


def test_getters_accept_other_atoms_than_the_attached_ones(water):
    other = molecule("HCN")
    alone = other.copy()
    alone.calc = HELMCalculator()
    assert water.calc.get_homo_lumo(other) == pytest.approx(alone.calc.get_homo_lumo(), abs=1e-9)


def test_what_callers_do_to_results_stays_theirs(water):
    occupations = water.calc.get_occupation_numbers()
    occupations /= 2
    assert water.calc.get_occupation_numbers().sum() == 10
    expected = water.calc.get_reliability().fock_residual
    water.calc.extra_results["hamiltonian"] += 1
    water.calc.extra_results["overlap"][:] = 0
    assert water.calc.get_reliability().fock_residual == expected


def test_shallow_copies_share_nothing_that_either_may_change(water):
    energy = water.get_potential_energy()
    twin = copy.copy(water.calc)
    twin.set(charge=1, multiplicity=2)
    twin.results["energy"] = 0.0
    assert water.calc.parameters["charge"] == 0
    assert water.get_potential_energy() == energy
