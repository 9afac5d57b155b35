"""H0(T): neutral charges on a lattice, whose fields need no Ewald sum; and its fit."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import graphene
from pyscf.pbc.gto.pseudo import pp_int
from pyscf.scf import hf

from helm_ase.electronic.band_levels import levels_at
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import BasisError, SettingError
from helm_ase.qc.atomic_operators import operator_hamiltonian
from helm_ase.qc.crystal import build_cell, build_content, crystal_basis, crystal_level
from helm_ase.qc.crystal_baseline import crystal_hamiltonian
from helm_ase.qc.crystal_integrals import CrystalIntegrals
from helm_ase.qc.crystal_operator_fit import CrystalOperatorFit, cloud_exponents
from helm_ase.qc.crystal_pseudopotential import local_part, projector_part, pseudopotential
from helm_ase.qc.molecule import basis_of, build_mole
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory
from helm_ase.units import HARTREE_IN_EV
from shared.geometries import FORMAMIDE
from shared.whole_sums import screening

LEVEL = crystal_level()
RNG = np.random.default_rng(5)


def operator(z, charge, exponents, shells, shift=0.1, moment=3.0):
    moved = RNG.normal(scale=0.3, size=len(exponents) - 1)
    matrices = []
    for n in shells:
        m = 0.2 * RNG.normal(size=(n, n))
        matrices.append(tuple(map(tuple, (m + m.T).tolist())))
    return AtomicOperator(
        z, tuple(exponents), (charge - moved.sum(), *moved), tuple(matrices),
        level_shift=shift, potential_moment=moment,
    )  # fmt: skip


CARBON = operator(6, 4.0, (0.3, 0.9, 4.0), (1, 1))
BORON = operator(5, 3.0, (0.25, 1.1), (1, 1))
NITROGEN = operator(7, 5.0, (0.4, 2.0), (1, 1))


def sheet():
    """BN in a skewed cell, off its places."""
    atoms = graphene(formula="BN", a=2.5, vacuum=8.0)
    atoms.positions += [[0.03, -0.05, 0.1], [2.55, 0.02, -0.06]]
    return atoms


def bulk():
    atoms = Atoms(
        "BN", [[0.1, 0, 0], [0.8, 1.0, 0.95]], cell=[[0, 1.8, 1.8], [1.7, 0, 1.9], [1.8, 1.8, 0.1]], pbc=True
    )
    return atoms


def made_of(atoms, operators):
    lattice, basis = Lattice.of_atoms(atoms), crystal_basis(LEVEL, atoms.numbers.tolist())
    content = build_content(atoms.numbers, atoms.positions, LEVEL)
    return (*crystal_hamiltonian(content, lattice, basis, operators), content, lattice, basis)


def apart(one, other):
    t = {tuple(x) for m in (one, other) for x in m.translations.tolist()}
    return max(np.abs(one.at(x) - other.at(x)).max() for x in t)


@pytest.mark.parametrize("molecule", [FORMAMIDE])
def test_without_periodicity_it_is_the_baseline_of_molecules(molecule):
    numbers, positions = np.array(molecule[0]), np.array(molecule[1])
    mole = build_mole(numbers, positions, "sto-3g")
    operators = [
        operator(1, 1.0, (0.3, 2.0), (1,), 0.0), operator(6, 6.0, (0.3, 4.0), (2, 1), 0.0),
        operator(7, 7.0, (0.3, 4.0), (2, 1), 0.0), operator(8, 8.0, (0.3, 4.0), (2, 1), 0.0),
    ]  # fmt: skip
    h0, s = crystal_hamiltonian(mole, Lattice.none(), basis_of(mole), operators)
    expected = operator_hamiltonian(mole, operators)
    np.testing.assert_allclose(h0.molecule().reorder("pyscf").values, expected, atol=2e-5, rtol=0)
    np.testing.assert_allclose(
        s.molecule().reorder("pyscf").values, mole.intor("int1e_ovlp"), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("make", [sheet, pytest.param(bulk, marks=pytest.mark.slow)])
def test_a_supercell_has_the_same_blocks(make):
    atoms = make()
    n = (2, 1, 1)
    h0, s, *_ = made_of(atoms, [BORON, NITROGEN])
    h2, s2, *_ = made_of(atoms.repeat(n), [BORON, NITROGEN])
    assert apart(s2, s.supercell(n)) < 1e-12
    assert apart(h2, h0.supercell(n)) < 1e-10


@pytest.mark.parametrize("make", [sheet, pytest.param(bulk, marks=pytest.mark.slow)])
def test_another_cell_and_another_wrapping_have_the_same_blocks(make):
    atoms = make()
    h0, *_ = made_of(atoms, [BORON, NITROGEN])
    moved, u = np.array([[0, 0, 0], [1, -1, 0]]), np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    other = atoms.copy()
    other.positions += moved @ other.cell.array
    other.cell = u @ other.cell.array
    h2, *_ = made_of(other, [BORON, NITROGEN])
    assert apart(h2, h0.rewrapped(moved).recelled(u)) < 1e-10


def test_symmetry_keeps_the_two_levels_of_graphene_at_K_together():
    atoms = graphene(a=2.46)
    h0, s, *_ = made_of(atoms, [CARBON])
    corner = np.array([[1 / 3, 1 / 3, 0]])
    energies = levels_at(LatticeOperator.of(h0), LatticeOperator.of(s), corner)[0].numpy()
    gaps = np.diff(energies)
    assert np.sort(gaps)[2] < 1e-9 / HARTREE_IN_EV
    assert np.sort(gaps)[3] > 1e-3  # three pairs and no more


def test_fields_of_neutral_charges_are_those_of_plane_waves_but_for_a_constant():
    """Independent: the potential on a grid from its Fourier components, which leave out the mean."""
    from pyscf.pbc import gto, tools
    from pyscf.pbc.dft import numint

    atoms = bulk()
    content = build_content(atoms.numbers, atoms.positions, LEVEL)
    parts = CrystalIntegrals(content, Lattice.of_atoms(atoms), crystal_basis(LEVEL, [5, 7]))
    exponents, electrons = np.array([0.3, 0.8]), np.array([1.0, -1.0])
    found = parts.fields(7, exponents, electrons)
    cell = gto.Cell(
        atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), a=atoms.cell.array,
        basis=LEVEL.basis, pseudo=LEVEL.pseudopotential, verbose=0, mesh=[32] * 3,
    ).build()  # fmt: skip
    waves = cell.get_Gv()
    squares = (waves**2).sum(1)
    charge = sum(n * np.exp(-squares / (4 * a)) for n, a in zip(electrons, exponents, strict=True))
    density = cell.get_SI(waves)[1] * charge * tools.get_coulG(cell)
    grid = cell.get_uniform_grids()
    values = numint.eval_ao(cell, grid)
    theirs = values.T @ (tools.ifft(density, cell.mesh).real[:, None] * values)
    mine, s = (sum(x + (x.T if k else 0) for k, x in enumerate(v)) for v in (found, parts.half_overlap))
    mean = np.pi / cell.vol * float((electrons / exponents).sum())  # −2π/3 Σ n ⟨r²⟩ of the charges, left out
    np.testing.assert_allclose(mine.real + mean * s, theirs.real, atol=2e-5)


def test_of_a_molecule_all_parts_of_the_pseudopotential_are_those_of_pyscf():
    numbers, positions = np.array(FORMAMIDE[0]), np.array(FORMAMIDE[1])
    content = build_content(numbers, positions, LEVEL)
    parts = CrystalIntegrals(content, Lattice.none(), crystal_basis(LEVEL, numbers.tolist()))
    found, expected = parts.kinetic + pseudopotential(parts), hf.get_hcore(content)
    for z in np.unique(numbers).tolist():
        charge, core = parts.nucleus(z)
        found = found + parts.fields(z, np.array([0.5, core]), np.array([charge, -charge]))
        expected = expected + screening(content, np.flatnonzero(numbers == z), [0.5], [charge])
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


@pytest.mark.parametrize("make", [sheet, pytest.param(bulk, marks=pytest.mark.slow)])
def test_bloch_sums_of_the_short_ranged_pseudopotential_are_those_of_pyscf(make):
    atoms = make()
    lattice, basis = Lattice.of_atoms(atoms), crystal_basis(LEVEL, [5, 7])
    parts = CrystalIntegrals(build_content(atoms.numbers, atoms.positions, LEVEL), lattice, basis)
    cell = build_cell(atoms.numbers, atoms.positions, lattice, LEVEL)
    k = np.array([[0.0, 0.0, 0.0], [0.13, -0.31, 0.0]])
    kpts = cell.get_abs_kpts(k)
    for ours, theirs in (
        (local_part(parts), pp_int.get_pp_loc_part2(cell, kpts)),
        (projector_part(parts), pp_int.get_pp_nl(cell, kpts)),
    ):
        found = LatticeOperator.of(parts.completed(ours, "pyscf")).at(torch.from_numpy(k))
        assert float(found.abs().max()) > 0.1
        np.testing.assert_allclose(found.numpy(), np.array(theirs), atol=5e-6)


def test_the_fit_finds_the_operators_that_made_the_matrices():
    fit = CrystalOperatorFit()
    exponents = cloud_exponents(4.1).tolist()
    carbon = operator(6, 4.0, exponents, (1, 1))
    crystals = []
    for k, make in enumerate(
        (lambda: graphene(vacuum=5.0), lambda: Atoms("C", cell=2.4 * np.eye(3), pbc=True))
    ):
        atoms = make()
        atoms.rattle(0.05, seed=k)
        h0, _, content, lattice, basis = made_of(atoms, [carbon])
        crystals.append((atoms, h0))
        fit.add(content, lattice, basis, h0)
    found = fit.solve()
    assert found[0].is_of_crystals
    for atoms, h0 in crystals:
        assert apart(made_of(atoms, found)[0], h0) < 2e-5


def test_operators_of_molecules_are_refused():
    plain = AtomicOperator(5, (0.3,), (3.0,), (((0.0,),), ((0.0,),)))
    with pytest.raises(BasisError, match="no operator of B in crystals"):
        made_of(sheet(), [plain, NITROGEN])
    with pytest.raises(SettingError, match="no operators yet"):
        made_of(sheet(), [])


def test_a_level_without_pseudopotential_has_all_electrons():
    level = LevelOfTheory("pbe", "", "sto-3g", False, 0)
    content = build_content([6, 6], np.array([[0.0, 0, 0], [1.4, 0, 0]]), level)
    assert content.atom_charges().tolist() == [6, 6]
    assert crystal_basis(level, [6]).electrons([6, 6]) == 12
    with pytest.raises(BasisError, match="no basis"):
        build_content([6], np.zeros((1, 3)), LevelOfTheory("pbe", "", "sto-33g", False, 0))
