"""Structures and questions that are refused, and distances that are warned of."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError

from helm_ase import ExtrapolationWarning, HELMCalculator
from helm_ase.errors import ElementError, SettingError, StructureError
from shared.attached import with_calc

# --- structures that are refused ----------------------------------------------------------------------

UNMATCHED = pytest.mark.filterwarnings("ignore::helm_ase.prediction.domain.ExtrapolationWarning")
"""Bonds are warned of as well; what a test asks for with ``match`` must still come."""


def test_periodic_boundaries_are_refused_when_the_calculator_is_attached():
    atoms = molecule("H2O", cell=[9, 9, 9], pbc=True)
    with pytest.raises(StructureError, match=r"pbc is \[True, True, True\].*pbc = False") as caught:
        atoms.calc = HELMCalculator()
    assert isinstance(caught.value, InputError)


def test_periodic_boundaries_switched_on_later_are_refused_too(water):
    water.get_potential_energy()
    water.pbc = [True, False, False]
    with pytest.raises(StructureError, match="pbc"):
        water.get_potential_energy()


def test_an_unknown_element_is_refused_with_the_known_ones():
    with pytest.raises(ElementError, match=r"Li.*knows H, B, C, N, O, F, Si") as caught:
        molecule("LiH").calc = HELMCalculator()
    assert isinstance(caught.value, InputError)


def test_an_element_changed_later_is_refused(water):
    water.get_potential_energy()
    water.symbols[0] = "Te"
    with pytest.raises(ElementError, match="Te"):
        water.get_potential_energy()


def test_coincident_atoms_are_refused_by_index(water):
    water.positions[2] = water.positions[1]
    with pytest.raises(StructureError, match=r"atoms 1 and 2 are 0\.000 Å apart") as caught:
        water.get_potential_energy()
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize("ask", [Atoms.get_potential_energy, lambda a: a.calc.get_homo_lumo()])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_refused_by_index(water, ask, bad):
    water.positions[1, 2] = bad
    with pytest.raises(StructureError, match="atom 1 is not finite"):
        ask(water)


def test_an_empty_atoms_object_is_refused():
    atoms = Atoms()
    atoms.calc = HELMCalculator()
    with pytest.raises(StructureError, match="empty"):
        atoms.get_potential_energy()


def test_a_refused_geometry_does_not_spoil_the_next_one(water):
    energy = water.get_potential_energy()
    kept = water.positions.copy()
    water.positions[2] = water.positions[1]
    with pytest.raises(StructureError):
        water.get_potential_energy()
    water.positions = kept
    assert water.get_potential_energy() == energy


@pytest.mark.parametrize("info", [{"charge": 0.5}, {"spin": 1, "mult": 3}, {"multiplicity": 0}])
def test_a_molecule_that_is_refused_spoils_nothing_for_the_next(info):
    calc = HELMCalculator()
    first, bad, last = molecule("H2O"), molecule("H2O"), molecule("CH4")
    bad.info |= info
    expected = calc.get_potential_energy(first)
    with pytest.raises(InputError):
        calc.get_potential_energy(bad)
    assert calc.get_potential_energy(last) < 0
    bad.info.clear()
    assert calc.get_potential_energy(bad) == expected
    assert calc.todict()["charge"] == 0


# --- questions that are refused -----------------------------------------------------------------------


def test_band_structure_of_a_molecule_is_refused_in_words(water):
    with pytest.raises(StructureError, match="a molecule has levels, but no band structure"):
        water.calc.band_structure()


def test_getters_before_any_atoms_say_what_to_do():
    with pytest.raises(StructureError, match=r"atoms\.calc = calc"):
        HELMCalculator().get_homo_lumo()


def test_without_atoms_every_question_has_the_same_answer():
    calc = HELMCalculator()
    for ask in (lambda: calc.get_property("energy"), calc.get_homo_lumo, lambda: calc.calculate()):
        with pytest.raises(StructureError, match="no atoms yet"):
            ask()


def test_a_spin_that_is_not_there_is_refused(water):
    for spin in (1, -1):
        with pytest.raises(SettingError, match="spins 0 to 0"):
            water.calc.get_homo_lumo_by_spin(spin)


# --- extrapolation ------------------------------------------------------------------------------------


@UNMATCHED
def test_another_molecule_is_warned_of_anew():
    calc = HELMCalculator()
    for name in ("H2O", "CH3OH"):
        atoms = molecule(name)
        oxygen = atoms.numbers.tolist().index(8)
        hydrogen = int(
            np.argmin(
                np.linalg.norm(atoms.positions - atoms.positions[oxygen], axis=1) + (atoms.numbers != 1) * 9
            )
        )
        atoms.positions[hydrogen] = atoms.positions[oxygen] + [0.45, 0, 0]
        atoms.calc = calc
        with pytest.warns(ExtrapolationWarning, match="H.*–O|O.*–H"):
            atoms.get_potential_energy()


@pytest.mark.parametrize("name", ["CH3CH2OH", "CH3CONH2", "H2O", "CH3OH"])
def test_everyday_molecules_raise_no_warning_at_all(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms = molecule(name)
        atoms.calc = HELMCalculator()
        atoms.get_forces()
        atoms.calc.get_homo_lumo()
        atoms.get_dipole_moment()


@UNMATCHED
def test_an_unseen_distance_is_announced_once_for_each_pair_of_elements():
    atoms = Atoms("HH", [[0, 0, 0], [0, 0, 0.2]], calculator=HELMCalculator())
    with pytest.warns(ExtrapolationWarning, match=r"H–H at 0\.20 Å"):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.positions[1, 2] = 0.21
        atoms.get_potential_energy()
    other = Atoms("OO", [[0, 0, 0], [0, 0, 0.5]])
    other.calc = atoms.calc
    with pytest.warns(ExtrapolationWarning, match="O–O"):
        other.get_potential_energy()


@UNMATCHED
def test_worse_distances_and_other_geometries_of_one_calculator_are_warned_of():
    calc = HELMCalculator()
    atoms = Atoms("HH", [[0, 0, 0], [0, 0, 0.3]], calculator=calc)
    for length in (0.3, 0.15):  # worse
        atoms.positions[1, 2] = length
        with pytest.warns(ExtrapolationWarning, match=f"H–H at {length:.2f} Å"):
            atoms.get_potential_energy()
    with pytest.warns(ExtrapolationWarning, match=r"H–H at 0\.15 Å"):
        calc.get_potential_energy(Atoms("HH", [[0, 0, 0], [0, 0, 0.151]]))
    atoms.positions += 5
    with pytest.warns(ExtrapolationWarning, match=r"H–H at 0\.15 Å"):
        calc.get_potential_energy(atoms)


@pytest.mark.parametrize("number", [0, 119, 200])
def test_ghosts_and_elements_that_do_not_exist_are_refused(number):
    with pytest.raises(ElementError, match=r"has not seen (X|Z = )"):
        Atoms(numbers=[number], calculator=HELMCalculator())


def test_a_new_calculator_warns_again():
    for _ in range(2):
        atoms = Atoms("HH", [[0, 0, 0], [0, 0, 0.2]], calculator=HELMCalculator())
        with pytest.warns(ExtrapolationWarning):
            atoms.get_potential_energy()


def test_atoms_that_no_longer_exist_are_not_answered_with_those_before():
    calc, nitrogen = HELMCalculator(), molecule("N2")
    nitrogen.calc = calc
    levels = calc.get_homo_lumo()
    molecule("H2O").calc = calc
    with pytest.raises(StructureError, match="no longer exist"):
        calc.get_homo_lumo()
    assert calc.get_homo_lumo(nitrogen) == levels
    with pytest.raises(StructureError, match="no longer exist"):
        with_calc("H2O").calc.get_electronic_structure()


def test_atoms_that_were_computed_may_go():
    atoms = molecule("H2O")
    atoms.calc = calc = HELMCalculator()
    energy = atoms.get_potential_energy()
    del atoms
    assert calc.get_uncertainty().energy > 0
    assert calc.results["energy"] == energy
