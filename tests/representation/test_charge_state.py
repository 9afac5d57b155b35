"""Charge and multiplicity: where they are read from, which win, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from hypothesis import given
from hypothesis import strategies as st

from helm_ase import HELMCalculator
from helm_ase.errors import ChargeError
from helm_ase.representation.charge_state import MULTIPLICITY_KEYS, ChargeState, charge_state, check_parity
from shared.attached import PURE

INTEGERS = [int, np.int64, np.int32, np.uint8, float, np.float64]


def test_plain_atoms_are_neutral_singlets():
    assert charge_state(molecule("H2O")) == ChargeState(0, 1)


def test_keywords_of_the_calculator_are_used_when_the_atoms_say_nothing():
    assert charge_state(molecule("H2O"), -1, 2) == ChargeState(-1, 2)


def test_info_wins_over_the_keywords():
    atoms = molecule("H2O")
    atoms.info |= {"charge": 1, "multiplicity": 2}
    assert charge_state(atoms, -1, 3) == ChargeState(1, 2)


def test_a_zero_in_info_wins_over_the_keywords_too():
    atoms = molecule("H2O")
    atoms.info |= {"charge": 0, "multiplicity": 1}
    assert charge_state(atoms, -1, 3) == ChargeState(0, 1)


def test_info_wins_over_initial_charges_and_moments():
    atoms = molecule("H2O")
    atoms.set_initial_charges([1, 0, 0])
    atoms.set_initial_magnetic_moments([1, 0, 0])
    atoms.info |= {"charge": 0, "spin": 1}
    assert charge_state(atoms) == ChargeState(0, 1)


def test_initial_charges_and_moments_count_when_nothing_else_is_said():
    atoms = molecule("H2O")
    atoms.set_initial_charges([-0.5, -0.25, -0.25])
    atoms.set_initial_magnetic_moments([0.5, 0.25, 0.25])
    assert charge_state(atoms) == ChargeState(-1, 2)


@pytest.mark.parametrize("state", [(1, 4), (0, 1), (-1, 1), (0, 2)])
def test_keywords_that_are_given_win_over_initial_charges_and_moments(state):
    atoms = molecule("H2O")
    atoms.set_initial_charges([-1, 0, 0])
    atoms.set_initial_magnetic_moments([1, 0, 0])
    assert charge_state(atoms, *state) == ChargeState(*state)


def test_an_explicit_singlet_wins_over_magnetic_moments_in_the_calculator():
    """``molecule("OH")`` comes with moments; the anion is a singlet if it is said to be one."""
    for calc in (HELMCalculator(PURE, charge=-1, multiplicity=1), HELMCalculator(PURE)):
        calc.set(charge=-1, multiplicity=1)
        for twin in (calc, copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
            atoms = molecule("OH")
            atoms.calc = twin
            with pytest.raises(ChargeError, match="has not seen charge -1 with multiplicity 1"):
                atoms.get_potential_energy()


def test_a_neutral_keyword_wins_over_charges_of_an_earlier_calculation():
    atoms = molecule("H2O")
    atoms.set_initial_charges([-1, 0, 0])
    atoms.calc = HELMCalculator(PURE)
    with pytest.raises(ChargeError):
        atoms.get_potential_energy()
    atoms.calc.set(charge=0)
    assert np.isfinite(atoms.get_potential_energy())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_charges_and_moments_that_are_no_numbers_are_refused(value):
    atoms = molecule("H2O")
    atoms.set_initial_charges([value, 0, 0])
    with pytest.raises(ChargeError, match="initial charges sum to"):
        charge_state(atoms)
    atoms.set_initial_charges(None)
    atoms.set_initial_magnetic_moments([value, 0, 0])
    with pytest.raises(ChargeError, match="initial magnetic moments sum to"):
        charge_state(atoms)


def test_the_sign_of_the_magnetic_moments_does_not_matter():
    atoms = molecule("O2")
    atoms.set_initial_magnetic_moments([-1, -1])
    assert charge_state(atoms).multiplicity == 3


def test_antiferromagnetic_moments_make_a_singlet():
    atoms = molecule("O2")
    atoms.set_initial_magnetic_moments([1, -1])
    assert charge_state(atoms).multiplicity == 1


@pytest.mark.parametrize("key", MULTIPLICITY_KEYS)
def test_every_alias_means_two_s_plus_one(key):
    atoms = molecule("O2")
    atoms.info[key] = 3
    assert charge_state(atoms).multiplicity == 3


def test_aliases_that_agree_are_accepted():
    atoms = molecule("O2")
    atoms.info |= dict.fromkeys(MULTIPLICITY_KEYS, 3)
    assert charge_state(atoms).multiplicity == 3


def test_aliases_that_contradict_each_other_are_refused_with_both_values():
    atoms = molecule("O2")
    atoms.info |= {"spin": 1, "multiplicity": 3}
    with pytest.raises(ChargeError, match=r"(?=.*'spin': 1)(?=.*'multiplicity': 3).*keep one"):
        charge_state(atoms)


@pytest.mark.parametrize("kind", INTEGERS)
def test_whole_numbers_of_any_type_are_accepted_and_become_python_integers(kind):
    atoms = molecule("O2")
    atoms.info |= {"charge": kind(2), "spin": kind(3)}
    state = charge_state(atoms)
    assert state == ChargeState(2, 3)
    assert {type(value) for value in state} == {int}


@pytest.mark.parametrize("value", [0.5, True, "one", [1], {}, float("nan"), float("inf"), 1j])
@pytest.mark.parametrize("key", ["charge", "multiplicity", "spin"])
def test_anything_else_in_info_is_refused_by_key_and_value(key, value):
    atoms = molecule("H2O")
    atoms.info[key] = value
    with pytest.raises(ChargeError, match=rf"info\['{key}'\].*must be an integer"):
        charge_state(atoms)


@pytest.mark.parametrize("multiplicity", [0, -1])
def test_a_multiplicity_below_one_is_refused_with_its_definition(multiplicity):
    atoms = molecule("H2O")
    atoms.info["spin"] = multiplicity
    with pytest.raises(ChargeError, match=rf"{multiplicity}.*2S \+ 1"):
        charge_state(atoms)


def test_fractional_sums_of_initial_charges_or_moments_are_refused():
    atoms = molecule("H2O")
    atoms.set_initial_charges([0.3, 0, 0])
    with pytest.raises(ChargeError, match=r"charges sum to 0\.3000.*info"):
        charge_state(atoms)
    atoms.set_initial_charges(None)
    atoms.set_initial_magnetic_moments([0.3, 0, 0])
    with pytest.raises(ChargeError, match=r"moments sum to 0\.3000.*info"):
        charge_state(atoms)


def test_vector_moments_are_refused():
    atoms = Atoms("OO", [[0, 0, 0], [0, 0, 1.2]], magmoms=[[0, 0, 1], [0, 0, 1]])
    with pytest.raises(ChargeError, match="non-collinear"):
        charge_state(atoms)


@given(electrons=st.integers(0, 200), charge=st.integers(-5, 5), multiplicity=st.integers(1, 8))
def test_parity_is_accepted_exactly_when_alpha_and_beta_are_whole_and_not_negative(
    electrons, charge, multiplicity
):
    beta = (electrons - multiplicity + 1) / 2
    state = ChargeState(charge, multiplicity)
    if beta >= 0 and beta.is_integer():
        check_parity(electrons, state)
    else:
        with pytest.raises(ChargeError, match=f"{electrons} electrons.*multiplicity {multiplicity}"):
            check_parity(electrons, state)


@given(
    charge=st.none() | st.integers(-3, 3), spin=st.none() | st.integers(1, 5),
    keyword=st.integers(-3, 3), multiplicity=st.integers(1, 5),
)  # fmt: skip
def test_reading_a_state_never_writes_to_the_atoms(charge, spin, keyword, multiplicity):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"charge": charge, "spin": spin, "kept": [1]})
    before = copy.deepcopy(atoms)
    charge_state(atoms, keyword, multiplicity)
    assert atoms.info == before.info
    assert atoms == before
    assert set(atoms.arrays) == set(before.arrays)


# -- in the calculator -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [Atoms.get_potential_energy, lambda a: a.calc.get_homo_lumo()])
def test_a_radical_is_refused_and_told_about_parity(ask):
    atoms = molecule("OH")
    atoms.set_initial_magnetic_moments(None)
    atoms.calc = HELMCalculator(PURE)
    with pytest.raises(ChargeError, match=r"9 electrons.*multiplicity 1.*odd.*even multiplicity") as caught:
        ask(atoms)
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("ask", [Atoms.get_potential_energy, lambda a: a.calc.get_homo_lumo()])
@pytest.mark.parametrize(
    "state", [{"charge": 2}, {"charge": -2}, {"multiplicity": 3}, {"charge": 1, "spin": 2}]
)
def test_states_outside_the_training_set_are_refused_with_the_allowed_ones(ask, state):
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(PURE)
    atoms.info |= state
    with pytest.raises(ChargeError, match=r"\[[01]\]") as caught:
        ask(atoms)
    assert isinstance(caught.value, InputError)
    assert str(next(iter(state.values()))) in str(caught.value)


def test_a_charge_keyword_outside_the_training_set_is_refused():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(PURE, charge=2)
    with pytest.raises(ChargeError, match=r"charge 2.*knows charges \[0\]"):
        atoms.get_potential_energy()


def test_a_charge_in_info_invalidates_the_cached_energy():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(PURE)
    atoms.get_potential_energy()
    assert atoms.calc.check_state(atoms) == []
    atoms.info["charge"] = 2
    assert atoms.calc.check_state(atoms)
    with pytest.raises(ChargeError):
        atoms.get_potential_energy()


def test_info_that_says_the_same_as_before_keeps_the_cached_energy():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(PURE)
    atoms.get_potential_energy()
    atoms.info |= {"charge": 0, "spin": 1, "comment": "unrelated"}
    assert atoms.calc.check_state(atoms) == []


def test_a_charge_in_info_does_not_stick_to_the_calculator():
    ion, neutral = molecule("H2O"), molecule("H2O")
    ion.info["charge"] = 2
    ion.calc = neutral.calc = HELMCalculator(PURE)
    with pytest.raises(ChargeError):
        ion.get_potential_energy()
    assert neutral.calc.parameters["charge"] == 0
    assert np.isfinite(neutral.get_potential_energy())
    del ion.info["charge"]
    assert ion.get_potential_energy() == neutral.get_potential_energy()


def test_the_calculator_never_writes_to_info_or_arrays():
    atoms = molecule("H2O")
    atoms.info = {"name": "water"}
    arrays = set(atoms.arrays)
    atoms.calc = HELMCalculator(PURE)
    atoms.get_forces(), atoms.calc.get_hamiltonian(), atoms.get_dipole_moment()
    assert atoms.info == {"name": "water"}
    assert set(atoms.arrays) == arrays


def test_a_neutral_info_rescues_a_charged_keyword():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(PURE, charge=2)
    atoms.info["charge"] = 0
    assert np.isfinite(atoms.get_potential_energy())
