"""Labels: the numbers of a plain PySCF script; hard cases; response."""

import numpy as np
import pytest
from ase.build import molecule
from pyscf import dft, gto

from helm_ase.errors import SCFError, SettingError
from helm_ase.labels.entry_checks import Entry, dipole_difference
from helm_ase.qc import two_grids
from helm_ase.qc.convergence import ROUTES, converge
from helm_ase.qc.labelling import SETTLED, LabelSettings, label_structure
from helm_ase.qc.level import LevelOfTheory, functional_variant, kohn_sham, pyscf_level
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.response import coupled_polarizability
from helm_ase.qc.stored_fit import StoredFit
from helm_ase.representation.structure import Structure
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

pytestmark = pytest.mark.scf
LEVEL = pyscf_level(grid_level=1)
METHANOL = pytest.param("CH3OH", 0, 1, marks=pytest.mark.slow)


def structure(name, charge=0, multiplicity=1, noise=0.05):
    atoms = molecule(name)
    rng = np.random.default_rng(4)
    positions = atoms.positions + rng.normal(scale=noise, size=atoms.positions.shape)
    return Structure(name, atoms.numbers.astype(np.int64), positions, charge, multiplicity)


def plain_script(s, density_fitting=True):
    """What a PySCF user would write, without this package."""
    symbols = [gto.mole._symbol(int(z)) for z in s.numbers]
    mol = gto.M(
        atom=[(a, r.tolist()) for a, r in zip(symbols, s.positions, strict=True)], basis="def2-svp",
        charge=s.charge, spin=s.multiplicity - 1, verbose=0,
    )  # fmt: skip
    mf = dft.RKS(mol) if mol.spin == 0 else dft.UKS(mol)
    mf.xc = "b3lyp"
    if density_fitting:
        mf = mf.density_fit()
    mf.grids.level = 1
    mf.conv_tol = 1e-9
    mf.kernel()
    return mf


@pytest.mark.parametrize(
    ("name", "charge", "multiplicity"),
    [METHANOL, ("NH2", 0, 2), ("H2O", 1, 2), ("NH3", 0, 1), ("H", 0, 2)],
)
def test_a_label_holds_the_numbers_of_a_plain_script(name, charge, multiplicity):
    s = structure(name, charge, multiplicity)
    label = label_structure(s, LabelSettings(LEVEL, density=True, tight=True))
    assert label.details["route"] == "diis"
    mf = plain_script(s)
    np.testing.assert_allclose(label.hamiltonian, mf.get_fock(), rtol=0, atol=1e-6)
    assert label.energy / HARTREE_IN_EV == pytest.approx(mf.e_tot, abs=1e-8)
    forces = -mf.nuc_grad_method().kernel() * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    np.testing.assert_allclose(label.forces, forces, rtol=0, atol=1e-5)
    np.testing.assert_allclose(label.dipole, mf.dip_moment(unit="AU", verbose=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(label.density, mf.make_rdm1(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(label.mulliken_charges, mf.mulliken_pop(verbose=0)[1], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(label.occupations, mf.mo_occ)
    np.testing.assert_allclose(label.orbital_energies, mf.mo_energy, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "charge", "multiplicity"),
    [METHANOL, ("NH2", 0, 2), ("H2O", 1, 2), ("CH3O", -1, 1), ("O2", 0, 3), ("H", 0, 2)],
)
def test_two_grids_give_the_label_of_one(name, charge, multiplicity):
    s = structure(name, charge, multiplicity)
    level = pyscf_level(grid_level=2)
    tight = label_structure(s, LabelSettings(level, density=True, tight=True))
    fast = label_structure(s, LabelSettings(level, density=True))
    assert fast.details["route"] == "two grids"
    assert np.abs(fast.hamiltonian - tight.hamiltonian).mean() < 1e-6
    np.testing.assert_allclose(fast.hamiltonian, tight.hamiltonian, rtol=0, atol=5e-5)
    assert abs(fast.energy - tight.energy) / len(s.numbers) < 1e-6
    np.testing.assert_allclose(fast.forces, tight.forces, rtol=0, atol=5e-4)
    np.testing.assert_allclose(fast.density, tight.density, rtol=0, atol=5e-5)
    np.testing.assert_allclose(fast.dipole, tight.dipole, rtol=0, atol=5e-5)
    np.testing.assert_array_equal(fast.occupations, tight.occupations)


@pytest.mark.parametrize(
    ("functional", "multiplicity"), [("pbe", 1), ("lda,vwn", 2), ("pbe0", 2), ("wb97x", 1), ("tpss", 1)]
)
def test_two_grids_serve_functionals_of_the_density_and_its_gradient(functional, multiplicity):
    s = structure("NH2" if multiplicity == 2 else "H2O", 0, multiplicity)
    level = pyscf_level(functional, "6-31g", grid_level=1)
    tight, fast = (label_structure(s, LabelSettings(level, tight=tight)) for tight in (True, False))
    assert fast.details["route"] == ("diis" if functional in ("wb97x", "tpss") else "two grids")
    np.testing.assert_allclose(fast.hamiltonian, tight.hamiltonian, rtol=0, atol=5e-5)
    np.testing.assert_allclose(fast.forces, tight.forces, rtol=0, atol=5e-4)


@pytest.mark.parametrize(("name", "multiplicity"), [("H2CO", 1), ("NH2", 2)])
def test_matrix_energy_and_forces_are_those_of_the_labels_grid(name, multiplicity):
    s = structure(name, 0, multiplicity)
    label = label_structure(s, LabelSettings(LEVEL, density=True))
    mf = plain_script(s)
    fresh = kohn_sham(build_mole(s.numbers, s.positions, "def2-svp", 0, multiplicity), LEVEL)
    np.testing.assert_allclose(label.hamiltonian, fresh.get_fock(dm=label.density), rtol=0, atol=1e-10)
    assert label.energy / HARTREE_IN_EV == pytest.approx(fresh.energy_tot(label.density), abs=1e-10)
    residual = mf.get_grad(fresh.eig(label.hamiltonian, fresh.get_ovlp())[1], mf.mo_occ, label.hamiltonian)
    assert np.linalg.norm(residual) < 1e-8
    assert label.details["orbital_gradient"] < 4e-5


def test_where_two_grids_fail_one_takes_over(monkeypatch):
    monkeypatch.setattr("helm_ase.qc.two_grids.ACCEPTED", 0.0)
    s = structure("H2O")
    label = label_structure(s, LabelSettings(LEVEL))
    assert label.details["route"] == "diis"
    assert label.energy == label_structure(s, LabelSettings(LEVEL, tight=True)).energy


def test_response_starts_from_two_grids_too():
    s = structure("NH2", 0, 2)
    tight, fast = (
        label_structure(s, LabelSettings(LEVEL, polarizability=True, tight=t)) for t in (True, False)
    )
    np.testing.assert_allclose(fast.polarizability, tight.polarizability, rtol=0, atol=1e-3)


def test_a_tensor_on_disk_serves_as_well(monkeypatch):
    s = structure("H2O")
    usual = label_structure(s, LabelSettings(LEVEL))
    build = StoredFit.build
    monkeypatch.setattr(StoredFit, "build", lambda self: (setattr(self, "max_memory", 0), build(self))[1])
    label = label_structure(s, LabelSettings(LEVEL))
    np.testing.assert_allclose(label.hamiltonian, usual.hamiltonian, rtol=0, atol=1e-6)
    np.testing.assert_allclose(label.forces, usual.forces, rtol=0, atol=1e-4)


def test_slow_convergence_is_followed_by_a_tighter_one(monkeypatch):
    monkeypatch.setattr("helm_ase.qc.two_grids.SLOW", 1)
    label = label_structure(structure("H2CO"), LabelSettings(LEVEL))
    assert label.details["route"] == "two grids"
    assert label.details["orbital_gradient"] < 1e-5


def test_a_matrix_that_is_no_density_has_an_exchange_matrix_too():
    s = structure("H2O")
    mole = build_mole(s.numbers, s.positions, "def2-svp")
    mf = kohn_sham(mole, LEVEL)
    matrices = np.random.default_rng(0).normal(size=(2, mole.nao, mole.nao))
    matrices += matrices.transpose(0, 2, 1)
    fast = StoredFit(mole, mf.with_df.auxbasis).get_jk(matrices)
    for ours, theirs in zip(fast, mf.with_df.get_jk(matrices, hermi=1), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_without_density_fitting_it_is_another_matrix():
    s = structure("H2O")
    exact = label_structure(s, LabelSettings(pyscf_level(grid_level=1, density_fitting=False), forces=False))
    mf = plain_script(s, density_fitting=False)
    np.testing.assert_allclose(exact.hamiltonian, mf.get_fock(), rtol=0, atol=1e-6)
    assert np.abs(exact.hamiltonian - label_structure(s, LabelSettings(LEVEL)).hamiltonian).max() > 1e-6
    assert exact.forces is None


@pytest.mark.parametrize("route", [r for r in ROUTES if r != "model"])
@pytest.mark.parametrize(("name", "multiplicity"), [("H2CO", 1), ("NH2", 2)])
def test_every_route_leads_to_the_same_solution_without_shifted_levels(route, name, multiplicity):
    s = structure(name, 0, multiplicity)
    mole = build_mole(s.numbers, s.positions, "def2-svp", 0, multiplicity)
    reference = plain_script(s)
    found = converge(mole, LEVEL, routes=[route])
    assert found.route == route
    assert found.mean_field.e_tot == pytest.approx(reference.e_tot, abs=1e-7)
    np.testing.assert_allclose(found.mean_field.mo_energy, reference.mo_energy, rtol=0, atol=2e-4)


def test_the_next_route_takes_over_where_one_fails(monkeypatch):
    s = structure("H2O")
    mole = build_mole(s.numbers, s.positions, "def2-svp")

    def give_up(mf, density):
        mf.max_cycle = 1
        mf.kernel()
        return 1

    monkeypatch.setitem(ROUTES, "diis", give_up)
    assert converge(mole, LEVEL).route == "level shift"


def test_what_does_not_converge_is_an_error_that_names_the_attempts():
    s = structure("H2CO")
    with pytest.raises(SCFError, match=r"not converged after .* level shift, second order"):
        label_structure(s, LabelSettings(LEVEL, max_cycles=1))


def test_a_gap_below_the_limit_is_an_error():
    with pytest.raises(SCFError, match=r"gap is 0\.\d+ Eh, below the limit"):
        label_structure(structure("H2O"), LabelSettings(LEVEL, min_gap=2.0))


@pytest.mark.parametrize(("name", "multiplicity"), [("H2O", 1), ("NH2", 2)])
def test_polarizability_is_the_derivative_of_the_dipole_in_a_field(name, multiplicity):
    s = structure(name, 0, multiplicity)
    tight = LevelOfTheory(functional="pbe", basis="sto-3g", grid_level=1, conv_tol=1e-12)
    mole = build_mole(s.numbers, s.positions, "sto-3g", 0, multiplicity)
    r = mole.intor_symmetric("int1e_r", comp=3)
    alpha, step = np.zeros((3, 3)), 1e-3
    for i in range(3):
        dipoles = []
        for field in (step, -step):
            mf = kohn_sham(mole, tight)
            h = mf.get_hcore() + field * r[i]
            mf.get_hcore = lambda *_, h=h: h
            mf.kernel()
            dipoles.append(mf.dip_moment(unit="AU", verbose=0))
        alpha[i] = (dipoles[0] - dipoles[1]) / (2 * step)
    mf = kohn_sham(mole, tight)
    mf.kernel()
    np.testing.assert_allclose(coupled_polarizability(mf), alpha, rtol=0, atol=1e-3)


def test_a_hydrogen_atom_has_a_polarizability_though_one_spin_is_empty():
    label = label_structure(structure("H", 0, 2), LabelSettings(LEVEL, polarizability=True))
    np.testing.assert_allclose(label.polarizability, label.polarizability[0, 0] * np.eye(3), atol=1e-3)
    assert label.polarizability[0, 0] > 0.1


def test_the_level_records_what_the_functional_means():
    assert pyscf_level() == LevelOfTheory(grid_level=3)
    assert functional_variant("pbe") == "libxc 1 x 101 + 1 x 130"
    assert functional_variant("hf") == "libxc 1 HF"
    assert functional_variant("b3lyp5") != functional_variant("b3lyp")


@pytest.mark.parametrize(
    "arguments", [{"functional": "b4lyp"}, {"grid_level": 10}, {"grid_level": -1}, {"conv_tol": 0.0}]
)
def test_impossible_levels_are_refused(arguments):
    with pytest.raises(SettingError):
        pyscf_level(**arguments)


@pytest.mark.parametrize("name", ["C2H4", "H2CO", "O2"])
def test_a_triplet_is_no_failure_though_its_empty_level_lies_below_the_filled_one(name):
    level = LevelOfTheory(functional="pbe", basis="sto-3g", grid_level=0)
    label = label_structure(structure(name, 0, 3), LabelSettings(level))
    assert label.details["gap_hartree"] > 0
    assert label.details["spin_square"] == pytest.approx(2.0, abs=0.1)


def test_helium_without_virtual_orbitals_has_no_polarizability():
    level = LevelOfTheory(functional="pbe", basis="sto-3g", grid_level=0)
    helium = Structure("He", np.array([2]), np.zeros((1, 3)))
    assert not label_structure(helium, LabelSettings(level, polarizability=True)).polarizability.any()


def test_a_label_agrees_with_itself_however_early_the_first_scf_stopped(monkeypatch):
    """The density's error is the orbital gradient over the gap: what is good elsewhere may not do here."""
    monkeypatch.setattr(two_grids, "CONVERGED", 1e-2)
    monkeypatch.setattr(two_grids, "ACCEPTED", 1.0)
    label = label_structure(structure("H2O"), LabelSettings(LEVEL, forces=True))
    assert label.details["route"] == "two grids, tightened"
    assert dipole_difference(Entry(label, LEVEL)) < SETTLED
    mf = plain_script(structure("H2O"))
    np.testing.assert_allclose(label.dipole, mf.dip_moment(unit="AU", verbose=0), rtol=0, atol=1e-5)
    forces = -mf.nuc_grad_method().kernel() * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    np.testing.assert_allclose(label.forces, forces, rtol=0, atol=1e-3)
