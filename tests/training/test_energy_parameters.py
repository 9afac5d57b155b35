"""Energy baselines whose parameters were fitted: where they come from, and which charges H0 then sees."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import molecule
from ase.data import chemical_symbols

from helm_ase.dataset.derived import DerivationSettings, derive
from helm_ase.errors import SettingError
from helm_ase.qc.level import Baseline, LevelOfTheory
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.tight_binding import TightBinding, with_parameters
from helm_ase.qc.tight_binding_fit import NAME, changed
from helm_ase.representation import LabelledMolecule
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.training.energy_baseline import with_energy_baseline
from helm_ase.training.recipe import DataSettings, Recipe

pytest.importorskip("tblite")
PUBLISHED = with_parameters(EnergyBaseline("gfn2-xtb"), [1, 8])
FITTED = changed(PUBLISHED.parameters, ("element", "O", "gam"), 0.03)
CHARGED = Baseline("fitted", charges=True)


def recipe(folder, renew=(), parameters=FITTED, baseline=CHARGED):
    path = folder / "parameters.json"
    path.write_text(json.dumps(parameters))
    data = DataSettings(
        baseline=baseline, energy_baseline=EnergyBaseline("gfn2-xtb"), energy_parameters=str(path)
    )
    return Recipe(data=data, renew=renew, elements=(1, 8), start="x" if renew else None)


def checkpoint(baseline):
    return SimpleNamespace(name="old", energy_baseline=baseline, basis=SimpleNamespace(elements=(1, 8)))


def test_a_file_fills_in_the_parameters(tmp_path):
    made = with_energy_baseline(recipe(tmp_path))
    assert made.data.energy_baseline.parameters == FITTED
    assert not made.data.energy_baseline.charge_parameters
    assert made.data.energy_parameters is None


def test_another_energy_needs_a_new_energy_head(tmp_path):
    with pytest.raises(SettingError, match="with other parameters: name the same, or renew 'energy'"):
        with_energy_baseline(recipe(tmp_path), checkpoint(PUBLISHED))


def test_h0_keeps_the_charges_that_its_head_was_trained_with(tmp_path):
    kept = with_energy_baseline(recipe(tmp_path, ("energy",)), checkpoint(PUBLISHED)).data.energy_baseline
    assert (kept.parameters, kept.charge_parameters) == (FITTED, PUBLISHED.parameters)
    again = with_energy_baseline(recipe(tmp_path, ("energy",), PUBLISHED.parameters), checkpoint(kept))
    assert again.data.energy_baseline.for_charges.parameters == PUBLISHED.parameters
    same = with_energy_baseline(recipe(tmp_path), checkpoint(kept))  # going on, with the file named again
    assert same.data.energy_baseline.charge_parameters == PUBLISHED.parameters
    left_out = replace(recipe(tmp_path), data=replace(recipe(tmp_path).data, energy_parameters=None))
    assert with_energy_baseline(left_out, checkpoint(kept)).data.energy_baseline == kept
    both = with_energy_baseline(recipe(tmp_path, ("energy", "hamiltonian")), checkpoint(PUBLISHED))
    assert not both.data.energy_baseline.charge_parameters


@pytest.mark.parametrize("text", ["{", "[]", '{"element": 3}'])
def test_what_is_no_file_of_parameters_is_said(text, tmp_path):
    made = recipe(tmp_path)
    (tmp_path / "parameters.json").write_text(text)
    with pytest.raises(SettingError, match=r"parameters\.json"):
        with_energy_baseline(made)


def test_dispersion_must_be_what_the_file_holds(tmp_path):
    made = recipe(tmp_path)
    asked = replace(made.data, energy_baseline=EnergyBaseline("gfn2-xtb", dispersion=True))
    with pytest.raises(SettingError, match="lacks parameters of dispersion"):
        with_energy_baseline(replace(made, data=asked))


def test_the_fitted_parameters_of_the_examples_say_that_they_are():
    path = Path(__file__).parents[2] / "examples" / "train" / "gfn2_for_b3lyp_def2svp.json"
    tables = json.loads(path.read_text())
    assert tables["meta"]["name"] == NAME
    fourteen = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53)
    assert set(tables["element"]) == {chemical_symbols[z] for z in fourteen}


def test_parameters_from_two_places_are_refused():
    with pytest.raises(SettingError, match="has parameters of its own"):
        DataSettings(energy_baseline=PUBLISHED, energy_parameters="parameters.json")
    with pytest.raises(SettingError, match="is 'none'"):
        DataSettings(energy_parameters="parameters.json")


def test_energies_are_those_of_one_set_and_charges_those_of_the_other():
    atoms = molecule("H2O")
    both = EnergyBaseline("gfn2-xtb", parameters=FITTED, charge_parameters=PUBLISHED.parameters)
    mole = build_mole(atoms.numbers, atoms.positions, "def2-svp")
    label = LabelledMolecule("water", atoms.numbers, atoms.positions, mole.intor("int1e_kin"))
    level = LevelOfTheory(functional="b3lyp", basis="def2-svp")
    derived = derive(
        label, DerivationSettings(level, Baseline("minao"), energy_baseline=both)
    ).energy_baseline
    water = atoms.numbers, atoms.positions, 0, 1
    fitted, published = (TightBinding(EnergyBaseline("gfn2-xtb", parameters=p))(*water)
                         for p in (FITTED, PUBLISHED.parameters))  # fmt: skip
    assert derived.energy == pytest.approx(fitted.energy, abs=1e-9)
    assert np.abs(derived.gradient - fitted.gradient).max() < 1e-8
    assert np.abs(derived.charges - published.charges).max() < 1e-8
    assert np.abs(fitted.charges - published.charges).max() > 1e-3


def test_a_checkpoint_keeps_both_and_an_older_header_has_one():
    both = replace(PUBLISHED, parameters=FITTED, charge_parameters=PUBLISHED.parameters)
    assert EnergyBaseline(**json.loads(json.dumps(both.to_json()))) == both
    assert "charge_parameters" not in PUBLISHED.to_json()
    assert len({str(x.signature) for x in (PUBLISHED, both, replace(PUBLISHED, parameters=FITTED))}) == 3
