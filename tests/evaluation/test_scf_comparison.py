"""Predicted Hamiltonians handed back to PySCF."""

import numpy as np
import pytest

import helm_ase.evaluation.scf_comparison as scf_comparison
from helm_ase.evaluation.comparison import canonical
from helm_ase.evaluation.scf_comparison import compare_scf, energy_of_density
from helm_ase.units import HARTREE_IN_EV
from shared.evaluated_models import made
from shared.sample_labels import TINY

pytestmark = pytest.mark.scf


def test_the_energy_of_a_converged_matrix_is_that_of_the_label(closed, opened):
    for subject in (closed, opened):
        basis = subject.checkpoint.basis
        for label in subject.labels:
            molecule = made(label, basis)
            energy = energy_of_density(molecule.mole, label, molecule.reference().structure, basis, TINY)
            assert energy == pytest.approx(label.energy / HARTREE_IN_EV, abs=1e-6), label.name


def test_an_error_of_the_matrix_raises_the_energy_by_its_square(closed, rng):
    label, basis = closed.labels[0], closed.checkpoint.basis
    h = canonical(label, basis)
    x = rng.normal(size=h.shape)
    x = x + x.swapaxes(1, 2)
    rise = []
    for size in (0.01, 0.005):
        molecule = made(label, basis)
        structure = molecule.solve(h + size * x).structure
        energy = energy_of_density(molecule.mole, label, structure, basis, TINY)
        rise.append(energy - label.energy / HARTREE_IN_EV)
    assert rise[0] > rise[1] > 0
    assert rise[0] / rise[1] == pytest.approx(4, rel=0.15)


def test_an_scf_from_the_converged_matrix_is_over_at_once_and_ends_in_the_same_state(closed, opened):
    for label, subject in ((closed.labels[0], closed), (opened.labels[0], opened)):
        basis = subject.checkpoint.basis
        molecule = made(label, basis)
        found = compare_scf(molecule.mole, label, molecule.reference().structure, basis, TINY)
        assert found.cycles < found.cycles_minao
        assert found.ratio < 0.8
        assert abs(found.difference) < 1e-7
        assert np.isfinite(found.ratio)


def test_an_scf_that_does_not_converge_is_no_comparison(closed, monkeypatch):
    monkeypatch.setattr(scf_comparison, "MAX_CYCLES", 1)
    label, basis = closed.labels[0], closed.checkpoint.basis
    molecule = made(label, basis)
    assert compare_scf(molecule.mole, label, molecule.reference().structure, basis, TINY) is None
