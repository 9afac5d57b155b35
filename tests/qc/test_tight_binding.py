"""GFN2-xTB as energy baseline: its numbers, its forces, its charges, and what happens without it."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.units import Bohr

from helm_ase.errors import CheckpointError, ElementError, SCFError, SettingError
from helm_ase.qc import tight_binding as module
from helm_ase.qc.tight_binding import (
    TightBinding,
    check_references,
    checked_tight_binding,
    reference_energy,
    with_parameters,
)
from helm_ase.representation.energy_baseline import EnergyBaseline

ELEMENTS = (1, 6, 7, 8)
PLAIN = EnergyBaseline("gfn2-xtb")


@pytest.fixture(scope="module")
def baseline():
    return with_parameters(PLAIN, ELEMENTS)


def rattled(name, seed=0):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    return atoms


def test_with_dispersion_it_is_the_published_method():
    from tblite.interface import Calculator

    atoms = rattled("CH3CONH2")
    places = atoms.positions / Bohr
    published = Calculator("GFN2-xTB", atoms.numbers, places, color=False, logger=lambda _: None)
    published.set("accuracy", 1e-3)
    published.set("verbosity", 0)
    wanted = published.singlepoint()
    compute = TightBinding(with_parameters(EnergyBaseline("gfn2-xtb", dispersion=True), ELEMENTS))
    found = compute(atoms.numbers, atoms.positions, 0, 1)
    assert found.energy == pytest.approx(wanted.get("energy"), abs=1e-9)
    np.testing.assert_allclose(found.gradient, wanted.get("gradient"), atol=1e-8)
    np.testing.assert_allclose(found.charges, wanted.get("charges"), atol=1e-7)


def test_dispersion_is_left_out_unless_asked_for(baseline):
    atoms = rattled("CH3CONH2")
    with_d4 = TightBinding(with_parameters(replace(PLAIN, dispersion=True), ELEMENTS))
    difference = with_d4(atoms.numbers, atoms.positions, 0, 1).energy
    difference -= TightBinding(baseline)(atoms.numbers, atoms.positions, 0, 1).energy
    assert -0.02 < difference < -0.001


@pytest.mark.parametrize(("name", "charge", "multiplicity"), [("H2O", 0, 1), ("OH", -1, 1), ("CH3", 0, 2)])
def test_its_gradient_is_the_slope_of_its_energy_also_when_it_starts_from_old_charges(
    baseline, name, charge, multiplicity
):
    compute, atoms, step = TightBinding(baseline), rattled(name), 1e-3
    found = compute(atoms.numbers, atoms.positions, charge, multiplicity)
    assert found.charges.sum() == pytest.approx(charge, abs=1e-8)
    energies = []
    for sign in (1, -1):
        moved = atoms.positions.copy()
        moved[0, 2] += sign * step
        energies.append(compute(atoms.numbers, moved, charge, multiplicity).energy)
    slope = (energies[0] - energies[1]) / (2 * step / Bohr)
    assert slope == pytest.approx(found.gradient[0, 2], abs=1e-6)


def test_a_restarted_calculation_gives_the_energy_of_a_fresh_one(baseline):
    atoms, kept = rattled("CH3CONH2"), TightBinding(baseline)
    kept(atoms.numbers, atoms.positions, 0, 1)
    moved = rattled("CH3CONH2", seed=1).positions
    again, fresh = (c(atoms.numbers, moved, 0, 1) for c in (kept, TightBinding(baseline)))
    assert again.energy == pytest.approx(fresh.energy, abs=1e-9)
    np.testing.assert_allclose(again.charges, fresh.charges, atol=1e-6)


def test_it_can_be_copied_and_pickled(baseline):
    atoms, compute = rattled("H2O"), TightBinding(baseline)
    energy = compute(atoms.numbers, atoms.positions, 0, 1).energy
    for twin in (copy.deepcopy(compute), pickle.loads(pickle.dumps(compute))):
        assert twin(atoms.numbers, atoms.positions, 0, 1).energy == pytest.approx(energy, abs=1e-10)


def test_parameters_are_those_of_the_elements_and_survive_json(baseline):
    assert list(baseline.parameters["element"]) == ["H", "C", "N", "O"]
    again = EnergyBaseline(**baseline.to_json())
    assert again.signature == baseline.signature
    assert again.signature != with_parameters(replace(PLAIN, dispersion=True), ELEMENTS).signature
    assert with_parameters(baseline, (9,)) is baseline
    none = EnergyBaseline()
    assert with_parameters(none, ELEMENTS) is none


def test_elements_without_parameters_and_charges_that_do_not_converge_are_said(baseline, monkeypatch):
    with pytest.raises(ElementError, match="no parameters of F, only of H, C, N, O"):
        TightBinding(baseline)(np.array([9, 1]), np.array([[0.0, 0, 0], [0, 0, 0.9]]), 0, 1)
    compute, atoms, original = TightBinding(baseline), rattled("H2O"), TightBinding._new

    def reluctant(self, *args):
        made = original(self, *args)
        made.set("max-iter", 1)
        return made

    monkeypatch.setattr(TightBinding, "_new", reluctant)
    with pytest.raises(SCFError, match="do not converge"):
        compute(atoms.numbers, atoms.positions, 0, 1)
    monkeypatch.undo()
    assert np.isfinite(compute(atoms.numbers, atoms.positions, 0, 1).energy)  # the next one is not spoilt


def test_a_second_attempt_gives_the_same_spin_density(baseline, monkeypatch):
    atoms, original = rattled("CH3"), TightBinding._new
    expected = TightBinding(baseline, spins=True)(atoms.numbers, atoms.positions, 0, 2).spin

    def reluctant(self, *args):
        made = original(self, *args)
        if not args[-1]:  # the first attempt, without damping
            made.set("max-iter", 1)
        return made

    monkeypatch.setattr(TightBinding, "_new", reluctant)
    found = TightBinding(baseline, spins=True)(atoms.numbers, atoms.positions, 0, 2).spin
    np.testing.assert_array_equal(found.principal, expected.principal)
    np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-6)


def test_a_first_failure_is_tried_again_with_stronger_damping(baseline, monkeypatch):
    atoms, seen, original = rattled("H2O"), [], TightBinding._new

    def reluctant(self, *args):
        made = original(self, *args)
        seen.append(args[-1])
        if not args[-1]:
            made.set("max-iter", 1)
        return made

    monkeypatch.setattr(TightBinding, "_new", reluctant)
    found = TightBinding(baseline)(atoms.numbers, atoms.positions, 0, 1).energy
    monkeypatch.undo()
    assert seen == [{}, module.DAMPED[0]]
    plain = TightBinding(baseline)(atoms.numbers, atoms.positions, 0, 1).energy
    assert found == pytest.approx(plain, abs=1e-8)


def test_reference_energies_are_compared_where_a_model_is_used(baseline):
    atoms = rattled("H2O")
    known = reference_energy(baseline, atoms.numbers, atoms.positions, 0, 1)
    check_references(replace(baseline, references=(known,)))
    wrong = replace(baseline, references=(replace(known, energy=known.energy + 1e-4),))
    with pytest.raises(CheckpointError, match="trained with"):
        checked_tight_binding(wrong)


def test_without_tblite_a_sentence_names_the_way_out(baseline, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match="a model without a baseline"):
        TightBinding(baseline)
    with pytest.raises(SettingError, match="pip install"):
        with_parameters(PLAIN, ELEMENTS)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(SettingError, match="unknown energy baseline"):
        EnergyBaseline("pm7")
    with pytest.raises(SettingError, match="'none' has no parameters"):
        EnergyBaseline("none", dispersion=True)
    with pytest.raises(SettingError, match="parameters of energy baseline 'gfn2-xtb' are missing"):
        TightBinding(PLAIN)


@pytest.mark.parametrize(("number", "multiplicity"), [(6, 2), (5, 1)])
def test_lone_ions_on_which_the_default_mixer_fails_converge(number, multiplicity):
    compute = TightBinding(with_parameters(PLAIN, (number,)))
    found = compute(np.array([number]), np.zeros((1, 3)), 1, multiplicity)
    assert found.charges[0] == pytest.approx(1.0)
