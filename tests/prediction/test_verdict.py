"""Verdicts: what is said about an answer follows from bonds, error bar, gap and the last SCF step."""

import warnings
from dataclasses import replace

import pytest
from ase import Atoms
from ase.build import molecule

from helm_ase import ExtrapolationWarning, HELMCalculator, load_model
from helm_ase.prediction import domain
from helm_ase.prediction import verdict as verdicts
from helm_ase.prediction.domain import Uncertainty, extrapolation_of
from helm_ase.prediction.verdict import Trust
from helm_ase.representation.charge_state import ChargeState

NEUTRAL = ChargeState(0, 1)
GOOD, BAD = Uncertainty(0.01, 1e-3, 6e-3), Uncertainty(0.3, 30e-3, 6e-3)


def judge(atoms, checkpoint, state, *given, **more):
    return verdicts.judge(extrapolation_of(atoms, checkpoint, state), state, *given, **more)


@pytest.fixture(scope="module")
def checkpoint():
    return load_model("helm-hcnof-2")


def test_a_known_molecule_with_a_small_error_bar_is_trusted(checkpoint):
    verdict = judge(molecule("CH3OH"), checkpoint, NEUTRAL, GOOD)
    assert (verdict.trust, verdict.reasons) == (Trust.TRUSTED, ())
    assert str(verdict) == "trusted: error bar 1.0 meV/atom, below the model's limit of 6.0"


def test_each_doubt_alone_makes_it_extrapolation(checkpoint):
    stretched = Atoms("HF", [[0, 0, 0], [0, 0, 1.25]])
    for verdict in (
        judge(molecule("CH3OH"), checkpoint, NEUTRAL, BAD),
        judge(molecule("CH3OH"), checkpoint, NEUTRAL, GOOD, gap=0.4),
        judge(stretched, checkpoint, NEUTRAL, GOOD),
        judge(molecule("CH3OH"), checkpoint, NEUTRAL, last_change=5e-3),
    ):
        assert verdict.trust == "extrapolating"
        assert any(word in str(verdict) for word in ("many times", "gap of 0.40", "1.25 Å", "more than"))


def test_broken_bonds_are_refused_whatever_the_error_bar_and_the_scf_say(checkpoint):
    apart = Atoms("F2", [[0, 0, 0], [0, 0, 2.28]])
    for given in ({"bar": GOOD}, {"last_change": 1e-6}, {}):
        verdict = judge(apart, checkpoint, NEUTRAL, **given)
        assert verdict.trust == Trust.REFUSED
        assert "restricted Kohn–Sham" in str(verdict)
        assert "2 fragments with an odd number of electrons" in str(verdict)


def test_a_refined_energy_is_judged_by_its_last_step_and_not_by_distances_the_network_has_not_seen(
    checkpoint,
):
    stretched = Atoms("HF", [[0, 0, 0], [0, 0, 1.25]])
    verdict = judge(stretched, checkpoint, NEUTRAL, last_change=1e-4)
    assert verdict.trust == "trusted"
    assert "last SCF step changed the energy by 0.10 meV/atom" in str(verdict)


def test_without_a_record_of_bonds_a_closed_shell_model_still_knows_that_a_molecule_has_come_apart(
    checkpoint,
):
    bare = replace(checkpoint, uncertainty=None)
    assert bare.bonding is None
    assert judge(molecule("H2O"), bare, NEUTRAL).trust == Trust.TRUSTED
    assert judge(Atoms("HF", [[0, 0, 0], [0, 0, 3]]), bare, NEUTRAL).trust == Trust.REFUSED


def test_the_calculator_warns_of_broken_bonds_of_every_geometry_and_once_of_each_length():
    calc, atoms = HELMCalculator("helm-hcnof-2"), Atoms("F2", [[0, 0, 0], [0, 0, 1.40]])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExtrapolationWarning)
        calc.get_potential_energy(atoms)
    assert calc.get_verdict(atoms).trust == Trust.TRUSTED
    atoms.positions[1, 2] = 1.8
    with pytest.warns(ExtrapolationWarning, match="bonded to nothing.*worth nothing"):
        calc.get_potential_energy(atoms)
    assert calc.get_verdict(atoms).trust == Trust.REFUSED
    atoms.positions[1, 2] = 1.81
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExtrapolationWarning)
        calc.get_potential_energy(atoms)
    other = Atoms("F2", [[0, 0, 0], [0, 0, 1.8]])
    with pytest.warns(ExtrapolationWarning, match="F0 bonded to nothing"):
        calc.get_potential_energy(other)


def test_a_geometry_is_compared_with_training_once_whatever_is_asked_of_it(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return extrapolation_of(*arguments)

    monkeypatch.setattr(domain, "extrapolation_of", counted)
    atoms = molecule("CH3OH")
    atoms.calc = HELMCalculator()
    for expected in (1, 2):
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.calc.get_homo_lumo()
        atoms.calc.get_verdict()
        assert len(calls) == expected
        atoms.positions[1] += 0.01
