"""Levels of parts far apart are those of the parts, though the shipped network has never learnt to fade."""

import numpy as np
import pytest
from ase.build import molecule

import helm_ase.nn.output_factor as output_factor
from helm_ase import HELMCalculator
from helm_ase.dataset.derived import DerivationSettings, derive
from helm_ase.dataset.sample import make_sample
from helm_ase.evaluation.inference import answers
from helm_ase.representation import AOMatrix, LabelledMolecule
from shared.attached import PURE

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
    monkeypatch.setattr(output_factor, "overlap_envelope", lambda s, starts: np.ones_like(s))
    assert np.array_equal(HELMCalculator().get_hamiltonian(atoms), with_envelope)


def test_evaluation_judges_the_hamiltonian_that_users_get():
    atoms = pair("CH4", 8.0)
    calc = HELMCalculator(PURE)
    checkpoint = calc.checkpoint
    basis = checkpoint.model.basis
    settings = DerivationSettings(checkpoint.level, checkpoint.baseline)
    matrix = np.zeros((basis.size(atoms.numbers),) * 2)
    label = LabelledMolecule("pair", atoms.numbers, atoms.positions, matrix)
    derived = derive(label, settings)
    sample = make_sample(label, derived, basis.shells, checkpoint.model.cutoff)
    (answer,) = answers(checkpoint.model, [sample], energy=False)
    judged = AOMatrix(sample.baseline.numpy() + answer.correction[0], atoms.numbers, basis).reorder("pyscf")
    assert np.abs(judged.values - calc.get_hamiltonian(atoms)).max() < 1e-6
