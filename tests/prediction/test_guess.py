"""When a predicted density is kept as the start of an SCF, and when PySCF's own is taken."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule
from pyscf import dft, gto

from helm_ase import HELMCalculator
from helm_ase.electronic import ElectronicStructure
from helm_ase.prediction.guess import MAX_BAR, MAX_CHARGE, MIN_GAP, GuessWarning, doubts_of
from helm_ase.qc.density_guess import own_guess

MODEL = "helm-hcnof-2"


@pytest.fixture(scope="module")
def methanol():
    atoms = molecule("CH3OH")
    atoms.calc = HELMCalculator(MODEL)
    return atoms


def corrupted(atoms, change):
    """A calculator whose network returned another Hamiltonian than it should."""
    calc = HELMCalculator(MODEL)
    found = calc._solve(atoms)
    old = found.structure
    h = change(old.hamiltonian.numpy()[0].copy(), old.orbitals.numpy()[0], old.overlap.numpy())
    made = ElectronicStructure.solve(
        torch.from_numpy(h[None]), old.overlap, sum(old.electrons), 1, integrals=old.integrals
    )
    calc._electronic = replace(found, structure=made)
    return calc


def commutator(atoms, density):
    mole = HELMCalculator(MODEL)._solve(atoms).mole
    mf = dft.RKS(mole, xc="b3lyp").density_fit()
    mf.grids.level = 1
    fock, s = mf.get_fock(dm=density), mf.get_ovlp()
    product = fock @ density @ s
    return np.linalg.norm(product - product.T)


@pytest.mark.scf
def test_a_good_prediction_is_kept_and_is_closer_to_self_consistency(methanol):
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuessWarning)
        guess = methanol.calc.initial_guess(atoms=methanol)
    np.testing.assert_array_equal(guess, methanol.calc.get_density_matrix(methanol))
    ours = commutator(methanol, guess)
    assert ours < 0.3 * commutator(methanol, own_guess(methanol.calc._solve(methanol).mole))


def no_gap(h, c, s):
    """The HOMO and the LUMO of methanol change places, nearly."""
    homo, lumo = s @ c[:, 8], s @ c[:, 9]
    return h + 0.13 * (np.outer(homo, homo) - np.outer(lumo, lumo))


def charged(h, c, s):
    """One atom loses its electrons."""
    shift = np.zeros(len(h))
    shift[:14] = 3.0
    return h + 0.5 * (shift[:, None] + shift[None]) * s


@pytest.mark.parametrize(("change", "reason"), [(no_gap, "gap"), (charged, "charge|gap")])
def test_a_corrupted_hamiltonian_is_not_used_and_it_is_said(methanol, change, reason):
    calc = corrupted(methanol, change)
    with pytest.warns(GuessWarning, match=f"{reason}.*PySCF's own guess"):
        found = calc.initial_guess(atoms=methanol)
    mole = methanol.calc._solve(methanol).mole
    np.testing.assert_allclose(found, dft.RKS(mole).get_init_guess(), atol=1e-10)


def test_without_the_guard_the_prediction_comes_whatever_it_is(methanol):
    calc = corrupted(methanol, no_gap)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuessWarning)
        guess = calc.initial_guess(atoms=methanol, guard=False)
    np.testing.assert_array_equal(guess, calc.get_density_matrix(methanol))


def test_the_own_guess_is_that_of_the_basis_asked_for_and_open_shells_have_two(methanol):
    calc = corrupted(methanol, no_gap)
    geometry = [(s, p) for s, p in zip(methanol.symbols, methanol.positions.tolist(), strict=True)]
    larger = gto.M(atom=geometry, basis="def2-tzvp", verbose=0)
    with pytest.warns(GuessWarning):
        assert calc.initial_guess(larger, atoms=methanol).shape == (larger.nao, larger.nao)
    radical = gto.M(atom="O 0 0 0; H 0 0 1", basis="def2-svp", spin=1, verbose=0)
    assert own_guess(radical).shape == (2, radical.nao, radical.nao)


def test_each_doubt_has_its_limit(methanol):
    structure = methanol.calc.get_electronic_structure(methanol)
    bar = methanol.calc.get_uncertainty(methanol)
    good = doubts_of(structure, bar)
    assert good.reason == ""
    assert good.gap == pytest.approx(structure.gap)
    assert "gap" in replace(good, gap=0.99 * MIN_GAP).reason
    assert "error bar" in replace(good, bar=1.01 * MAX_BAR).reason
    assert "charge" in replace(good, charge=1.01 * MAX_CHARGE).reason
    assert doubts_of(structure, None).reason == ""


def test_the_gap_of_an_open_shell_is_the_smaller_one_of_both_spins(rng):
    overlap = torch.eye(4, dtype=torch.float64)
    h = torch.diag_embed(torch.tensor([[-1.0, -0.5, 0.5, 1.0], [-1.0, -0.1, 0.2, 1.0]], dtype=torch.float64))
    structure = ElectronicStructure.solve(h, overlap, 3, 2)
    gaps = [h[0, 2, 2] - h[0, 1, 1], h[1, 1, 1] - h[1, 0, 0]]
    found = [
        float(levels[n] - levels[n - 1])
        for levels, n in zip(structure.orbital_energies, structure.occupied, strict=True)
    ]
    assert min(found) == pytest.approx(float(min(gaps)))
