"""AO blocks and irreducible tensors are two names of one thing."""

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag

from helm_ase.nn.assembly import onsite_halving
from helm_ase.nn.tensor_construction import coupling_matrix, expand, is_natural, plan_block, project
from shared.rotations import improper, rotation, wigner
from shared.small_models import SPDF

DEGREES = range(5)
SHELLS_A = ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (3, 0), (4, 0))
SHELLS_B = ((0, 0), (1, 0), (1, 1), (4, 0), (2, 0), (2, 1))


def size_of(slots):
    return sum(2 * l + 1 for l, _ in slots)


def matrices_of(plan):
    return [coupling_matrix(*g.degrees, g.couplings) for g in plan.groups]


def place(plan, flat, shape):
    block = torch.zeros(len(flat), *shape, dtype=flat.dtype)
    block[:, plan.rows, plan.cols] = flat
    return block


@pytest.mark.parametrize("l1", DEGREES)
@pytest.mark.parametrize("l2", DEGREES)
def test_a_block_of_two_shells_is_rebuilt_from_its_tensors(l1, l2, rng):
    plan = plan_block(((l1, 0),), ((l2, 0),))
    blocks = torch.tensor(rng.normal(size=(3, 2 * l1 + 1, 2 * l2 + 1)))
    tensors = project(plan, blocks, matrices_of(plan))
    assert sorted(L for L, _ in tensors) == list(range(abs(l1 - l2), l1 + l2 + 1))
    rebuilt = place(plan, expand(plan, tensors, matrices_of(plan)), blocks.shape[1:])
    torch.testing.assert_close(rebuilt, blocks, rtol=0, atol=1e-12)


def test_a_block_of_two_elements_is_rebuilt_from_its_tensors(rng):
    plan = plan_block(SHELLS_A, SHELLS_B)
    shape = (size_of(SHELLS_A), size_of(SHELLS_B))
    assert plan.size == shape[0] * shape[1]
    assert len(set(zip(plan.rows.tolist(), plan.cols.tolist(), strict=True))) == plan.size
    blocks = torch.tensor(rng.normal(size=(2, *shape)))
    flat = expand(plan, project(plan, blocks, matrices_of(plan)), matrices_of(plan))
    torch.testing.assert_close(place(plan, flat, shape), blocks, rtol=0, atol=1e-12)


@pytest.mark.parametrize("slots", [SHELLS_A, SHELLS_B, *(((l, 0), (l, 1)) for l in DEGREES)])
def test_a_symmetric_onsite_block_is_rebuilt_from_its_independent_half(slots, rng):
    plan = plan_block(slots, slots, onsite=True)
    blocks = torch.tensor(rng.normal(size=(2, size_of(slots), size_of(slots))))
    blocks = blocks + blocks.transpose(1, 2)
    flat = expand(plan, project(plan, blocks, matrices_of(plan)), matrices_of(plan))
    half = place(plan, flat * onsite_halving(plan).double(), blocks.shape[1:])
    torch.testing.assert_close(half + half.transpose(1, 2), blocks, rtol=0, atol=1e-12)


@pytest.mark.parametrize("slots", [SHELLS_A, SHELLS_B])
def test_an_onsite_plan_has_as_many_coefficients_as_a_symmetric_block_has_free_elements(slots):
    plan = plan_block(slots, slots, onsite=True)
    free = sum((2 * L + 1) * len(pairs) for (L, _), pairs in plan.paths.items())
    assert free == size_of(slots) * (size_of(slots) + 1) // 2


def test_of_a_shell_with_itself_only_even_and_hence_natural_tensors_remain():
    plan = plan_block(((3, 0),), ((3, 0),), onsite=True)
    assert set(plan.paths) == {(0, True), (2, True), (4, True), (6, True)}


@pytest.mark.parametrize("operation", [rotation(8), improper(9), -np.eye(3), np.diag([1.0, 1.0, -1.0])])
def test_tensors_turn_with_their_degree_and_parity_when_the_block_is_turned(operation, rng):
    slots = tuple((l, 0) for l in SPDF.shells[6])
    plan = plan_block(slots, slots)
    d = torch.tensor(block_diag(*(wigner(l, operation) for l, _ in slots)))
    blocks = torch.tensor(rng.normal(size=(1, *d.shape)))
    before = project(plan, blocks, matrices_of(plan))
    after = project(plan, d @ blocks @ d.T, matrices_of(plan))
    for (degree, natural), tensor in before.items():
        parity = 1.0 if natural else float(np.linalg.det(operation))
        wanted = parity * torch.tensor(wigner(degree, operation)) @ tensor
        torch.testing.assert_close(after[degree, natural], wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("l1", "l2"), [(0, 0), (1, 2), (3, 3), (4, 2), (4, 4)])
def test_coupling_matrices_are_orthogonal(l1, l2):
    q = coupling_matrix(l1, l2, tuple(range(abs(l1 - l2), l1 + l2 + 1)))
    torch.testing.assert_close(q @ q.T, torch.eye(len(q), dtype=torch.float64), rtol=0, atol=1e-13)


def test_the_vector_product_of_two_vectors_is_the_unnatural_one():
    assert is_natural(1, 1, 0)
    assert not is_natural(1, 1, 1)
    assert is_natural(1, 1, 2)
    assert is_natural(1, 2, 3)
