"""Gradients with respect to H against finite differences, also where levels coincide."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from helm_ase.electronic.differentiable import (
    Eigensystem,
    density_matrix,
    levels,
    occupied_projector,
    uncoupled_polarizability,
)
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.representation.overlap import canonical_orthogonaliser
from shared.rotations import rotation

pytestmark = pytest.mark.scf


class Case:
    """F, X, S and integrals of a real molecule, or of a matrix with levels that coincide exactly."""

    def __init__(self, name):
        atoms = molecule("CH4" if name == "exact" else name)
        self.mole = build_mole(atoms.numbers, atoms.positions, "sto-3g")
        mf = kohn_sham(self.mole, LevelOfTheory(basis="sto-3g", grid_level=1, conv_tol=1e-11))
        mf.kernel()
        self.overlap = torch.from_numpy(mf.get_ovlp())
        self.x = canonical_orthogonaliser(self.overlap)
        fock = self.x.T @ torch.from_numpy(np.asarray(mf.get_fock())) @ self.x
        self.n = self.mole.nelectron // 2
        if name == "exact":
            energies, vectors = torch.linalg.eigh(fock)
            energies[2:5], energies[6:9] = energies[3].clone(), energies[7].clone()
            fock = vectors @ torch.diag(energies) @ vectors.T
        self.fock = 0.5 * (fock + fock.T)
        with self.mole.with_common_orig((0.0, 0.0, 0.0)):
            r = torch.from_numpy(self.mole.intor_symmetric("int1e_r", comp=3))
        self.r = self.x.T @ r @ self.x
        self.offsets = np.append(self.mole.aoslice_by_atom()[:, 2], self.mole.nao)

    def density(self, fock):
        return density_matrix(fock, self.x, self.n)

    def dipole(self, fock):
        return -2 * torch.einsum("xpq,pq->x", self.r, occupied_projector(fock, self.n))

    def charges(self, fock):
        population = (self.density(fock) @ self.overlap).diagonal()
        return torch.stack(
            [population[a:b].sum() for a, b in zip(self.offsets, self.offsets[1:], strict=False)]
        )

    def bond_orders(self, fock):
        ps = self.density(fock) @ self.overlap
        product = ps * ps.T
        spans = [slice(a, b) for a, b in zip(self.offsets, self.offsets[1:], strict=False)]
        return torch.stack([product[i, j].sum() for i in spans for j in spans])

    def polarizability(self, fock):
        return uncoupled_polarizability(fock, self.r, self.n)

    def band_energy(self, fock):
        return levels(fock)[: self.n].sum()[None]


QUANTITIES = ("density", "dipole", "charges", "bond_orders", "polarizability", "band_energy")


@pytest.fixture(scope="module", params=["CH4", "C6H6", "exact", "H2O"])
def case(request):
    return Case(request.param)


def derivative_along(function, fock, direction, step):
    """Five-point finite difference."""
    values = [function(fock + k * step * direction) for k in (-2, -1, 1, 2)]
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_gradients_equal_finite_differences_where_levels_coincide(case, quantity):
    generator = torch.Generator().manual_seed(3)
    function = getattr(case, quantity)
    fock = case.fock.clone().requires_grad_()
    value = function(fock)
    weight = torch.randn(value.shape, dtype=torch.float64, generator=generator)
    (gradient,) = torch.autograd.grad((value * weight).sum(), fock)
    for _ in range(3):
        direction = torch.randn(fock.shape, dtype=torch.float64, generator=generator)
        direction = direction + direction.T
        numeric = (derivative_along(function, case.fock, direction, 2e-4) * weight).sum()
        assert float((gradient * direction).sum()) == pytest.approx(float(numeric), rel=1e-6, abs=1e-9)


def test_single_levels_equal_finite_differences_where_they_do_not_coincide():
    case = Case("H2O")
    fock = case.fock.clone().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(fock.shape, dtype=torch.float64, generator=generator)
    direction = direction + direction.T
    for k in range(len(fock)):
        (gradient,) = torch.autograd.grad(levels(fock)[k], fock)
        numeric = derivative_along(lambda f, k=k: levels(f)[k], case.fock, direction, 1e-4)
        assert float((gradient * direction).sum()) == pytest.approx(float(numeric), rel=1e-6, abs=1e-9)


def test_gradients_of_degenerate_levels_are_finite_and_turn_with_the_basis():
    case = Case("exact")
    turn = torch.linalg.qr(torch.randn(case.fock.shape, dtype=torch.float64))[0]
    gradients = []
    for basis in (torch.eye(len(case.fock), dtype=torch.float64), turn):
        fock = (basis @ case.fock @ basis.T).requires_grad_()
        energies = levels(fock)
        (gradient,) = torch.autograd.grad(energies[case.n] - energies[case.n - 1], fock)
        gradients.append(basis.T @ gradient @ basis)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-9)


def test_plain_differentiation_of_the_orbitals_fails_here():
    """Guards the tests above: if this passed, they would not be needed."""
    case = Case("exact")
    fock = case.fock.clone().requires_grad_()
    occupied = torch.linalg.eigh(fock)[1][:, : case.n]
    dipole = -2 * torch.einsum("xpq,pi,qi->x", case.r, occupied, occupied)
    (wrong,) = torch.autograd.grad(dipole.sum(), fock)
    (right,) = torch.autograd.grad(case.dipole(fock).sum(), fock)
    assert not torch.allclose(wrong, right, rtol=1e-3, atol=0)


def test_the_density_is_that_of_the_orbitals_and_its_functions_those_of_pyscf(case):
    density = case.density(case.fock)
    torch.testing.assert_close(density @ case.overlap @ density, 2 * density, rtol=0, atol=1e-9)
    assert float((density * case.overlap).sum()) == pytest.approx(2 * case.n)


def test_the_uncoupled_polarizability_of_methane_is_isotropic_and_turns_with_the_molecule():
    case = Case("CH4")
    alpha = case.polarizability(case.fock)
    torch.testing.assert_close(alpha, alpha[0, 0] * torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-5)
    water = Case("H2O")
    turn = torch.from_numpy(rotation(np.random.default_rng(0)))
    turned = uncoupled_polarizability(water.fock, torch.einsum("xy,ypq->xpq", turn, water.r), water.n)
    torch.testing.assert_close(turned, turn @ water.polarizability(water.fock) @ turn.T, rtol=0, atol=1e-9)


def test_one_diagonalisation_serves_all_quantities(monkeypatch):
    case = Case("H2O")
    expected = [f(case.fock) for f in (levels, case.polarizability, lambda f: occupied_projector(f, case.n))]
    solve, calls = torch.linalg.eigh, []
    monkeypatch.setattr(torch.linalg, "eigh", lambda m: calls.append(m) or solve(m))
    fock = case.fock.clone().requires_grad_()
    system = Eigensystem.of(fock)
    found = [system.levels(), system.uncoupled_polarizability(case.r, case.n), system.projector(case.n)]
    torch.autograd.grad(sum(x.sum() for x in found), fock)
    assert len(calls) == 1
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_matrices_of_one_size_are_solved_together_and_nobody_notices(monkeypatch):
    generator = torch.Generator().manual_seed(5)
    focks = []
    for n in (6, 4, 6, 1, 4, 6):
        m = torch.randn(n, n, dtype=torch.float64, generator=generator)
        focks.append((m + m.T).requires_grad_())
    alone = [Eigensystem.of(f) for f in focks]
    solve, shapes = torch.linalg.eigh, []
    monkeypatch.setattr(torch.linalg, "eigh", lambda m: shapes.append(tuple(m.shape)) or solve(m))
    together = Eigensystem.of_many(focks)
    assert sorted(shapes) == [(1, 1, 1), (2, 4, 4), (3, 6, 6)]
    for fock, a, b in zip(focks, alone, together, strict=True):
        torch.testing.assert_close(b.levels(), a.levels())
        found, expected = (torch.autograd.grad(s.projector(len(fock) // 2)[0].sum(), fock) for s in (b, a))
        torch.testing.assert_close(found, expected)


def test_a_matrix_that_is_not_finite_leaves_its_neighbours_alone():
    good = torch.diag(torch.arange(4.0, dtype=torch.float64))
    bad = torch.full((4, 4), torch.inf, dtype=torch.float64)
    first, second, third = Eigensystem.of_many([good, bad, good])
    assert torch.isnan(second.levels()).all()
    for system in (first, third):
        torch.testing.assert_close(system.levels(), good.diagonal())


def test_a_matrix_that_is_not_finite_gives_gives_numbers_that_are_not():
    fock = torch.full((4, 4), torch.nan, dtype=torch.float64, requires_grad=True)
    system = Eigensystem.of(fock)
    assert torch.isnan(system.levels()).all()
    assert torch.isnan(system.projector(2)).all()
    (gradient,) = torch.autograd.grad(system.levels().sum(), fock)
    assert torch.isnan(gradient).all()
