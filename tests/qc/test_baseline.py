"""Baseline Hamiltonians: symmetric, blind to charge and numbering, and turned with the molecule."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from pyscf import dft
from pyscf.scf import hf

from helm_ase.errors import BasisError, SettingError
from helm_ase.qc.baseline import SAP_POTENTIALS, baseline_hamiltonian
from helm_ase.qc.level import Baseline, LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import ao_basis, build_mole, overlap
from helm_ase.representation import AOMatrix
from helm_ase.representation.atomic_operator import AtomicOperator
from shared.geometries import WATER
from shared.rotations import ao_rotation, improper, rotation

LEVEL = LevelOfTheory()
MICROHARTREE = 1e-6
QUICK = (20, 110)
"""Radial and angular points: enough wherever both sides of a comparison see the same grid."""
OXYGEN = AtomicOperator(8, (0.2, 2.0, 30.0), (3.0, 3.5, 1.5), (
    ((-0.9, -0.1, 0.0), (-0.1, -0.2, 0.0), (0.0, 0.0, 0.05)), ((-0.15, -0.02), (-0.02, 0.01)), ((-0.04,),),
))  # fmt: skip
HYDROGEN = AtomicOperator(1, (0.3, 3.0), (1.4, -0.4), (((-0.15, 0.02), (0.02, -0.03)), ((-0.05,),)))
FITTED = Baseline("fitted", operators=(HYDROGEN, OXYGEN))
BASELINES = [Baseline("sap"), Baseline("minao", QUICK), FITTED]


def h0(numbers, positions, baseline, charge=0, multiplicity=1, level=LEVEL):
    mole = build_mole(numbers, np.array(positions), level.basis, charge, multiplicity)
    return baseline_hamiltonian(mole, ao_basis(level.basis, numbers), level, baseline)


def orbital_energies(numbers, positions, baseline):
    mole = build_mole(numbers, np.array(positions), LEVEL.basis)
    basis = ao_basis(LEVEL.basis, numbers)
    s = overlap(mole, basis).values
    return scipy.linalg.eigh(baseline_hamiltonian(mole, basis, LEVEL, baseline).values, s, eigvals_only=True)


def test_no_baseline_is_zero():
    assert not h0(*WATER, Baseline("none")).values.any()


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: b.name)
def test_a_baseline_is_symmetric_and_in_canonical_order(baseline):
    found = h0(*WATER, baseline)
    assert found.order == "e3nn"
    np.testing.assert_array_equal(found.values, found.values.T)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: b.name)
def test_renumbering_the_atoms_renumbers_the_baseline(baseline):
    order = [2, 0, 1]
    numbers, positions = np.array(WATER[0]), np.array(WATER[1])
    before, after = h0(numbers, positions, baseline), h0(numbers[order], positions[order], baseline)
    for i, old_i in enumerate(order):
        for j, old_j in enumerate(order):
            np.testing.assert_allclose(after.block(i, j), before.block(old_i, old_j), rtol=0, atol=1e-9)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: b.name)
@pytest.mark.parametrize(("charge", "multiplicity"), [(1, 2), (-1, 2), (2, 1), (0, 3)])
def test_the_baseline_is_that_of_neutral_atoms_whatever_the_charge(baseline, charge, multiplicity):
    neutral, charged = h0(*WATER, baseline), h0(*WATER, baseline, charge, multiplicity)
    np.testing.assert_allclose(charged.values, neutral.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("baseline", [Baseline("sap"), FITTED], ids=lambda b: b.name)
def test_a_distant_neutral_atom_is_invisible(baseline):
    alone = h0(*WATER, baseline)
    numbers, positions = [*WATER[0], 8], [*WATER[1], [0.0, 30.0, 40.0]]
    joint = h0(numbers, positions, baseline)
    size = len(alone.values)
    np.testing.assert_allclose(joint.values[:size, :size], alone.values, rtol=0, atol=1e-6)
    assert abs(joint.values[:size, size:]).max() < 1e-12


@pytest.mark.parametrize("baseline", [Baseline("sap"), FITTED], ids=lambda b: b.name)
@pytest.mark.parametrize("operation", [rotation(1), rotation(2), improper(3)])
def test_what_needs_no_grid_turns_with_the_molecule_to_a_billionth_of_a_hartree(baseline, operation):
    positions = np.array(WATER[1])
    before, after = (h0(WATER[0], x, baseline) for x in (positions, positions @ operation.T))
    d = ao_rotation(before.basis, WATER[0], operation)
    np.testing.assert_allclose(after.values, d @ before.values @ d.T, rtol=0, atol=1e-9)
    energies = [orbital_energies(WATER[0], x, baseline) for x in (positions, positions @ operation.T)]
    np.testing.assert_allclose(*energies, rtol=0, atol=1e-9)


# --- sap ----------------------------------------------------------------------------------------------


def test_sap_is_the_core_hamiltonian_plus_pyscfs_superposition_of_atomic_potentials():
    mole = build_mole(*WATER, "def2-svp")
    mf = hf.RHF(mole)
    mf.sap_basis = SAP_POTENTIALS
    wanted = AOMatrix(mf.get_hcore() + _sap_of(mf), np.array(WATER[0]), ao_basis("def2-svp", [1, 8]), "pyscf")
    np.testing.assert_allclose(h0(*WATER, Baseline("sap")).values, wanted.reorder("e3nn").values, atol=1e-12)


def _sap_of(mf):
    from pyscf import gto

    symbols = {mf.mol.atom_symbol(a) for a in range(mf.mol.natm)}
    return hf.make_sap(mf.mol, {s: np.array(gto.basis.load(SAP_POTENTIALS, s)[0][1:]) for s in symbols})


def test_sap_binds_the_core_of_oxygen_about_as_an_all_electron_atom():
    lowest = orbital_energies(*WATER, Baseline("sap"))[0]
    assert -20.5 < lowest < -17.5


def test_sap_refuses_elements_with_a_core_potential():
    with pytest.raises(BasisError, match="'sap' needs all electrons"):
        h0([53, 1], [[0.0, 0, 0], [0, 0, 1.6]], Baseline("sap"))


# --- minao --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("functional", "fitting"), [("b3lyp", True), ("pbe", True), ("pbe", False)])
def test_minao_is_the_fock_matrix_of_pyscfs_minimal_basis_guess(functional, fitting):
    level = LevelOfTheory(functional=functional, density_fitting=fitting)
    mole = build_mole(*WATER, "def2-svp")
    mf = dft.RKS(mole, xc=functional)
    mf = mf.density_fit() if fitting else mf
    mf.grids.atom_grid = QUICK
    fock = np.asarray(mf.get_fock(dm=mf.get_init_guess(mole, "minao")))
    found = h0(*WATER, Baseline("minao", QUICK), level=level).reorder("pyscf")
    np.testing.assert_allclose(found.values, fock, rtol=0, atol=1e-10)


def test_minao_also_serves_radicals_and_elements_with_a_core_potential():
    radical = h0([8, 1], [[0.0, 0, 0], [0, 0, 0.97]], Baseline("minao", QUICK), multiplicity=2)
    iodide = h0([53, 1], [[0.0, 0, 0], [0, 0, 1.6]], Baseline("minao", QUICK))
    for found in (radical, iodide):
        assert np.isfinite(found.values).all()
        assert found.values[0, 0] < -1.0


def largest_change_on_turning(baseline):
    positions = np.array(WATER[1])
    levels = [
        orbital_energies(WATER[0], positions @ r.T, baseline)
        for r in (np.eye(3), rotation(1), rotation(2), rotation(3))
    ]
    return max(abs(other - levels[0]).max() for other in levels[1:])


def test_turning_water_moves_minao_levels_by_the_quadrature_error_of_at_most_10_microhartree():
    """The grid does not turn with the molecule: the price of ``minao``, and why it has so many angles."""
    assert largest_change_on_turning(Baseline("minao")) <= 10 * MICROHARTREE


def test_a_grid_of_few_angles_would_break_that_promise():
    assert largest_change_on_turning(Baseline("minao", (50, 50))) > 10 * MICROHARTREE


@pytest.mark.scf
def test_minao_starts_closer_to_the_converged_hamiltonian_than_sap_or_nothing():
    mole = build_mole(*WATER, "def2-svp")
    fock = np.asarray(kohn_sham(mole, replace(LEVEL, grid_level=1)).run().get_fock())
    distance = [
        abs(h0(*WATER, b).reorder("pyscf").values - fock).mean()
        for b in (Baseline("minao", QUICK), Baseline("sap"), Baseline("none"))
    ]
    assert distance[0] < distance[1] < distance[2]


# --- settings -----------------------------------------------------------------------------------------


def test_an_unknown_baseline_is_refused_by_name():
    with pytest.raises(SettingError, match="'hueckel'"):
        Baseline("hueckel")


def test_a_grid_read_from_json_is_the_same_baseline():
    assert Baseline("minao", [50, 434]) == Baseline("minao", (50, 434))


def test_a_level_of_theory_sets_functional_grid_and_fitting():
    mole = build_mole(*WATER, "sto-3g")
    level = LevelOfTheory(functional="pbe", basis="sto-3g", density_fitting=True, grid_level=4, conv_tol=1e-7)
    mf = kohn_sham(mole, level)
    assert (mf.xc, mf.grids.level, mf.conv_tol) == ("pbe", 4, 1e-7)
    assert hasattr(mf, "with_df")
    radical = build_mole([8, 1], [[0.0, 0, 0], [0, 0, 1]], "sto-3g", multiplicity=2)
    assert isinstance(kohn_sham(mole, level), dft.rks.RKS)
    assert isinstance(kohn_sham(radical, level), dft.uks.UKS)
