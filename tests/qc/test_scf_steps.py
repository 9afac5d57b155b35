"""SCF steps from a given density, their error bar, guesses in other bases, and files of orbitals."""

import copy

import numpy as np
import pytest
from pyscf import scf
from pyscf.scf import chkfile
from pyscf.tools import molden

from helm_ase.errors import BasisError, ChargeError, SettingError, StructureError
from helm_ase.qc.density_guess import density_for
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.orbital_output import OrbitalTable, write_chkfile, write_molden
from helm_ase.qc.reliability import reliability
from helm_ase.qc.scf_steps import SelfConsistency, extrapolation, mixed_energy

pytestmark = pytest.mark.scf

WATER = ([8, 1, 1], np.array([[0.02, 0.0, 0.11], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]]))
LEVEL = LevelOfTheory(functional="pbe", basis="sto-3g", grid_level=1, density_fitting=False, conv_tol=1e-11)
MOLES = {
    "water": build_mole(*WATER, "sto-3g"),
    "imidogen": build_mole([7, 1], WATER[1][:2], "sto-3g", multiplicity=3),
}


@pytest.fixture(scope="module")
def converged():
    found = {name: kohn_sham(mole, LEVEL).run() for name, mole in MOLES.items()}
    assert all(mf.converged for mf in found.values())
    return found


def densities(mf):
    return np.asarray(mf.make_rdm1()).reshape(-1, mf.mol.nao, mf.mol.nao)


def fock_of(mf):
    return np.asarray(mf.get_fock()).reshape(-1, mf.mol.nao, mf.mol.nao)


def atoms_of(mole):
    slices = mole.aoslice_by_atom()
    return np.repeat(np.arange(mole.natm), slices[:, 3] - slices[:, 2])


def table(mf):
    n = mf.mol.nao
    return OrbitalTable(
        np.reshape(mf.mo_energy, (-1, n)), np.reshape(mf.mo_coeff, (-1, n, n)), np.reshape(mf.mo_occ, (-1, n))
    )


def turned_density(mf, overlap, size):
    """Density of orbitals of water that are mixed with the LUMO, (1, A, A)."""
    c, n = mf.mo_coeff, 5
    turned = c[:, :n] + size * c[:, [n] * n] * np.linspace(-1, 1, n)
    q = np.linalg.cholesky(np.linalg.inv(turned.T @ overlap @ turned))
    return 2 * ((turned @ q) @ (turned @ q).T)[None]


@pytest.mark.parametrize("name", MOLES)
def test_a_converged_density_is_where_it_stays(converged, name):
    mf = converged[name]
    problem = SelfConsistency(mf.mol, LEVEL, mf.mo_energy.ndim)
    first = problem.build(densities(mf))
    assert abs(first.energy - mf.e_tot) < 1e-10
    found = problem.iterate(first, 1)
    np.testing.assert_allclose(found.densities, densities(mf), atol=3e-5)
    assert abs(found.harris_energy - mf.e_tot) < 1e-9
    np.testing.assert_allclose(
        problem.forces(found.mixed, found.fock), -mf.nuc_grad_method().kernel(), atol=1e-5
    )
    bar = reliability(fock_of(mf), problem.overlap, found, atoms_of(mf.mol), 27.2)
    assert bar.fock_residual < 1e-7
    assert bar.atom_residuals.max() < 1e-7
    wrong = reliability(1.01 * fock_of(mf), problem.overlap, found, atoms_of(mf.mol), 27.2)
    assert wrong.fock_residual == pytest.approx(0.01 * np.abs(fock_of(mf)).mean(), rel=1e-3)
    assert abs(bar.commutator_norm) < 1e-5
    assert abs(bar.energy_change) < 1e-8
    assert bar.density_change < 1e-8


@pytest.mark.parametrize("name", MOLES)
def test_steps_from_a_poor_density_reach_the_converged_energy(converged, name):
    mf = converged[name]
    problem = SelfConsistency(mf.mol, LEVEL, mf.mo_energy.ndim)
    start = np.asarray(mf.get_init_guess(key="minao")).reshape(densities(mf).shape)
    first = problem.build(start)
    errors = []
    for steps in (1, 3, 6, 12):
        found = problem.iterate(first, steps)
        errors.append((abs(found.step.energy - mf.e_tot), abs(found.harris_energy - mf.e_tot)))
    assert errors[0][0] > 1e-2
    assert errors[0][0] > 100 * errors[2][0]
    assert max(errors[-1]) < 1e-8
    one = problem.iterate(first, 1)
    assert np.array_equal(one.fock, first.fock)
    before = problem.forces(one.mixed, one.fock)
    problem.iterate(first, 3)
    np.testing.assert_array_equal(
        problem.forces(one.mixed, one.fock), before
    )  # whatever was asked in between
    with pytest.raises(SettingError, match="n_iterations is 0"):
        problem.iterate(first, 0)


def test_both_energies_are_of_second_order_in_the_error_of_the_density(converged):
    mf = converged["water"]
    problem = SelfConsistency(mf.mol, LEVEL, 1)
    s = problem.overlap
    functional, harris, signs = [], [], []
    for size in (0.02, 0.01):
        found = problem.iterate(problem.build(turned_density(mf, s, size)), 1)
        functional.append(found.step.energy - mf.e_tot)
        harris.append(found.harris_energy - mf.e_tot)
        bar = reliability(found.step.fock, s, found, atoms_of(mf.mol), 1.0)
        signs.append((bar.commutator_norm, -bar.energy_change, bar.density_change))
    assert functional[0] > 0
    assert 3.6 < functional[0] / functional[1] < 4.4
    assert 3.0 < harris[0] / harris[1] < 5.0
    commutator, energy, moved = np.array(signs[0]) / np.array(signs[1])
    assert 1.8 < commutator < 2.2
    assert 3.6 < energy < 4.4
    assert 3.6 < moved < 4.4


def test_energies_between_densities_are_exact_for_hartree_fock():
    level = LevelOfTheory(functional="hf", basis="sto-3g", density_fitting=False)
    for name, spins in (("water", 1), ("imidogen", 2)):
        problem = SelfConsistency(MOLES[name], level, spins)
        start = np.asarray(problem.mean_field.get_init_guess(key="minao")).reshape(
            spins, *[len(problem.overlap)] * 2
        )
        first = problem.build(start)
        second = problem.build(problem.solve([first]).densities)
        third = problem.build(problem.solve([second]).densities)
        weights, steps = np.array([0.7, 0.5, -0.2]), [first, second, third]
        densities, focks = np.stack([x.densities for x in steps]), np.stack([x.fock for x in steps])
        between = problem.build(np.tensordot(weights, densities, 1))
        assert abs(mixed_energy(weights, [x.energy for x in steps], focks, densities) - between.energy) < 1e-9
        np.testing.assert_allclose(np.tensordot(weights, focks, 1), between.fock, atol=1e-9)


def test_steps_of_large_matrices_need_no_file(converged, monkeypatch):
    """PySCF's DIIS looks in memory for errors that it has put on the disk, if other vectors are small."""
    mf = converged["water"]
    problem = SelfConsistency(mf.mol, LEVEL, 1)
    first = problem.build(np.asarray(mf.get_init_guess(key="minao"))[None])
    expected = problem.iterate(first, 2).harris_energy
    monkeypatch.setattr("pyscf.lib.diis.INCORE_SIZE", 20)
    assert problem.iterate(first, 2).harris_energy == pytest.approx(expected, abs=1e-12)


def test_steps_leave_out_what_the_scf_leaves_out():
    mole = build_mole([1, 1], np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.25]]), "aug-cc-pvtz")
    level = LevelOfTheory(functional="b3lyp", basis="aug-cc-pvtz", grid_level=0, density_fitting=False)
    mf = kohn_sham(mole, level).run()
    assert np.linalg.eigvalsh(mf.get_ovlp())[0] < 1e-6
    assert len(mf.mo_energy) < mole.nao
    problem = SelfConsistency(mole, level, 1)
    first = problem.build(densities(mf))
    (levels, _, _), _ = problem.diagonalise(first.fock)
    np.testing.assert_allclose(levels, mf.mo_energy, atol=1e-4)
    np.testing.assert_allclose(
        problem.forces(first.densities, first.fock), -mf.nuc_grad_method().kernel(), atol=1e-4
    )


def test_an_atom_without_beta_electrons_takes_steps_and_has_a_guess():
    mole = build_mole([1], np.zeros((1, 3)), "sto-3g", multiplicity=2)
    problem = SelfConsistency(mole, LEVEL, 2)
    first = problem.build(np.stack([np.eye(1), np.zeros((1, 1))]))
    found = problem.iterate(first, 2)
    assert found.harris_energy == pytest.approx(first.energy, abs=1e-9)
    assert np.abs(problem.forces(found.mixed, found.fock)).max() < 1e-12
    larger = build_mole([1], np.zeros((1, 3)), "def2-svp", multiplicity=2)
    guess = density_for(mole, np.ones((2, 1, 1)), (1, 0), larger)
    assert np.trace(guess[0] @ larger.intor("int1e_ovlp")) == pytest.approx(1)
    assert not guess[1].any()


def test_weights_of_the_extrapolation_make_the_commutator_smallest(converged):
    mf = converged["water"]
    problem = SelfConsistency(mf.mol, LEVEL, 1)
    steps = [problem.build(np.asarray(mf.get_init_guess(key="minao"))[None])]
    for _ in range(2):
        steps.append(problem.build(problem.solve(steps).densities))
    weights = extrapolation(steps, problem.overlap)
    assert abs(weights.sum() - 1) < 1e-12
    products = [x.fock @ x.densities @ problem.overlap for x in steps]
    errors = np.stack([p - p.swapaxes(1, 2) for p in products])
    smallest = np.linalg.norm(np.tensordot(weights, errors, 1))
    for away in ([1e-3, -1e-3, 0.0], [0.0, 1e-3, -1e-3], [-1e-3, 0.0, 1e-3]):
        assert smallest < np.linalg.norm(np.tensordot(weights + away, errors, 1))


@pytest.mark.parametrize("name", MOLES)
def test_forces_of_steps_approach_those_of_the_converged_density(converged, name):
    mf = converged[name]
    problem = SelfConsistency(mf.mol, LEVEL, mf.mo_energy.ndim)
    reference = -mf.nuc_grad_method().kernel()
    first = problem.build(np.asarray(mf.get_init_guess(key="minao")).reshape(densities(mf).shape))
    errors = []
    for steps in (2, 4, 8):
        found = problem.iterate(first, steps)
        errors.append(np.abs(problem.forces(found.mixed, found.fock) - reference).max())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


def test_forces_lack_the_first_order_of_what_the_density_lacks(converged):
    mf = converged["water"]
    problem = SelfConsistency(mf.mol, LEVEL, 1)
    reference, errors = -mf.nuc_grad_method().kernel(), []
    for size in (0.004, 0.002):
        step = problem.build(turned_density(mf, problem.overlap, size))
        errors.append(np.linalg.norm(problem.forces(step.densities, step.fock) - reference))
    assert 1.8 < errors[0] / errors[1] < 2.2


def test_signs_of_an_error_do_not_grow_with_the_molecule():
    """Two waters far apart are as good or bad as one of them."""
    level = LevelOfTheory(functional="hf", basis="sto-3g", grid_level=0, density_fitting=False)
    found = []
    for copies in (1, 2):
        numbers = WATER[0] * copies
        positions = np.concatenate([WATER[1] + 60.0 * k for k in range(copies)])
        mole = build_mole(numbers, positions, "sto-3g")
        problem = SelfConsistency(mole, level, 1)
        first = problem.build(np.asarray(problem.mean_field.get_init_guess(key="minao"))[None])
        one = problem.iterate(first, 1)
        second = problem.iterate(problem.build(one.densities), 1)
        found.append(reliability(one.fock, problem.overlap, second, atoms_of(mole), 1.0))
    single, double = found
    assert abs(double.energy_change / single.energy_change - 1) < 1e-3
    assert abs(double.density_change / single.density_change - 1) < 1e-3
    assert abs(double.commutator_norm / single.commutator_norm - 1) < 1e-3
    assert abs(2 * double.fock_residual / single.fock_residual - 1) < 1e-2  # blocks between them are zero
    np.testing.assert_allclose(double.atom_residuals, np.tile(single.atom_residuals, 2), rtol=1e-2)


@pytest.mark.parametrize("name", MOLES)
@pytest.mark.parametrize("basis", ["sto-3g", "def2-svp", "6-31g"])
def test_a_guess_in_another_basis_holds_its_electrons_and_is_idempotent(converged, name, basis):
    mf = converged[name]
    atoms = [mf.mol.atom_charge(k) for k in range(mf.mol.natm)]
    target = build_mole(atoms, WATER[1][: len(atoms)], basis, multiplicity=mf.mol.spin + 1)
    t, full = table(mf), 2 if mf.mol.spin == 0 else 1
    occupied = tuple(round(row.sum() / full) for row in t.occupations)
    guess = density_for(mf.mol, t.coefficients, occupied, target)
    s = target.intor("int1e_ovlp")
    for d, n in zip(guess.reshape(-1, *s.shape), occupied, strict=True):
        assert abs(np.trace(d @ s) - full * n) < 1e-10
        np.testing.assert_allclose(d @ s @ d, full * d, atol=1e-10)
    if basis == "sto-3g":
        np.testing.assert_allclose(guess, np.asarray(mf.make_rdm1()), atol=1e-10)
    again = kohn_sham(target, LEVEL)
    again.xc, again.conv_tol = "b3lyp", 1e-9
    plain = copy.copy(again)
    again.kernel(dm0=guess)
    plain.kernel()
    assert abs(again.e_tot - plain.e_tot) < 1e-7
    assert again.cycles <= plain.cycles + 1


def test_guesses_for_other_molecules_are_refused(converged):
    mf = converged["water"]
    t = table(mf)
    refused = {
        StructureError: [
            (build_mole([1, 8, 1], WATER[1], "sto-3g"), "in this order"),
            (build_mole(WATER[0], WATER[1] + 0.1, "sto-3g"), "another geometry"),
            (build_mole(WATER[0][:2], WATER[1][:2], "sto-3g", charge=-1), r"the atoms \[8, 1\]"),
        ],
        ChargeError: [
            (build_mole(*WATER, "sto-3g", charge=2), "charge 2"),
            (build_mole(*WATER, "sto-3g", multiplicity=3), "spin .2S. 2"),
        ],
    }
    for error, cases in refused.items():
        for mole, words in cases:
            with pytest.raises(error, match=words):
                density_for(mf.mol, t.coefficients, (5,), mole)
    core = build_mole(*WATER, "sto-3g")
    core.nelectron = 8
    with pytest.raises(BasisError, match="core potentials"):
        density_for(mf.mol, t.coefficients, (5,), core)


@pytest.mark.parametrize("name", MOLES)
def test_molden_files_are_read_by_pyscf(converged, name, tmp_path):
    mf = converged[name]
    write_molden(tmp_path / "x.molden", mf.mol, table(mf))
    mole, energies, orbitals, occupations, *_ = molden.load(str(tmp_path / "x.molden"))
    assert [p.name for p in tmp_path.iterdir()] == ["x.molden"]
    np.testing.assert_allclose(mole.atom_coords(), mf.mol.atom_coords(), atol=1e-6)
    pairs = zip(table(mf).coefficients, np.reshape(orbitals, table(mf).coefficients.shape), strict=True)
    s = mf.mol.intor("int1e_ovlp")
    for ours, theirs in pairs:
        np.testing.assert_allclose(np.abs(np.diag(ours.T @ s @ theirs)), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.ravel(energies), np.ravel(mf.mo_energy), atol=1e-6)
    np.testing.assert_allclose(np.ravel(occupations), np.ravel(mf.mo_occ), atol=1e-12)


@pytest.mark.parametrize("name", MOLES)
def test_pyscf_goes_on_from_a_chkfile(converged, name, tmp_path):
    mf = converged[name]
    write_chkfile(tmp_path / "x.chk", mf.mol, table(mf))
    _, stored = chkfile.load_scf(str(tmp_path / "x.chk"))
    np.testing.assert_array_equal(stored["mo_coeff"], mf.mo_coeff)
    again = kohn_sham(mf.mol, LEVEL)
    again.init_guess, again.chkfile = "chkfile", str(tmp_path / "x.chk")
    again.kernel()
    assert again.cycles <= 2
    assert abs(again.e_tot - mf.e_tot) < 1e-10


def test_a_file_that_cannot_be_finished_leaves_nothing(converged, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr("helm_ase.qc.orbital_output.molden.orbital_coeff", fails)
    with pytest.raises(OSError, match="disk full"):
        write_molden(tmp_path / "x.molden", converged["water"].mol, table(converged["water"]))
    assert list(tmp_path.iterdir()) == []


def test_matrices_of_two_spins_of_a_singlet_make_an_unrestricted_calculation(converged):
    mf = converged["water"]
    problem = SelfConsistency(mf.mol, LEVEL, 2)
    assert isinstance(problem.mean_field, scf.uhf.UHF)
    half = 0.5 * np.asarray(mf.make_rdm1())
    found = problem.iterate(problem.build(np.stack([half, half])), 1)
    assert abs(found.step.energy - mf.e_tot) < 1e-9
    one = SelfConsistency(mf.mol, LEVEL, 1)
    start = np.asarray(mf.get_init_guess(key="minao"))
    single, double = (
        reliability(
            fock_of(mf)[[0] * s],
            p.overlap,
            p.iterate(p.build(np.stack([start / s] * s)), 1),
            atoms_of(mf.mol),
            1.0,
        )
        for p, s in ((one, 1), (problem, 2))
    )
    for name in ("fock_residual", "commutator_norm", "energy_change", "density_change"):
        assert getattr(single, name) == pytest.approx(getattr(double, name), rel=1e-3), name
    np.testing.assert_allclose(found.densities.sum(0), mf.make_rdm1(), atol=1e-5)
