"""RealSpaceMatrix: Hermitian by construction, and the same operator however cell and atoms are described."""

from typing import get_args

import numpy as np
import pytest

from helm_ase.errors import BasisError
from helm_ase.representation import AOBasis, AOMatrix, AOOrder
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from shared.crystals import SP, honeycomb, integrals, random_crystal
from shared.rotations import ao_rotation, improper, rotation

BASIS = AOBasis("b", {1: (0, 1), 6: (0, 1, 2)})


def assert_same(a, b, atol=1e-9):
    """Equal blocks; translations of one that the other lacks are zero."""
    both = {tuple(t) for m in (a, b) for t in m.translations.tolist()}
    assert a.numbers.tolist() == b.numbers.tolist()
    assert max(np.abs(a.at(t) - b.at(t)).max() for t in both) <= atol


def test_the_mirror_image_is_exact_and_the_order_given_does_not_matter(rng):
    m = random_crystal(rng)
    noise = m.values + 1e-9 * rng.normal(size=m.values.shape)
    shuffle = rng.permutation(len(m.translations))
    again = RealSpaceMatrix(m.translations[shuffle], noise[shuffle], m.numbers, m.basis)
    np.testing.assert_array_equal(again.translations, m.translations)
    np.testing.assert_allclose(again.values, m.values, atol=1e-8)
    for t in again.translations:
        np.testing.assert_array_equal(again.at(-t), again.at(t).T)


def test_blocks_cannot_be_written_to(rng):
    with pytest.raises(ValueError, match="read-only"):
        random_crystal(rng).values[0] = 0.0


def test_what_is_not_hermitian_not_closed_or_given_twice_is_refused(rng):
    m = random_crystal(rng)
    bad = m.values.copy()
    bad[0, 0, 1] += 1e-3
    with pytest.raises(BasisError, match="no Hermitian matrix"):
        RealSpaceMatrix(m.translations, bad, m.numbers, m.basis)
    with pytest.raises(BasisError, match="no counterpart of opposite sign"):
        RealSpaceMatrix(m.translations[1:], m.values[1:], m.numbers, m.basis)
    with pytest.raises(BasisError, match="given twice"):
        RealSpaceMatrix(m.translations[[0, 0, -1, -1]], m.values[[0, 0, -1, -1]], m.numbers, m.basis)
    with pytest.raises(BasisError, match="not finite"):
        RealSpaceMatrix(m.translations, m.values * np.nan, m.numbers, m.basis)
    with pytest.raises(BasisError, match="no integers"):
        RealSpaceMatrix(m.translations * 1.0, m.values, m.numbers, m.basis)
    with pytest.raises(BasisError, match="do not fit"):
        RealSpaceMatrix(m.translations, m.values[:, 1:, 1:], m.numbers, m.basis)


def test_one_half_of_the_translations_is_enough(rng):
    m = random_crystal(rng)
    half = slice(len(m.translations) // 2, None)
    again = RealSpaceMatrix.completed(m.translations[half], m.values[half], m.numbers, m.basis)
    np.testing.assert_array_equal(again.values, m.values)


def test_a_molecule_is_the_case_of_translation_zero(rng):
    x = rng.normal(size=(BASIS.size([6, 1]),) * 2)
    matrix = AOMatrix(x + x.T, np.array([6, 1]), BASIS, "orca")
    crystal = RealSpaceMatrix.of_molecule(matrix)
    np.testing.assert_array_equal(crystal.molecule().values, matrix.values)
    np.testing.assert_array_equal(crystal.reorder("e3nn").molecule().values, matrix.reorder("e3nn").values)
    np.testing.assert_array_equal(crystal.block(0, 1, (0, 0, 0)), matrix.block(0, 1))
    with pytest.raises(BasisError, match="no molecule"):
        random_crystal(rng).molecule()


@pytest.mark.parametrize("order", get_args(AOOrder))
def test_orders_lead_there_and_back(order, rng):
    m = random_crystal(rng, basis=BASIS)
    there = m.reorder(order)
    assert there.order == order
    np.testing.assert_array_equal(there.reorder("e3nn").values, m.values)
    single = AOMatrix(m.at((0, 0, 0)), m.numbers, BASIS)
    np.testing.assert_array_equal(there.at((0, 0, 0)), single.reorder(order).values)


def test_pruning_leaves_out_small_blocks_but_never_cell_zero(rng):
    m = random_crystal(rng)
    assert_same(m.pruned(0.05), m, atol=0.05)
    assert len(m.pruned(10.0).translations) == 1
    assert not m.at((7, 0, 0)).any()


# --- the same crystal, described otherwise: S(T) is computed anew each time ------------------------------


@pytest.fixture(scope="module")
def sheet():
    atoms = honeycomb()
    return atoms, integrals(atoms)


def test_renumbering(sheet):
    atoms, s = sheet
    assert_same(s.renumbered([1, 0]), integrals(atoms[[1, 0]]))
    with pytest.raises(BasisError, match="not a permutation"):
        s.renumbered([0, 0])


def test_atoms_moved_to_other_cells(sheet):
    atoms, s = sheet
    moved = np.array([[1, -2, 0], [0, 1, 0]])
    other = atoms.copy()
    other.positions += moved @ atoms.cell.array
    assert_same(s.rewrapped(moved), integrals(other))


def test_other_origin(sheet):
    atoms, s = sheet
    other = atoms.copy()
    other.positions += [0.7, -3.1, 0.4]
    assert_same(s, integrals(other))


def test_other_lattice_vectors(sheet):
    atoms, s = sheet
    u = np.array([[2, 1, 0], [1, 1, 0], [0, 0, 1]])
    other = atoms.copy()
    other.set_cell(u @ atoms.cell.array, scale_atoms=False)
    assert_same(s.recelled(u), integrals(other))
    for bad in (2 * np.eye(3), np.eye(3) + 0.5, np.eye(2)):
        with pytest.raises(BasisError, match="not an integer matrix"):
            s.recelled(bad)


@pytest.mark.parametrize("operation", [rotation(5), improper(5)], ids=["rotation", "improper"])
def test_rotation_and_reflection(sheet, operation):
    atoms, s = sheet
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ operation.T, scale_atoms=False)
    other.positions = atoms.positions @ operation.T
    d = ao_rotation(s.basis, s.numbers, operation)
    turned = RealSpaceMatrix(s.translations, d @ s.values @ d.T, s.numbers, s.basis)
    assert_same(turned, integrals(other))


@pytest.mark.parametrize("repeats", [(2, 2, 1), (3, 1, 1)])
def test_supercell(sheet, repeats):
    atoms, s = sheet
    assert_same(s.supercell(repeats), integrals(atoms.repeat(repeats)))
    with pytest.raises(BasisError, match="repeats"):
        s.supercell((0, 1, 1))


def test_supercell_of_a_supercell(rng):
    m = random_crystal(rng, numbers=(6,), basis=SP)
    assert len(m.supercell((2, 1, 1)).supercell((1, 3, 1)).numbers) == 6
    assert_same(m.supercell((1, 1, 1)), m, atol=0.0)
