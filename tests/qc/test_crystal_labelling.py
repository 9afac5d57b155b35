"""Labels of crystals: meshes that are too coarse are refused, and what is kept says what PySCF says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, graphene
from pyscf.pbc import dft
from pyscf.pbc.scf.addons import smearing_

from helm_ase.electronic.band_levels import levels_at
from helm_ase.electronic.bands import Bands
from helm_ase.electronic.bloch import LatticeOperator, inverse_bloch_sum
from helm_ase.errors import BasisError, SettingError, StructureError
from helm_ase.qc.crystal import box_of, build_cell, build_content, crystal_basis, crystal_level
from helm_ase.qc.crystal_labelling import (
    CrystalLabelSettings,
    alias_of,
    fine_enough,
    label_crystal,
    mesh_of,
    potential_far_from_chain,
)
from helm_ase.qc.crystal_scf import (
    CrystalSCF,
    fock_and_overlap,
    forces_by_differences,
    kept_points,
    strained,
    stress_by_differences,
)
from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

LEVEL = crystal_level(plane_wave_cutoff=60.0)
CHAIN = CrystalLabelSettings(LEVEL, mesh=(8, 1, 1))


def described(atoms):
    return atoms.numbers, atoms.positions, Lattice.of_atoms(atoms)


def overlap(atoms):
    numbers, positions, lattice = described(atoms)
    basis = crystal_basis(LEVEL, numbers.tolist())
    return lattice_integrals(build_content(numbers, positions, LEVEL), basis, lattice=lattice)


def polyyne():
    return Atoms("C2", [[0, 0, 0], [1.22, 0, 0]], cell=[2.6, 0, 0], pbc=[True, False, False])


# --- what needs no SCF --------------------------------------------------------------------------------


@pytest.mark.parametrize(("atoms", "mesh"), [
    (graphene(vacuum=5.0), (6, 6, 1)), (bulk("C", "diamond", 3.57), (6, 6, 6)), (polyyne(), (6, 1, 1)),
    (bulk("C", "diamond", 3.57, cubic=True), (5, 5, 5)),
])  # fmt: skip
def test_the_mesh_of_a_lattice_leaves_no_short_vector_in_its_supercell(atoms, mesh):
    lattice = Lattice.of_atoms(atoms)
    assert mesh_of(lattice) == mesh
    t = lattice.supercell(mesh).translations(40.0)
    lengths = np.linalg.norm(lattice.supercell(mesh).vectors(t[t.any(1)]), axis=1)
    assert lengths.min() >= 14.7


@pytest.mark.parametrize(("atoms", "mesh", "low", "high"), [
    (graphene(vacuum=5.0), (6, 6, 1), 0, 5e-6), (graphene(vacuum=5.0), (4, 4, 1), 1e-4, 1e-1),
    (bulk("C", "diamond", 3.57), (6, 6, 6), 0, 5e-6), (bulk("C", "diamond", 3.57), (4, 4, 4), 1e-4, 5e-3),
])  # fmt: skip
def test_the_overlap_tells_a_mesh_that_is_too_coarse(atoms, mesh, low, high):
    assert low <= alias_of(overlap(atoms), Lattice.of_atoms(atoms), atoms.positions, mesh) < high


@pytest.mark.parametrize("name", ["gth-szv-molopt-sr", "gth-dzvp-molopt-sr"])
def test_where_functions_reach_far_the_mesh_is_finer_by_itself(name):
    atoms = graphene(formula="BN", a=2.6, vacuum=5.0)  # boron's functions are wider than carbon's
    numbers, positions, lattice = described(atoms)
    level = crystal_level(basis=name)
    basis = crystal_basis(level, numbers.tolist())
    exact = lattice_integrals(build_content(numbers, positions, level), basis, lattice=lattice)
    assert alias_of(exact, lattice, positions, mesh_of(lattice)) > 5e-6
    mesh, alias = fine_enough(exact, lattice, positions, CrystalLabelSettings(level))
    assert alias <= 5e-6
    assert alias == alias_of(exact, lattice, positions, mesh)
    asked = CrystalLabelSettings(level, (2, 2, 1))
    assert fine_enough(exact, lattice, positions, asked)[0] == (2, 2, 1)


def test_what_the_overlap_tells_is_the_error_of_a_real_round_trip():
    atoms = polyyne()
    _, positions, lattice = described(atoms)
    s, atom = overlap(atoms), torch.tensor([0] * 4 + [1] * 4)
    for n in (3, 4, 5):
        mesh = KMesh.gamma_centred((n, 1, 1))
        exact = LatticeOperator.of(s)
        back = inverse_bloch_sum(exact.at(mesh.kpts), mesh, lattice, positions, atom)
        known = {tuple(t): v for t, v in zip(back.translations.tolist(), back.values.numpy(), strict=True)}
        worst = max(
            np.abs(known.get(tuple(t), 0 * v) - v).max()
            for t, v in zip(s.translations.tolist(), s.values, strict=True)
        )
        assert alias_of(s, lattice, positions, (n, 1, 1)) == pytest.approx(worst, rel=1e-9)


def test_a_coarse_mesh_is_refused_before_any_work_is_done():
    settings = replace(CHAIN, mesh=(2, 1, 1))
    with pytest.raises(SettingError, match=r"2×1×1 .* finer mesh"):
        label_crystal("chain", *described(polyyne()), settings)


def test_directions_without_periodicity_get_vacuum_whatever_the_cell_says():
    atoms = graphene(vacuum=0.5)
    atoms.rattle(0.1, seed=1)
    box = box_of(Lattice.of_atoms(atoms), atoms.positions)
    assert np.linalg.norm(box[2]) == pytest.approx(10.0 + np.ptp(atoms.positions[:, 2]))
    np.testing.assert_array_equal(box[:2], atoms.cell.array[:2])
    chain = box_of(Lattice.of_atoms(polyyne()), polyyne().positions)
    np.testing.assert_allclose(np.linalg.norm(chain, axis=1), [2.6, 10.0, 10.0])


def test_the_basis_of_a_level_knows_the_electrons_that_pseudopotentials_replace():
    basis = crystal_basis(LEVEL, [6, 1, 7])
    assert basis.shells == {1: (0,), 6: (0, 1), 7: (0, 1)}
    assert basis.electrons([6, 6, 1, 7]) == 4 + 4 + 1 + 5


@pytest.mark.parametrize("wrong", [{"basis": "def2-svp"}, {"pseudopotential": "def2-svp"}, {"basis": "x"}])
def test_other_bases_than_those_for_pseudopotentials_are_refused(wrong):
    with pytest.raises(BasisError, match="for crystals; there are gth"):
        crystal_level(**wrong)


def test_open_shells_are_refused():
    with pytest.raises(StructureError, match="7 valence electrons"):
        build_cell([7, 1, 1], np.eye(3) * 1.5, Lattice(6 * np.eye(3), [True] * 3), LEVEL)


def test_the_level_of_a_crystal_is_another_one_than_that_of_molecules():
    assert LEVEL.physical != LevelOfTheory(functional="pbe", basis=LEVEL.basis).physical
    assert LEVEL.physical == replace(LEVEL, plane_wave_cutoff=200.0, basis="GTH-SZV-MOLOPT-SR").physical


def test_a_strained_crystal_is_strained_as_asked_for():
    crystal = CrystalSCF(*described(bulk("C", "diamond", 3.57)), LEVEL, (2, 2, 2))
    for a, b in ((0, 0), (0, 1)):
        found = strained(crystal, a, b, 0.01)
        change = np.linalg.solve(crystal.lattice.cell, found.lattice.cell) - np.eye(3)
        assert change[a, b] == pytest.approx(0.01 if a == b else 0.005)
        np.testing.assert_allclose(change, change.T, atol=1e-14)
        inside = found.lattice.fractional(found.positions)
        np.testing.assert_allclose(inside, crystal.lattice.fractional(crystal.positions), atol=1e-14)


def test_labels_of_slabs_and_chains_have_no_stress():
    with pytest.raises(StructureError, match="depends on the vacuum"):
        stress_by_differences(CrystalSCF(*described(polyyne()), LEVEL, (8, 1, 1)), None)


# --- with one -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain():
    return label_crystal("chain", *described(polyyne()), CHAIN)


def bands_of(label, k=None):
    basis = crystal_basis(LEVEL, label.numbers.tolist())
    s = lattice_integrals(
        build_content(label.numbers, label.positions, LEVEL), basis, lattice=label.lattice
    ).reorder("pyscf")
    atom = torch.from_numpy(np.repeat(np.arange(len(label.numbers)), np.diff(basis.offsets(label.numbers))))
    h = inverse_bloch_sum(torch.from_numpy(label.fock), label.k_mesh, label.lattice, label.positions, atom)
    if k is not None:
        return levels_at(h, LatticeOperator.of(s), k).numpy()
    return Bands.solve([h], LatticeOperator.of(s), label.k_mesh, basis.electrons(label.numbers), 0.005)


@pytest.mark.slow
@pytest.mark.scf
def test_labels_are_complete_and_count_from_the_vacuum(chain):
    assert chain.mesh == (8, 1, 1)
    assert chain.fock.shape == (5, 8, 8)
    assert chain.details["alias"] < 5e-6
    assert chain.free_energy <= chain.energy
    bands = bands_of(chain)
    assert -10 < bands.fermi_level * HARTREE_IN_EV < -2  # a work function of a few volts
    assert chain.energy - chain.free_energy == pytest.approx(
        0.5 * 0.005 * bands.entropy * HARTREE_IN_EV, abs=1e-6
    )


def test_the_constant_of_a_potential_around_chains_is_found_from_its_curvature():
    x, y = np.meshgrid(np.linspace(-8, 8, 160, endpoint=False), np.linspace(-8, 8, 160, endpoint=False))
    squares, width = x**2 + y**2, 1.3
    alone = 0.7 * np.exp(-squares / (2 * width**2))
    curvature = alone * (squares / width**2 - 2) / width**2
    found = potential_far_from_chain((alone - 0.123).ravel(), curvature.ravel(), squares.ravel())
    assert found == pytest.approx(-0.123, abs=1e-7)


def polyacetylene():
    places = [(0, 0.33, 0), (1.2, -0.33, 0), (0, 1.42, 0.1), (1.23, -1.42, 0)]
    return Atoms("C2H2", places, cell=[2.46, 0, 0], pbc=[1, 0, 0])


@pytest.mark.slow
@pytest.mark.scf
@pytest.mark.parametrize("make", [polyyne, polyacetylene])
def test_levels_of_labels_do_not_depend_on_the_width_of_the_vacuum(monkeypatch, make):
    level = replace(LEVEL, plane_wave_cutoff=80.0)
    settings, found = CrystalLabelSettings(level, (6, 1, 1), largest_alias=1.0), []
    for width in (10.0, 14.0):
        monkeypatch.setattr("helm_ase.qc.crystal.VACUUM", width)
        found.append(label_crystal("chain", *described(make()), settings))
    levels = [bands_of(x, [[0.1, 0, 0], [0.37, 0, 0]]) * HARTREE_IN_EV for x in found]
    assert np.abs(levels[0] - levels[1]).max() < 0.003
    assert found[0].details["vacuum_potential_hartree"] - found[1].details["vacuum_potential_hartree"] > 0.005


@pytest.mark.scf
def test_matrices_are_those_of_a_calculation_without_time_reversal():
    """And without operators that are kept from the SCF: what PySCF computes anew from the density."""
    atoms = Atoms("H2", [[0, 0, 0], [0.7, 0.2, 0.1]], cell=np.diag([2.6, 3.0, 3.0]), pbc=True)
    level, mesh = replace(LEVEL, plane_wave_cutoff=40.0), (3, 2, 1)
    mf = CrystalSCF(*described(atoms), level, mesh).converge()
    fock, overlap = fock_and_overlap(mf, mesh)
    points = KMesh.gamma_centred(mesh)
    plain = dft.KRKS(mf.cell, mf.cell.get_abs_kpts(points.points.numpy()), xc="pbe").multigrid_numint()
    density = mf.kpts.transform_dm(mf.make_rdm1())
    theirs = np.asarray(plain.get_hcore() + plain.get_veff(dm=density))[kept_points(mesh)]
    assert len(points.kpts) == len(fock) == 4 < 6
    assert np.abs(theirs.imag).max() > 1e-3  # else points and their partners could not be told apart
    np.testing.assert_allclose(fock, theirs, atol=1e-9)
    np.testing.assert_allclose(overlap, np.asarray(plain.get_ovlp())[kept_points(mesh)], atol=1e-12)


@pytest.mark.slow
@pytest.mark.scf
def test_forces_by_differences_are_the_analytic_ones():
    """PySCF's, on the FFT grid; hydrogen molecules in a small cell, one k point along two directions."""
    atoms = Atoms("H2", [[0, 0, 0], [0.7, 0.2, 0.1]], cell=np.diag([2.6, 3.0, 3.0]), pbc=True)
    crystal = CrystalSCF(*described(atoms), replace(LEVEL, plane_wave_cutoff=120.0), (2, 1, 1))
    mf = crystal.converge()
    found = forces_by_differences(crystal, mf)
    fft = dft.KRKS(mf.cell, mf.kpts.kpts, xc="pbe")
    fft.conv_tol = 1e-9
    fft = smearing_(fft, sigma=LEVEL.smearing, method="fermi")
    fft.kernel(dm0=mf.kpts.transform_dm(mf.make_rdm1()))
    theirs = -np.asarray(fft.nuc_grad_method().kernel()) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    assert np.abs(found).max() > 0.4  # twenty times what is allowed below
    np.testing.assert_allclose(found, theirs - theirs.mean(0), atol=0.02)


@pytest.mark.slow
@pytest.mark.scf
def test_a_supercell_has_the_same_levels_and_twice_the_energy():
    """At 120 Eh: PySCF's grids, of 27 and 51 points along the chain, leave 9 meV at 60 Eh and 0.3 at 120."""
    settings = replace(CHAIN, level=replace(LEVEL, plane_wave_cutoff=120.0))
    chain = label_crystal("cell", *described(polyyne()), settings)
    atoms = polyyne().repeat((2, 1, 1))
    large = label_crystal("supercell", *described(atoms), replace(settings, mesh=(4, 1, 1)))
    assert large.energy == pytest.approx(2 * chain.energy, abs=1e-3)
    k = np.array([[0.13, 0, 0]])
    folded = np.sort(np.concatenate([bands_of(chain, k / 2), bands_of(chain, k / 2 + [[0.5, 0, 0]])], 1))
    assert np.abs(bands_of(large, k) - folded)[:, :8].max() * HARTREE_IN_EV < 2e-3
