"""Training's own metrics and ``evaluate`` agree on any matrix, also where functions nearly depend."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from helm_ase.dataset.derived import DerivationSettings, derive
from helm_ase.dataset.sample import make_sample
from helm_ase.evaluation.comparison import compare
from helm_ase.evaluation.errors import GHOST, matrix_errors
from helm_ase.qc.level import Baseline, LevelOfTheory
from helm_ase.qc.molecule import ao_basis, build_mole
from helm_ase.representation import AOMatrix, LabelledMolecule
from helm_ase.units import HARTREE_IN_EV
from shared.evaluated_models import made

LEVEL = LevelOfTheory(functional="pbe", basis="def2-svpd")
WATER = [8, 1, 1], [[0.0, 0.02, 0.12], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]]
CLOSE = [1, 1], [[0, 0, 0], [0.11, 0, 0]]
"""With an overlap eigenvalue of 2e-6."""
PATHOLOGY = {"well apart": WATER, "nearly dependent": CLOSE}


def labelled(numbers, positions):
    """A label whose matrix is the bare nuclei's."""
    mole = build_mole(np.array(numbers), np.array(positions, float), LEVEL.basis)
    h = mole.intor("int1e_kin") + mole.intor("int1e_nuc")
    return LabelledMolecule("x", np.array(numbers), np.array(positions, float), h)


def sample_of(label):
    settings = DerivationSettings(LEVEL, Baseline("none"))
    basis = ao_basis(LEVEL.basis, sorted(set(label.numbers.tolist())))
    return make_sample(label, derive(label, settings), basis.shells, 10.0), basis, settings


@pytest.mark.parametrize("which", PATHOLOGY)
def test_frontier_levels_and_ghosts_are_those_of_evaluate(which, rng):
    label = labelled(*PATHOLOGY[which])
    sample, basis, _ = sample_of(label)
    molecule = made(label, basis)
    noise = 3e-3 * rng.normal(size=sample.correction.shape)
    predicted = sample.correction.double().numpy() + noise + noise.swapaxes(1, 2)
    ours = matrix_errors(sample, predicted)
    theirs = compare(molecule.solve(sample.baseline.numpy() + predicted), molecule.reference())
    for name in ("occupied", "homo", "lumo", "gap"):
        assert getattr(ours, name) == pytest.approx(abs(getattr(theirs, name)), abs=1e-9), name
    assert (ours.lumo_shift < GHOST) == theirs.ghost
    h = (sample.baseline.numpy() + predicted)[0]
    everything = scipy.linalg.eigvalsh(h, sample.overlap.numpy())  # what nobody may see
    assert (everything[1] - everything[0] > 100) == (which == "nearly dependent")


def test_dropped_directions_are_no_levels(rng):
    sample, _, _ = sample_of(labelled(*CLOSE))
    assert torch.isfinite(sample.orbital_energies).sum() == len(sample.overlap) - 1
    exact = matrix_errors(sample, sample.correction.double().numpy())
    assert exact.lumo < 1e-4 * HARTREE_IN_EV
    assert exact.occupied < 1e-4 * HARTREE_IN_EV


def test_levels_cached_by_an_earlier_version_serve_unless_they_have_directions_too_many():
    for which, serves in (("well apart", True), ("nearly dependent", False)):
        label = labelled(*PATHOLOGY[which])
        sample, basis, settings = sample_of(label)
        derived = derive(label, settings)
        assert settings.holds(derived)
        h = AOMatrix(label.hamiltonian, label.numbers, basis, "pyscf").reorder("e3nn").values
        values, vectors = np.linalg.eigh(sample.overlap.numpy())
        x = vectors / np.sqrt(values)  # nothing is dropped
        old = replace(derived, orbital_energies=np.linalg.eigvalsh(x.T @ h @ x)[None])
        assert settings.holds(settings.unpack(settings.pack(old))) is serves
