"""Operators of atoms: the integrals they stand for, and their fit to Hamiltonians."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from ase.build import molecule
from ase.units import Bohr
from pyscf import dft
from pyscf.scf import hf

from helm_ase.errors import BasisError, DatasetError, SettingError
from helm_ase.qc.atomic_operators import functions_by_degree, operator_hamiltonian, projection, unit_fields
from helm_ase.qc.baseline import minao_hamiltonian
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.operator_fit import CHARGE_CLOUDS, OperatorFit, exponents_of
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.level import LevelOfTheory
from shared.geometries import WATER
from shared.whole_sums import screening


def mole_of(name, basis="def2-svp", rattle=0.0, seed=0):
    atoms = molecule(name)
    atoms.rattle(rattle, seed=seed)
    return build_mole(atoms.numbers, atoms.positions, basis)


def operator(mole, number, seed):
    """An operator with random numbers in the shapes that the basis asks for."""
    draw = np.random.default_rng(seed)
    exponents = exponents_of(number)
    electrons = draw.normal(size=len(exponents))
    electrons[0] += number - electrons.sum()
    shells = {1: (2, 1), 6: (3, 2, 1), 7: (3, 2, 1), 8: (3, 2, 1)}[number]
    projectors = [0.1 * (m + m.T) for m in (draw.normal(size=(n, n)) for n in shells)]
    return AtomicOperator(number, exponents, electrons.tolist(), [p.tolist() for p in projectors])


def test_a_cloud_as_sharp_as_a_nucleus_cancels_its_attraction():
    mole = build_mole(*WATER, "def2-svp")
    repulsion = sum(
        screening(mole, np.flatnonzero(np.array(WATER[0]) == z), [1e16], [float(z)]) for z in (1, 8)
    )
    np.testing.assert_allclose(repulsion, -mole.intor("int1e_nuc"), rtol=0, atol=1e-9)


def test_screening_is_the_potential_of_the_clouds_integrated_on_a_grid():
    from scipy.special import erf

    mole = build_mole(*WATER, "def2-svp")
    grid = dft.gen_grid.Grids(mole)
    grid.level = 5
    grid.build()
    values = mole.eval_gto("GTOval_sph", grid.coords)
    exponents, electrons = np.array([0.4, 3.0]), np.array([2.0, -0.7])
    potential = np.zeros(len(grid.coords))
    for place in mole.atom_coords()[1:]:
        r = np.linalg.norm(grid.coords - place, axis=1)[:, None]
        potential += (electrons * erf(np.sqrt(exponents) * r) / r).sum(1)
    wanted = np.einsum("pa,p,pb->ab", values, grid.weights * potential, values)
    hydrogens = np.flatnonzero(np.array(WATER[0]) == 1)
    np.testing.assert_allclose(screening(mole, hydrogens, exponents, electrons), wanted, rtol=0, atol=2e-5)


def test_many_atoms_are_taken_in_parts(monkeypatch):
    mole = mole_of("C6H6")
    hydrogens = np.flatnonzero(mole.atom_charges() == 1)
    exponents, weights = np.array([0.5, 2.0]), np.stack([np.ones(6), np.linspace(-1, 1, 6)], 1)
    whole = unit_fields(mole, hydrogens, exponents, weights)
    monkeypatch.setattr("helm_ase.qc.atomic_operators.CHUNK", 2 * mole.nao * (mole.nao + 1) // 2)
    np.testing.assert_allclose(unit_fields(mole, hydrogens, exponents, weights), whole, rtol=0, atol=1e-13)


def test_a_projector_on_one_function_is_a_product_of_overlaps():
    mole = build_mole(*WATER, "def2-svp")
    s = mole.intor("int1e_ovlp")
    only_d = AtomicOperator(8, (1.0,), (0.0,), (np.zeros((3, 3)), np.zeros((2, 2)), ((0.3,),)))
    found = projection(mole, s, np.array([0]), only_d)
    d = [k for k, label in enumerate(mole.ao_labels()) if " 3d" in label]
    np.testing.assert_allclose(found, 0.3 * s[:, d] @ s[d], rtol=0, atol=1e-14)


@pytest.mark.parametrize("basis", ["def2-svp", "cc-pvtz", "ano"])  # the last: contractions of one shell
def test_functions_are_found_by_degree_contraction_and_order(basis):
    mole = build_mole(*WATER, basis)
    names = ("s", "p", "d", "f", "g")
    for l, index in enumerate(functions_by_degree(mole, np.array([1, 2]))):
        for atom, rows in zip((1, 2), index, strict=True):
            labels = [[mole.ao_labels(fmt=None)[k] for k in row] for row in rows.tolist()]
            assert all(entry[0] == atom and entry[2][-1] == names[l] for row in labels for entry in row)
            shells = [{entry[2] for entry in row} for row in labels]
            assert [len(x) for x in shells] == [1] * len(rows)  # one shell in a row
            assert [next(iter(x)) for x in shells] == [f"{n + l + 1}{names[l]}" for n in range(len(rows))]
            orders = [[entry[3] for entry in row] for row in labels]
            assert orders == orders[:1] * len(rows)
            assert len(set(orders[0])) == 2 * l + 1


def test_other_elements_and_other_shells_are_refused():
    water = build_mole(*WATER, "def2-svp")
    hydrogen, oxygen = operator(water, 1, 0), operator(water, 8, 1)
    with pytest.raises(BasisError, match="operators of H, not of O"):
        operator_hamiltonian(water, [hydrogen])
    with pytest.raises(BasisError, match=r"the basis has \[1\]"):
        operator_hamiltonian(build_mole(*WATER, "sto-3g"), [hydrogen, oxygen])


def test_a_fit_finds_the_operators_that_made_the_matrices():
    fit, made = OperatorFit(), None
    for name in ("H2O", "CH4", "CH3OH", "CO2", "H2CO", "CH3CHO"):
        mole = mole_of(name, rattle=0.1)
        made = [operator(mole, z, z) for z in (1, 6, 8)]
        fit.add(mole, operator_hamiltonian(mole, made))
    unseen = mole_of("HCOOH", rattle=0.1, seed=1)
    found = fit.solve()
    assert [o.number for o in found] == [1, 6, 8]
    assert sum(found[2].electrons) == pytest.approx(8.0)
    error = operator_hamiltonian(unseen, found) - operator_hamiltonian(unseen, made)
    assert abs(error).max() < 2e-4  # of parameters of order one; what the ridge leaves


def test_nothing_to_fit_to_is_an_error():
    with pytest.raises(DatasetError, match="no Hamiltonian"):
        OperatorFit().solve()


@pytest.mark.scf
def test_fitted_operators_are_nearer_to_an_unseen_molecule_than_the_free_atoms():
    level = LevelOfTheory(basis="sto-3g", grid_level=1)

    def converged(mole):
        mf = dft.RKS(mole, xc="b3lyp").density_fit()
        mf.grids.level = 1
        mf.kernel()
        return mf.get_fock()

    fit = OperatorFit()
    for name in ("H2O", "CH4", "CH3OH", "CO2", "H2CO"):
        mole = mole_of(name, "sto-3g", 0.03)
        fit.add(mole, converged(mole))
    unseen = mole_of("CH3CHO", "sto-3g", 0.03, seed=1)
    wanted, s = converged(unseen), unseen.intor("int1e_ovlp")
    fitted = operator_hamiltonian(unseen, fit.solve())
    atoms = minao_hamiltonian(unseen, replace(level, density_fitting=True), (20, 110))
    assert abs(fitted - wanted).mean() < 0.7 * abs(atoms - wanted).mean()
    levels = [scipy.linalg.eigh(h, s, eigvals_only=True)[:12] for h in (fitted, atoms, wanted)]
    assert abs(levels[0] - levels[2]).mean() < 0.7 * abs(levels[1] - levels[2]).mean()


def test_an_element_with_a_core_potential_screens_its_core_charge():
    mole = build_mole([53, 1], np.array([[0.0, 0, 0], [0, 0, 1.6]]), "def2-svp")
    fit = OperatorFit()
    fit.add(mole, mole.intor("int1e_kin"))
    iodine = fit.solve()[1]
    assert iodine.number == 53
    assert sum(iodine.electrons) == pytest.approx(25.0)
    nothing = [
        AtomicOperator(o.number, (1.0,), (0.0,), [np.zeros_like(p) for p in o.projectors])
        for o in fit.solve()
    ]
    np.testing.assert_allclose(operator_hamiltonian(mole, nothing), hf.get_hcore(mole), rtol=0, atol=1e-12)
    assert abs(hf.get_hcore(mole) - mole.intor("int1e_kin") - mole.intor("int1e_nuc")).max() > 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"electrons": (1.0,)},
        {"electrons": (1.0, float("nan"))},
        {"exponents": (1.0, -2.0)},
        {"projectors": (((1.0, 0.5), (0.4, 1.0)),)},
        {"projectors": (((1.0, 0.5),),)},
        {"number": 0},
    ],
)
def test_operators_that_make_no_sense_are_refused(change):
    good = AtomicOperator(1, (1.0, 2.0), (0.5, 0.5), (((0.1, 0.0), (0.0, 0.1)), ((0.2,),)))
    with pytest.raises(SettingError):
        replace(good, **change)


def test_a_baseline_is_known_by_the_numbers_of_its_operators():
    one = AtomicOperator(1, (1.0,), (1.0,), (((0.1,),),))
    same = AtomicOperator(1, np.array([1.0]), [np.float64(1.0)], [[[0.1]]])
    other = replace(one, electrons=(1.5,))
    assert Baseline("fitted", operators=(one,)).signature == Baseline("fitted", operators=(same,)).signature
    assert Baseline("fitted", operators=(one,)).signature != Baseline("fitted", operators=(other,)).signature
    with pytest.raises(SettingError, match="two operators of one element"):
        Baseline("fitted", operators=(one, other))


def test_a_baseline_that_is_to_be_fitted_cannot_be_computed():
    with pytest.raises(SettingError, match="no operators yet"):
        operator_hamiltonian(build_mole(*WATER, "sto-3g"), ())


# --- response to charges -------------------------------------------------------------------------------


def charged_operator(mole, z, seed):
    """Random operator of an element that responds to charges."""
    plain = operator(mole, z, seed)
    rng = np.random.default_rng(seed + 50)
    sizes = [len(p) for p in plain.projectors]
    response = [0.05 * (m + m.T) for m in (rng.normal(size=(n, n)) for n in sizes)]
    moved = rng.normal(size=CHARGE_CLOUDS - 1)
    return replace(
        plain, charge_electrons=(-1.0 - moved.sum(), *moved), charge_projectors=tuple(map(tuple, response))
    )


def test_atoms_without_charge_have_the_operators_of_neutral_atoms():
    mole = build_mole(*WATER, "def2-svp")
    charged = [charged_operator(mole, z, z) for z in (1, 8)]
    plain = [replace(o, charge_electrons=(), charge_projectors=()) for o in charged]
    np.testing.assert_allclose(
        operator_hamiltonian(mole, charged, np.zeros(3)),
        operator_hamiltonian(mole, plain),
        rtol=0,
        atol=1e-12,
    )
    with pytest.raises(SettingError, match="pass charges"):
        operator_hamiltonian(mole, charged)


def test_a_charge_has_its_coulomb_potential_at_a_distance():
    """An electron on a far atom sees −q/r of an atom of charge q, whatever the clouds."""
    distance = 40.0
    mole = build_mole([8, 1], np.array([[0.0, 0, 0], [0, 0, distance]]), "def2-svp", multiplicity=2)
    operators = [charged_operator(mole, z, z) for z in (1, 8)]
    q = np.array([0.7, 0.0])
    change = operator_hamiltonian(mole, operators, q) - operator_hamiltonian(mole, operators, np.zeros(2))
    hydrogen = slice(mole.aoslice_by_atom()[1, 2], None)
    s = mole.intor("int1e_ovlp")[hydrogen, hydrogen]
    found = change[hydrogen, hydrogen]
    np.testing.assert_allclose(found.diagonal(), -0.7 * Bohr / distance * s.diagonal(), rtol=0, atol=3e-6)
    assert abs(found - np.diag(found.diagonal()))[2:, 2:].max() < 1e-6


def test_a_fit_finds_the_responses_that_made_the_matrices():
    fit, rng = OperatorFit(charged=True), np.random.default_rng(0)
    for name in ("H2O", "CH4", "CH3OH", "CO2", "H2CO", "CH3CHO", "HCOOH", "C2H6"):
        mole = mole_of(name, rattle=0.1)
        q = rng.normal(size=mole.natm)
        made = [charged_operator(mole, z, z) for z in (1, 6, 8)]
        fit.add(mole, operator_hamiltonian(mole, made, q), q)
    unseen = mole_of("HCOOCH3", rattle=0.1, seed=1)
    q, found = rng.normal(size=unseen.natm), fit.solve()
    assert [sum(o.charge_electrons) for o in found] == pytest.approx([-1.0] * 3)
    error = operator_hamiltonian(unseen, found, q) - operator_hamiltonian(unseen, made, q)
    assert abs(error).max() < 2e-3
    with pytest.raises(DatasetError, match="without charges"):
        fit.add(unseen, np.zeros((unseen.nao, unseen.nao)))


def test_a_baseline_says_whether_its_operators_respond():
    mole = build_mole(*WATER, "def2-svp")
    charged = tuple(charged_operator(mole, z, z) for z in (1, 8))
    assert Baseline("fitted", operators=charged, charges=True).charges
    with pytest.raises(SettingError, match="not what the operators"):
        Baseline("fitted", operators=charged)
    with pytest.raises(SettingError, match="knows no charges"):
        Baseline("minao", charges=True)
    with pytest.raises(SettingError, match="response"):
        replace(charged[0], charge_projectors=())
