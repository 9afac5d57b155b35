"""Several models as one calculator."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write
from ase.optimize import BFGS

from helm_ase import HELMCalculator, HELMCommittee
from helm_ase.calculator import helm as calculator_module
from helm_ase.errors import ChargeError, CheckpointError, SettingError

MODELS = ["helm-hcnof-2", "helm-organic-1"]
"""Embedded models of molecules, of one level of theory."""


@pytest.fixture
def methanol():
    atoms = molecule("CH3OH")
    atoms.rattle(0.05, seed=1)
    atoms.calc = HELMCommittee(MODELS)
    return atoms


def test_energy_and_forces_are_means_and_the_spread_is_their_deviation(methanol):
    energies, forces = [], []
    for model in MODELS:
        single = methanol.copy()
        single.calc = HELMCalculator(model=model)
        energies.append(single.get_potential_energy())
        forces.append(single.get_forces())
    assert methanol.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-6)
    np.testing.assert_allclose(methanol.get_forces(), np.mean(forces, axis=0), atol=1e-6)
    spread = methanol.calc.get_spread(methanol)
    assert spread.energy == pytest.approx(np.std(energies, ddof=1), abs=1e-6)
    expected = np.sqrt(np.var(forces, axis=0, ddof=1).sum(1))
    np.testing.assert_allclose(spread.forces, expected, atol=1e-6)
    assert spread.forces.shape == (6,)
    assert spread.energy > 0


def test_it_drives_an_optimiser_and_its_results_are_plain(methanol, tmp_path):
    BFGS(methanol, logfile=None).run(fmax=0.05, steps=30)
    assert set(methanol.calc.results) <= {"energy", "free_energy", "forces", "dipole", "charges"}
    write(tmp_path / "x.traj", methanol)
    assert read(tmp_path / "x.traj").get_potential_energy() == pytest.approx(methanol.get_potential_energy())


def test_members_agree_less_where_they_have_seen_nothing(methanol):
    stretched = methanol.copy()
    stretched.set_distance(0, 1, 2.3, fix=0)
    near = methanol.calc.get_spread(methanol).forces.max()
    far = methanol.calc.get_spread(stretched).forces.max()
    assert far > 3 * near


def test_another_charge_is_another_question(methanol):
    methanol.get_potential_energy()
    methanol.info["charge"] = 1
    with pytest.raises(ChargeError):
        methanol.get_potential_energy()


def test_what_makes_no_committee_is_refused(monkeypatch):
    for models in ([], MODELS[:1], "helm-hcnof-2"):
        with pytest.raises(SettingError, match="two models or more"):
            HELMCommittee(models)
    with pytest.raises(SettingError, match="agree with itself"):
        HELMCommittee([MODELS[0], MODELS[0]])
    with pytest.raises(SettingError, match=r"atoms\.calc = committee"):
        HELMCommittee(MODELS, atoms=molecule("H2O"))
    other = copy.copy(HELMCalculator(model=MODELS[0]).checkpoint)
    object.__setattr__(other, "level", replace(other.level, functional="pbe"))
    object.__setattr__(other, "sha256", "0")
    load = calculator_module.load_shared
    monkeypatch.setattr(
        calculator_module, "load_shared", lambda name: other if name == "other" else load(name)
    )
    with pytest.raises(SettingError, match="different levels of theory"):
        HELMCommittee([MODELS[0], "other"])
    with pytest.raises(CheckpointError, match="helm-hcnof"):
        HELMCommittee([MODELS[0], "helm-hcno"])
