"""AOMatrix: one operator, whatever the order of its functions and however it is cut into blocks."""

from typing import get_args

import numpy as np
import pytest

from helm_ase.errors import BasisError, ElementError
from helm_ase.qc.molecule import ao_basis, build_mole
from helm_ase.representation import AOBasis, AOMatrix, AOOrder

NUMBERS = np.array([6, 1, 8, 1])
POSITIONS = np.array([[0.0, 0, 0], [0.9, 0.1, 0.6], [-0.1, 0.2, -1.2], [-0.9, 0.0, 0.6]])
BASIS = AOBasis("b", {1: (0, 1), 6: (0, 1, 2), 8: (0, 0, 1, 3)})


def random_symmetric(rng, numbers=NUMBERS, basis=BASIS):
    x = rng.normal(size=(basis.size(numbers),) * 2)
    return x + x.T


@pytest.mark.parametrize("order", get_args(AOOrder))
def test_overlap_of_pyscf_survives_a_change_of_order_and_back(order):
    basis = ao_basis("cc-pvtz", [1, 6, 8])
    mole = build_mole(NUMBERS, POSITIONS, "cc-pvtz")
    s = mole.intor("int1e_ovlp")
    there = AOMatrix(s, NUMBERS, basis, "pyscf").reorder(order)
    assert there.order == order
    np.testing.assert_allclose(np.linalg.eigvalsh(there.values), np.linalg.eigvalsh(s), atol=1e-12)
    np.testing.assert_array_equal(there.reorder("pyscf").values, s)


@pytest.mark.parametrize("order", [o for o in get_args(AOOrder) if o != "e3nn"])
def test_a_change_of_order_moves_elements_but_never_across_atoms(order, rng):
    m = AOMatrix(random_symmetric(rng), NUMBERS, BASIS)
    turned = m.reorder(order)
    assert not np.array_equal(turned.values, m.values)
    for (i, j), block in m.blocks().items():
        np.testing.assert_array_equal(
            np.sort(abs(block), axis=None), np.sort(abs(turned.block(i, j)), axis=None)
        )


def test_blocks_reassemble_to_the_same_matrix(rng):
    m = AOMatrix(random_symmetric(rng), NUMBERS, BASIS, "orca")
    back = AOMatrix.from_blocks(m.blocks(), NUMBERS, BASIS, "orca")
    np.testing.assert_array_equal(back.values, m.values)
    assert back.order == "orca"


def test_a_block_given_below_the_diagonal_fills_both_sides(rng):
    block = rng.normal(size=(BASIS.size_of(8), BASIS.size_of(6)))
    m = AOMatrix.from_blocks({(2, 0): block}, NUMBERS, BASIS)
    np.testing.assert_array_equal(m.block(2, 0), block)
    np.testing.assert_array_equal(m.block(0, 2), block.T)
    assert not m.block(1, 3).any()


def test_a_matrix_of_the_wrong_size_is_refused():
    with pytest.raises(BasisError, match=r"shape \(3, 3\) does not fit 4 atoms"):
        AOMatrix(np.zeros((3, 3)), NUMBERS, BASIS)


def test_a_block_of_the_wrong_shape_is_refused():
    with pytest.raises(BasisError, match=r"block \(0, 2\)"):
        AOMatrix.from_blocks({(0, 2): np.zeros((2, 2))}, NUMBERS, BASIS)


def test_a_block_given_from_both_sides_is_refused():
    a = np.zeros((BASIS.size_of(6), BASIS.size_of(8)))
    with pytest.raises(BasisError, match="both given"):
        AOMatrix.from_blocks({(0, 2): a, (2, 0): a.T}, NUMBERS, BASIS)


def test_an_element_outside_the_basis_is_refused():
    with pytest.raises(ElementError, match="no functions for N"):
        AOMatrix(np.zeros((1, 1)), np.array([7]), BASIS)


def test_an_unknown_order_is_refused(rng):
    with pytest.raises(BasisError, match="unknown AO order"):
        AOMatrix(random_symmetric(rng), NUMBERS, BASIS).reorder("molpro")
