"""Levels around the gap by Lanczos iterations: those of a full diagonalisation, or none."""

import numpy as np
import pytest
import torch
from scipy.linalg import eigh

import helm_ase.electronic.orbitals as orbitals
from helm_ase.electronic import ElectronicStructure
from helm_ase.electronic.frontier import ShiftedFactors, frontier_levels


def problem(rng, levels):
    """H and S with these levels."""
    size = len(levels)
    a = rng.normal(size=(size, size))
    s = a @ a.T / size + 0.3 * np.eye(size)
    root = np.linalg.cholesky(s)
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    h = root @ turn @ np.diag(levels) @ turn.T @ root.T
    return 0.5 * (h + h.T), s


def spectrum(rng, size, occupied, homo, lumo):
    below = homo - np.sort(rng.exponential(1.0, occupied - 1))[::-1]
    above = lumo + np.sort(rng.exponential(1.0, size - occupied - 1))
    return np.concatenate([below, [homo, lumo], above])


@pytest.mark.parametrize("shift", [-4.0, -0.3, 0.05, 9.0])
def test_factors_count_the_levels_below_a_shift_and_solve(rng, shift):
    h, s = problem(rng, np.sort(rng.normal(size=40)))
    factors = ShiftedFactors(h, s, shift)
    assert factors.levels_below() == (eigh(h, s, eigvals_only=True) < shift).sum()
    right = rng.normal(size=40)
    np.testing.assert_allclose((h - shift * s) @ factors.solve(right), right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("gap", [(-0.25, 0.02), (-1.4, -1.38), (0.7, 2.0), (-0.1001, -0.1)])
def test_the_levels_are_those_of_a_full_diagonalisation(rng, gap, count):
    h, s = problem(rng, spectrum(rng, 60, 22, *gap))
    exact = eigh(h, s, eigvals_only=True)
    found = frontier_levels(h, s, 22, count)
    np.testing.assert_allclose(found.below, exact[22 - count : 22], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.above, exact[22 : 22 + count], rtol=0, atol=1e-10)


def test_degenerate_levels_are_all_there_or_the_answer_is_none(rng):
    levels = np.concatenate([[-2.0] * 5, [-0.4] * 3, [-0.3] * 2, [0.1] * 4, [0.5] * 3, [1.0] * 20])
    h, s = problem(rng, levels)
    for count in (1, 2, 4, 6):
        found = frontier_levels(h, s, 10, count)
        if found is not None:
            np.testing.assert_allclose(found.below, levels[10 - count : 10], rtol=0, atol=1e-9)
            np.testing.assert_allclose(found.above, levels[10 : 10 + count], rtol=0, atol=1e-9)
    assert frontier_levels(h, s, 10, 1) is not None


def test_fewer_levels_than_asked_for_are_all_that_there_are(rng):
    h, s = problem(rng, spectrum(rng, 30, 2, -0.5, 0.1))
    found = frontier_levels(h, s, 2, 5)
    assert (len(found.below), len(found.above)) == (2, 5)


@pytest.mark.parametrize(
    ("levels", "occupied"), [([-0.3] * 4 + [0.2] * 8, 3), ([-1.0] * 6, 6), ([1.0] * 6, 0)]
)
def test_without_a_gap_there_is_no_answer(rng, levels, occupied):
    assert frontier_levels(*problem(rng, np.array(levels)), occupied) is None


@pytest.fixture
def large(rng, monkeypatch):
    """An open shell whose matrices count as large; its levels, and those of one that was diagonalised."""
    monkeypatch.setattr(orbitals, "LARGE", 20)
    h, s = (torch.from_numpy(x) for x in problem(rng, spectrum(rng, 40, 13, -0.3, 0.1)))
    h = torch.stack([h, h + 0.05 * s])
    structures = [ElectronicStructure.solve(h, s, 26, 1) for _ in range(2)]
    assert len(structures[1].orbital_energies) == 2
    return structures


def test_frontier_orbitals_of_a_large_matrix_need_no_other_levels(large):
    quick, full = large
    assert quick.homo == pytest.approx(full.homo, abs=1e-9)
    assert quick.lumo == pytest.approx(full.lumo, abs=1e-9)
    assert quick.gap == pytest.approx(0.35, abs=1e-9)
    for spin in (0, 1):
        for a, b in zip(quick.frontier(spin, 4), full.frontier(spin, 4), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    assert "solutions" not in quick.__dict__
    assert "orthogonaliser" not in quick.__dict__


def test_what_lanczos_does_not_find_comes_from_all_levels(large, monkeypatch):
    quick, full = large
    monkeypatch.setattr(orbitals, "frontier_levels", lambda *_: None)
    assert quick.gap == pytest.approx(full.gap, abs=1e-12)
    assert "solutions" in quick.__dict__


def test_nearly_dependent_functions_are_left_out_of_large_matrices_too(rng, monkeypatch):
    monkeypatch.setattr(orbitals, "LARGE", 20)
    h, s = problem(rng, spectrum(rng, 40, 13, -0.3, 0.1))
    vectors, values = np.linalg.eigh(s)[::-1]
    values[0] = 1e-7
    found = ElectronicStructure.solve(torch.from_numpy(h), torch.from_numpy(vectors * values @ vectors.T), 26)
    assert not found.is_large
    assert found.orbital_energies.shape == (1, 39)
    assert found.homo == float(found.orbital_energies[0, 12])
