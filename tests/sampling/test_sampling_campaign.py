"""A campaign gives the same structures however it is run, and they are what they say they are."""

import os

import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed

pytest.importorskip("rdkit")
pytest.importorskip("tblite")

from helm_ase.errors import SettingError
from helm_ase.representation.connectivity import fragments
from helm_ase.representation.labelled import structure_key
from helm_ase.sampling import SamplingSettings, campaign, from_smiles, sample
from helm_ase.sampling import task as task_module
from helm_ase.sampling.filters import find_fault

SMILES = ("CCO", "O", "[NH4+]", "[CH3]", "C=O", "F")
SETTINGS = SamplingSettings(temperatures=(0, 300), md_steps=20, displacements=2, dimers=4, seed=3)


def keys(result):
    return [
        structure_key(a.numbers, a.positions, a.info["charge"], a.info["multiplicity"])
        for a in result.structures
    ]


def molecules(smiles=SMILES):
    return [from_smiles(s) for s in smiles]


@pytest.fixture(scope="module")
def result():
    return sample(molecules(), SETTINGS)


def test_neither_order_nor_processes_matter(result):
    again = sample(molecules(("OCC", *SMILES[::-1])), SETTINGS, processes=2)
    assert keys(again) == keys(result)
    assert [a.info for a in again.structures] == [a.info for a in result.structures]
    assert again.drops == result.drops


def test_what_is_drawn_of_a_molecule_does_not_depend_on_the_others(result):
    alone = sample(molecules(("CCO",)), SETTINGS)
    monomers = [a for a in alone.structures if a.info["kind"] == "monomer"]
    same = [a for a in result.structures if a.info["smiles"] == "CCO"]
    assert [a.info for a in monomers] == [a.info for a in same]
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(monomers, same, strict=True))


def test_another_seed_gives_other_structures(result):
    other = sample(molecules(("CCO",)), SamplingSettings(temperatures=(300,), md_steps=20, seed=4))
    assert not set(keys(other)) & set(keys(result))
    assert not {a.info["name"] for a in other.structures} & {a.info["name"] for a in result.structures}


def test_every_structure_keeps_its_bonds_and_parts(result):
    parsed = {m.smiles: m for m in molecules()}
    for atoms in result.structures:
        parts = [parsed[s] for s in atoms.info["smiles"].split(".")]
        if len(parts) == 1:
            assert find_fault(atoms.numbers, atoms.positions, parts[0].bonds) is None
        else:
            bonds = np.zeros((len(atoms), len(atoms)), dtype=bool)
            n = len(parts[0].numbers)
            bonds[:n, :n], bonds[n:, n:] = parts[0].bonds, parts[1].bonds
            assert fragments(bonds).max() == 1
            assert find_fault(atoms.numbers, atoms.positions, bonds) is None
        assert np.allclose(atoms.positions, np.round(atoms.positions, 8), atol=1e-15)


def test_kinds_methods_and_temperatures_are_recorded(result):
    infos = [a.info for a in result.structures]
    assert {i["kind"] for i in infos} == {"monomer", "dimer"}
    assert {(i["method"], i["temperature_K"]) for i in infos} == {
        ("relaxed", 0.0),
        ("md", 300.0),
        ("normal-modes", 300.0),
    }
    assert len({i["name"] for i in infos}) == len(infos)
    assert all(
        set(i["name"]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
        for i in infos
    )
    assert {(i["charge"], i["multiplicity"]) for i in infos if i["smiles"] == "[NH4+]"} == {(1, 1)}
    assert {(i["charge"], i["multiplicity"]) for i in infos if i["smiles"] == "[CH3]"} == {(0, 2)}


def test_nothing_is_lost(result):
    """Of each molecule one relaxed, one MD and two displaced structures; of each dimer one."""
    assert len(result.structures) + len(result.drops) == 4 * len(SMILES) + 4


def test_near_duplicates_are_dropped(result):
    coarse = sample(molecules(("O",)), SamplingSettings(duplicate_tolerance=5.0, md_steps=5))
    assert len(coarse.structures) == 1
    assert [drop.reason for drop in coarse.drops] == ["near duplicate"] * 3


def test_frames_conformers_and_draws():
    settings = SamplingSettings(temperatures=(300, 500), draws=1, md_steps=10, frames=3, conformers=2)
    found = sample(molecules(("OCCO",)), settings)
    assert len(found.structures) + len(found.drops) == 6
    assert len({a.info["name"] for a in found.structures}) == len(found.structures)
    assert len({a.info["seed"] for a in found.structures}) == 2


def test_the_limit_takes_the_first_of_the_whole(result):
    few = sample(molecules(), SamplingSettings(**{**SETTINGS.__dict__, "limit": 5}))
    assert keys(few) == keys(result)[:5]


def test_failures_of_xtb_are_listed_not_raised(monkeypatch):
    def fail(*_):
        raise CalculationFailed("SCF not converged in 250 cycles")

    monkeypatch.setattr(task_module, "relax", fail)
    found = sample(molecules(("O",)), SETTINGS)
    assert found.structures == []
    assert {(d.reason, d.detail) for d in found.drops} == {
        ("calculation failed", "SCF not converged in 250 cycles")
    }


def die_on_methane(task):
    if task.molecule.smiles == "C":
        os._exit(9)
    return task_module.Outcome(drops=[task.molecule.smiles])


def test_a_molecule_that_kills_its_worker_is_dropped_and_the_others_are_kept(monkeypatch):
    monkeypatch.setattr(campaign, "draw", die_on_methane)
    tasks = campaign._tasks(molecules(("O", "C", "N")), SamplingSettings(temperatures=(300,), md_steps=20))
    found = [outcome.drops[0] for outcome in campaign._outcomes(tasks, 2)]
    for task, drop in zip(tasks, found, strict=True):
        if task.molecule.smiles == "C":
            assert (drop.smiles, drop.reason) == (task.subject.smiles, "worker process died")
        else:
            assert drop == task.molecule.smiles


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperatures": ()}, "at least one"),
        ({"temperatures": (-5,)}, "0 to 5000 K"),
        ({"temperatures": (300,), "draws": 2}, "draws is 2"),
        ({"conformers": 0}, "conformers is 0; it must be at least 1"),
        ({"timestep": 0.0}, "timestep is 0.0; it must be above 0"),
        ({"md_steps": 0}, "nothing to draw above 0 K"),
        ({"statistics": "quantum"}, "choose from"),
        ({"contact": (3.0, 2.0)}, "it must rise"),
        ({"duplicate_tolerance": float("nan")}, "duplicate_tolerance is nan"),
    ],
)
def test_settings_outside_what_is_allowed_are_refused(wrong, message):
    with pytest.raises(SettingError, match=message):
        SamplingSettings(**wrong)


def test_processes_must_be_positive():
    with pytest.raises(SettingError, match="processes is 0"):
        sample(molecules(("O",)), SETTINGS, processes=0)
