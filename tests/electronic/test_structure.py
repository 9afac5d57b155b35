"""H C = S C ε: what must hold for any H and S, then what PySCF gives for real ones."""

import numpy as np
import pytest
import torch

from helm_ase.electronic import OVERLAP_THRESHOLD, ElectronicStructure
from helm_ase.electronic.orbitals import spin_channels
from helm_ase.errors import BasisError, ChargeError, PredictionError
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.representation.overlap import canonical_orthogonaliser

WATER = ([8, 1, 1], np.array([[0.02, 0.0, 0.11], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]]))
HYDROXYL = ([8, 1], np.array([[0.0, 0.1, 0.0], [0.2, 0.3, 0.92]]))


def tensor(x):
    return torch.tensor(np.array(x), dtype=torch.float64)


def random_problem(rng, size=7, spins=1):
    a, h = rng.normal(size=(size, size)), rng.normal(size=(spins, size, size))
    return tensor(h + h.transpose(0, 2, 1)), tensor(a @ a.T / size + 0.3 * np.eye(size))


# --- laws ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spins", "electrons", "multiplicity"), [(1, 6, 1), (2, 6, 1), (2, 5, 2), (2, 6, 3)])
def test_orbitals_solve_the_problem_and_densities_hold_the_electrons(rng, spins, electrons, multiplicity):
    h, s = random_problem(rng, spins=spins)
    found = ElectronicStructure.solve(h, s, electrons, multiplicity)
    for k in range(spins):
        c, e = found.orbitals[k], found.orbital_energies[k]
        torch.testing.assert_close(h[k] @ c, s @ c * e, rtol=0, atol=1e-11)
        torch.testing.assert_close(c.T @ s @ c, torch.eye(7, dtype=torch.float64), rtol=0, atol=1e-12)
        assert (e.diff() >= 0).all()
        d = found.spin_densities[k]
        assert abs(float((d * s).sum()) - found.electrons[k]) < 1e-12
        torch.testing.assert_close(d @ s @ d, 2 / spins * d, rtol=0, atol=1e-11)
    assert sum(found.electrons) == electrons
    assert found.electrons[0] - found.electrons[-1] == multiplicity - 1
    torch.testing.assert_close(found.density_matrix, found.spin_densities.sum(0), rtol=0, atol=0)


def test_energies_do_not_depend_on_the_choice_of_basis_functions(rng):
    h, s = random_problem(rng)
    t = tensor(rng.normal(size=(7, 7)))
    plain = ElectronicStructure.solve(h, s, 4)
    other = ElectronicStructure.solve(t.T @ h @ t, t.T @ s @ t, 4)
    torch.testing.assert_close(other.orbital_energies, plain.orbital_energies, rtol=0, atol=1e-8)
    torch.testing.assert_close(t @ other.density_matrix @ t.T, plain.density_matrix, rtol=0, atol=1e-8)


def test_adding_a_constant_potential_shifts_levels_and_keeps_the_density(rng):
    h, s = random_problem(rng)
    plain, shifted = ElectronicStructure.solve(h, s, 4), ElectronicStructure.solve(h + 0.7 * s, s, 4)
    torch.testing.assert_close(shifted.orbital_energies, plain.orbital_energies + 0.7, rtol=0, atol=1e-11)
    torch.testing.assert_close(shifted.density_matrix, plain.density_matrix, rtol=0, atol=1e-11)
    assert abs(shifted.gap - plain.gap) < 1e-11


def test_two_overlapping_levels_have_the_textbook_solution():
    a, b, t = -0.5, -0.4, 0.3
    found = ElectronicStructure.solve(tensor([[a, b], [b, a]]), tensor([[1, t], [t, 1]]), 2)
    bonding, antibonding = (a + b) / (1 + t), (a - b) / (1 - t)
    np.testing.assert_allclose(found.orbital_energies[0], [bonding, antibonding], atol=1e-14)
    np.testing.assert_allclose(found.density_matrix, np.ones((2, 2)) / (1 + t), atol=1e-14)
    assert abs(found.homo - bonding) < 1e-14
    assert abs(found.lumo - antibonding) < 1e-14
    assert abs(found.gap - (antibonding - bonding)) < 1e-14
    assert abs(found.fermi_level - (antibonding + bonding) / 2) < 1e-14


def test_two_orthogonal_levels_repel_each_other():
    found = ElectronicStructure.solve(tensor([[1.0, 0.6], [0.6, 2.0]]), torch.eye(2), 2)
    np.testing.assert_allclose(
        found.orbital_energies[0], 1.5 + np.hypot(0.5, 0.6) * np.array([-1, 1]), atol=1e-14
    )


def test_frontier_levels_are_taken_over_both_spins():
    h = tensor([np.diag([-3.0, -1.0, 2.0]), np.diag([-2.5, 0.5, 1.0])])
    found = ElectronicStructure.solve(h, torch.eye(3), 3, multiplicity=2)
    assert (found.homo, found.lumo) == (-1.0, 0.5)
    assert found.occupied == (2, 1)
    assert found.occupations.tolist() == [[1, 1, 0], [1, 0, 0]]


def test_without_electrons_or_without_empty_levels_one_frontier_is_infinite():
    h = tensor(np.diag([-1.0, 1.0]))
    bare, full = (ElectronicStructure.solve(h, torch.eye(2), n) for n in (0, 4))
    assert (bare.homo, bare.lumo, bare.fermi_level) == (-np.inf, -1.0, -1.0)
    assert not bare.density_matrix.any()
    assert (full.homo, full.lumo, full.fermi_level) == (1.0, np.inf, 1.0)


# --- a nearly singular overlap ------------------------------------------------------------------------


@pytest.mark.parametrize(("smallest", "orbitals"), [(1.1, 2), (0.9, 1)])
def test_a_direction_is_dropped_exactly_when_its_overlap_falls_below_the_threshold(smallest, orbitals):
    for threshold in (OVERLAP_THRESHOLD, 1e-4):
        t = 1 - smallest * threshold
        x = canonical_orthogonaliser(tensor([[1, t], [t, 1]]), threshold)
        assert x.shape == (2, orbitals)
        torch.testing.assert_close(
            x.T @ tensor([[1, t], [t, 1]]) @ x, torch.eye(orbitals, dtype=torch.float64), rtol=0, atol=1e-9
        )


def test_a_function_given_twice_leaves_energies_and_observables_as_they_were(rng):
    h, s = random_problem(rng, size=5)
    double = torch.eye(5, dtype=torch.float64)[:, [0, 1, 2, 3, 4, 2]]
    plain = ElectronicStructure.solve(h, s, 4)
    found = ElectronicStructure.solve(double.T @ h @ double, double.T @ s @ double, 4)
    assert found.orbital_energies.shape == (1, 5)
    torch.testing.assert_close(found.orbital_energies, plain.orbital_energies, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        double @ found.density_matrix @ double.T, plain.density_matrix, rtol=0, atol=1e-11
    )


def test_a_noisy_hamiltonian_of_a_nearly_doubled_function_gives_bounded_energies(rng):
    h, s = random_problem(rng, size=6)
    nearly = torch.eye(6, dtype=torch.float64)
    nearly[:, 5] = nearly[:, 2] + 1e-5 * nearly[:, 5]
    noise = tensor(rng.normal(size=(6, 6)))
    noisy = nearly.T @ h @ nearly + 1e-3 * (noise + noise.T)
    found = ElectronicStructure.solve(noisy, nearly.T @ s @ nearly, 4)
    wild = ElectronicStructure.solve(noisy, nearly.T @ s @ nearly, 4, threshold=1e-14)
    bound = 2 * ElectronicStructure.solve(h, s, 4).orbital_energies.abs().max()
    assert found.orbital_energies.shape == (1, 5)
    assert found.orbital_energies.abs().max() < bound
    assert wild.orbital_energies.abs().max() > 1e3 * bound


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("electrons", "multiplicity", "matrices"),
    [(3, 1, 1), (2, 2, 2), (2, 4, 2), (1, 3, 2), (-2, 1, 1), (2, 0, 1)],
)
def test_electrons_and_multiplicity_that_contradict_each_other_are_refused(electrons, multiplicity, matrices):
    with pytest.raises(ChargeError, match="cannot have multiplicity"):
        spin_channels(electrons, multiplicity, matrices)


def test_an_open_shell_needs_two_matrices():
    with pytest.raises(ChargeError, match="needs two Hamiltonians"):
        ElectronicStructure.solve(torch.eye(3), torch.eye(3), 3, multiplicity=2)


@pytest.mark.parametrize(("electrons", "multiplicity", "spins"), [(6, 1, 1), (3, 4, 2)])
def test_more_electrons_than_the_orbitals_hold_are_refused(electrons, multiplicity, spins):
    h = torch.eye(2).expand(spins, 2, 2)
    with pytest.raises(ChargeError, match="do not fit into 2 orbitals"):
        ElectronicStructure.solve(h, torch.eye(2), electrons, multiplicity)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["hamiltonian", "overlap"])
def test_numbers_that_are_not_finite_are_refused(bad, where):
    h, s = torch.eye(3), torch.eye(3)
    {"hamiltonian": h, "overlap": s}[where][1, 1] = bad
    with pytest.raises(PredictionError, match="not finite"):
        ElectronicStructure.solve(h, s, 2)


@pytest.mark.parametrize(
    ("shape_h", "shape_s"),
    [((3, 3), (2, 2)), ((3, 2), (3, 3)), ((2, 3), (2, 3)), ((3, 3, 3), (3, 3)), ((3,), (3, 3))],
)
def test_shapes_that_do_not_fit_are_refused(shape_h, shape_s):
    with pytest.raises(BasisError):
        ElectronicStructure.solve(torch.ones(shape_h), torch.ones(shape_s), 2)


def test_an_overlap_with_a_negative_eigenvalue_is_refused():
    with pytest.raises(BasisError, match="must be positive"):
        ElectronicStructure.solve(torch.eye(2), tensor([[1, 1.01], [1.01, 1]]), 2)


# --- PySCF --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def water():
    mole = build_mole(*WATER, "def2-svp")
    return kohn_sham(mole, LevelOfTheory(functional="b3lyp", grid_level=1)).run()


@pytest.fixture(scope="module")
def hydroxyl():
    mole = build_mole(*HYDROXYL, "sto-3g", multiplicity=2)
    return kohn_sham(mole, LevelOfTheory(functional="pbe", basis="sto-3g", grid_level=1)).run()


def solve_again(mf):
    """Our solution of a converged Kohn–Sham problem, and PySCF's orbital energies and density."""
    fock, s = mf.get_fock(), mf.get_ovlp()
    energies, orbitals = mf.eig(fock, s)
    density = mf.make_rdm1(orbitals, mf.get_occ(energies, orbitals))
    ours = ElectronicStructure.solve(tensor(fock), tensor(s), mf.mol.nelectron, mf.mol.multiplicity)
    return ours, np.asarray(energies), np.asarray(density)


@pytest.mark.scf
@pytest.mark.parametrize("which", ["water", "hydroxyl"])
def test_orbital_energies_and_density_are_those_of_pyscf(which, request):
    mf = request.getfixturevalue(which)
    assert mf.converged
    ours, energies, density = solve_again(mf)
    np.testing.assert_allclose(
        ours.orbital_energies.numpy(), energies.reshape(ours.n_spins, -1), rtol=0, atol=1e-8
    )
    np.testing.assert_allclose(ours.spin_densities.numpy().squeeze(), density, rtol=0, atol=1e-8)
    assert abs(float((ours.density_matrix * ours.overlap).sum()) - mf.mol.nelectron) < 1e-10
    assert ours.electrons == (mf.mol.nelec if which == "hydroxyl" else (10,))


@pytest.mark.scf
def test_a_change_of_ao_order_leaves_the_electronic_structure_alone(water):
    from helm_ase.qc.molecule import basis_of
    from helm_ase.representation import AOMatrix

    basis, numbers = basis_of(water.mol), np.array(WATER[0])
    h, s = (AOMatrix(np.asarray(x), numbers, basis, "pyscf") for x in (water.get_fock(), water.get_ovlp()))
    plain = ElectronicStructure.solve(tensor(h.values), tensor(s.values), 10)
    orca = ElectronicStructure.solve(tensor(h.reorder("orca").values), tensor(s.reorder("orca").values), 10)
    torch.testing.assert_close(orca.orbital_energies, plain.orbital_energies, rtol=0, atol=1e-10)
    density = AOMatrix(orca.density_matrix.numpy(), numbers, basis, "orca").reorder("pyscf").values
    np.testing.assert_allclose(density, plain.density_matrix, rtol=0, atol=1e-10)
