"""Levels of parts far apart are those of the parts, though the shipped network has never learnt to fade."""

import numpy as np
import pytest
from ase.build import molecule

import helm_ase.prediction.electronic as electronic
from helm_ase import HELMCalculator

pytestmark = pytest.mark.scf


def pair(name, distance):
    one = molecule(name)
    two = one.copy()
    two.translate([distance, 0, 0])
    return one + two


@pytest.mark.parametrize(
    ("name", "distance"),
    [("CH4", 8.0), ("CH4", 10.0), pytest.param("C2H6", 8.0, marks=pytest.mark.slow), ("H2O", 20.0)],
)
def test_two_molecules_far_apart_have_the_frontier_levels_of_one(name, distance):
    """Without the envelope: 1.50 instead of 1.98 eV for methane at 8 Å, 0.50 instead of 1.75 for ethane."""
    calc = HELMCalculator()
    one, two = calc.get_homo_lumo(molecule(name)), calc.get_homo_lumo(pair(name, distance))
    assert two[0] == pytest.approx(one[0], abs=0.03)
    assert two[1] == pytest.approx(one[1], abs=0.03)


def test_a_small_molecule_is_what_the_network_says_to_the_last_bit(monkeypatch):
    atoms = molecule("C2H6")
    with_envelope = HELMCalculator().get_hamiltonian(atoms)
    monkeypatch.setattr(electronic, "_envelope", lambda s: 1.0)
    assert np.array_equal(HELMCalculator().get_hamiltonian(atoms), with_envelope)
