"""Wigner matrices and edge frames: a representation, matched to independently written harmonics."""

import numpy as np
import pytest
import torch

from helm_ase.nn.harmonics import EdgeRows, WignerMatrices, edge_frames, reversal_signs, row_degrees
from shared.rotations import real_harmonics, rotation, wigner

LMAX = 6
AXES = [s * np.eye(3)[k] for k in range(3) for s in (1.0, -1.0)]


@pytest.fixture(scope="module")
def wigner_matrices():
    return WignerMatrices(LMAX)


def matrices(module, *rotations):
    return module(torch.tensor(np.array(rotations))).numpy()


def directions():
    generator = np.random.default_rng(5)
    random = generator.normal(size=(50, 3))
    diagonal = [[1, 1, 0], [1, -1, 0], [0, 1, 1], [1, 1, 1], [-1, -1, -1], [1, 1e-9, 0], [0, 0, 1 + 1e-9]]
    every = np.concatenate([random, diagonal, AXES])
    return every / np.linalg.norm(every, axis=1, keepdims=True)


def test_the_product_of_two_rotations_has_the_product_of_their_matrices(wigner_matrices):
    first, second = rotation(1), rotation(2)
    d1, d2, d12 = matrices(wigner_matrices, first, second, first @ second)
    np.testing.assert_allclose(d1 @ d2, d12, atol=1e-12)


def test_matrices_are_orthogonal_and_the_identity_maps_to_the_identity(wigner_matrices):
    d, one = matrices(wigner_matrices, rotation(3), np.eye(3))
    np.testing.assert_allclose(d @ d.T, np.eye((LMAX + 1) ** 2), atol=1e-12)
    np.testing.assert_allclose(one, np.eye((LMAX + 1) ** 2), atol=1e-12)


def test_matrices_turn_real_harmonics_as_the_rotation_turns_their_argument(wigner_matrices, rng):
    r, points = rotation(4), rng.normal(size=(30, 3))
    (d,) = matrices(wigner_matrices, r)
    before = np.concatenate([real_harmonics(l, points) for l in range(LMAX + 1)])
    after = np.concatenate([real_harmonics(l, points @ r.T) for l in range(LMAX + 1)])
    np.testing.assert_allclose(d @ before, after, atol=1e-11)


def test_matrices_do_not_mix_degrees(wigner_matrices):
    (d,) = matrices(wigner_matrices, rotation(5))
    degrees = np.array(row_degrees(LMAX))
    assert not d[degrees[:, None] != degrees].any()


def test_matrices_are_differentiable_at_every_axis(wigner_matrices):
    r = edge_frames(torch.tensor(np.array(AXES))).requires_grad_(True)
    (gradient,) = torch.autograd.grad(wigner_matrices(r).square().sum(), r)
    assert torch.isfinite(gradient).all()


def test_edge_frames_are_proper_rotations_that_send_the_direction_to_z():
    d = directions()
    frames = edge_frames(torch.tensor(d)).numpy()
    np.testing.assert_allclose(
        frames @ frames.transpose(0, 2, 1), np.broadcast_to(np.eye(3), frames.shape), atol=1e-14
    )
    np.testing.assert_allclose(np.linalg.det(frames), 1.0, atol=1e-14)
    np.testing.assert_allclose(np.einsum("eij,ej->ei", frames, d), [[0.0, 0.0, 1.0]] * len(d), atol=1e-14)


def test_reversal_signs_are_the_matrix_of_a_half_turn_about_x(wigner_matrices):
    signs = np.diag(reversal_signs(LMAX))
    half_turn = np.diag([1.0, -1.0, -1.0])
    for l in range(LMAX + 1):
        block = signs[l * l : (l + 1) ** 2, l * l : (l + 1) ** 2]
        np.testing.assert_allclose(block, wigner(l, half_turn), atol=1e-11)
    np.testing.assert_allclose(matrices(wigner_matrices, half_turn)[0], signs, atol=1e-12)


def test_the_reversed_frame_sends_the_reversed_direction_to_z(wigner_matrices):
    d = directions()
    frames = np.diag([1.0, -1.0, -1.0]) @ edge_frames(torch.tensor(d)).numpy()
    np.testing.assert_allclose(np.einsum("eij,ej->ei", frames, -d), [[0.0, 0.0, 1.0]] * len(d), atol=1e-14)
    signs = np.array(reversal_signs(LMAX))[:, None]
    forward = wigner_matrices(edge_frames(torch.tensor(d))).numpy()
    np.testing.assert_allclose(signs * forward, matrices(wigner_matrices, *frames), atol=1e-12)


@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (2, 1), (4, 2), (4, 4), (6, 3)])
def test_rows_of_the_edge_frame_are_the_low_orders_of_every_degree_once(lmax, mmax):
    rows = EdgeRows(lmax, mmax)
    wanted = {l * l + l + m for l in range(lmax + 1) for m in range(-l, l + 1) if abs(m) <= mmax}
    picked, signs = rows.unnatural()
    assert sorted(rows.natural()) == sorted(picked) == sorted(wanted)
    assert rows.size == len(wanted) == len(rows.degree)
    assert set(signs) <= {1.0, -1.0}
    assert [row_degrees(lmax)[k] for k in rows.natural()] == rows.degree
