"""AO orders, checked on values of PySCF's AOs in space."""

from itertools import product
from typing import get_args

import numpy as np
import pytest
from pyscf import gto

from helm_ase.errors import BasisError
from helm_ase.representation import CANONICAL, AOOrder, reordering
from helm_ase.representation.ordering import shell_order
from shared.rotations import real_harmonic

ORDERS = get_args(AOOrder)

ASCENDING = {l: [*range(-l, l + 1)] for l in range(5)}
ZERO_FIRST = {
    0: [0],
    1: [0, 1, -1],
    2: [0, 1, -1, 2, -2],
    3: [0, 1, -1, 2, -2, 3, -3],
    4: [0, 1, -1, 2, -2, 3, -3, 4, -4],
}
XYZ = {1: [1, -1, 0]}
DOCUMENTED = {
    "e3nn": ASCENDING,
    "pyscf": ASCENDING | XYZ,
    "psi4": ZERO_FIRST,
    "gaussian": ZERO_FIRST | XYZ,
    "orca": ZERO_FIRST,
}
"""Written down from the manuals of the programs, apart from the package."""
ORCA_NEGATIVE = {(3, 3), (3, -3), (4, 3), (4, -3), (4, 4), (4, -4)}


def documented_functions(order, l, points):
    signs = [-1 if order == "orca" and (l, m) in ORCA_NEGATIVE else 1 for m in DOCUMENTED[order][l]]
    return np.array(
        [s * real_harmonic(l, m, points) for s, m in zip(signs, DOCUMENTED[order][l], strict=True)]
    )


def pyscf_values(l, points, exponent=0.7):
    mole = gto.M(atom="He 0 0 0", basis={"He": [[l, [exponent, 1.0]]]}, verbose=0)
    r = np.linalg.norm(points, axis=1)
    radial = gto.gto_norm(l, exponent) * r**l * np.exp(-exponent * r**2)
    return mole.eval_gto("GTOval_sph", points).T / radial


@pytest.mark.parametrize("l", range(5))
@pytest.mark.parametrize("order", ORDERS)
def test_pyscf_functions_reordered_are_the_harmonics_each_program_documents(order, l, rng):
    points = rng.normal(size=(40, 3))
    index, sign = reordering([l], "pyscf", order)
    values = sign[:, None] * pyscf_values(l, points)[index]
    np.testing.assert_allclose(values, documented_functions(order, l, points), rtol=0, atol=1e-12)


def test_orca_flips_the_h_functions_of_order_3_and_4_but_not_5():
    signs = dict(shell_order("orca", 5))
    assert signs == {m: -1 if abs(m) in (3, 4) else 1 for m in range(-5, 6)}


@pytest.mark.parametrize(("source", "target"), [*product(ORDERS, ORDERS)])
def test_every_order_leads_to_every_other_and_back(source, target):
    degrees = [0, 1, 0, 2, 3, 1, 4, 5]
    x = np.arange(1.0, 1 + sum(2 * l + 1 for l in degrees))
    there, sign_there = reordering(degrees, source, target)
    back, sign_back = reordering(degrees, target, source)
    y = sign_there * x[there]
    np.testing.assert_array_equal(sign_back * y[back], x)
    assert sorted(abs(y)) == sorted(x)


@pytest.mark.parametrize(("middle", "target"), [*product(ORDERS, ORDERS)])
def test_a_detour_over_a_third_order_changes_nothing(middle, target):
    degrees = [1, 3, 4]
    x = np.arange(1.0, 20.0)
    direct, sign = reordering(degrees, CANONICAL, target)
    first, sign_1 = reordering(degrees, CANONICAL, middle)
    second, sign_2 = reordering(degrees, middle, target)
    np.testing.assert_array_equal(sign * x[direct], sign_2 * (sign_1 * x[first])[second])


def test_the_canonical_order_is_that_of_e3nn_fed_with_yzx(rng):
    import torch
    from e3nn import o3

    points = rng.normal(size=(20, 3))
    for l in range(5):
        y = o3.spherical_harmonics(
            l, torch.tensor(points[:, [1, 2, 0]]), normalize=True, normalization="integral"
        )
        index, sign = reordering([l], "pyscf", CANONICAL)
        np.testing.assert_allclose(sign[:, None] * pyscf_values(l, points)[index], y.numpy().T, atol=1e-12)


def test_an_unknown_order_is_refused_by_name():
    with pytest.raises(BasisError, match="'turbomole'"):
        shell_order("turbomole", 1)
    with pytest.raises(BasisError, match="'turbomole'"):
        reordering([1], "pyscf", "turbomole")
