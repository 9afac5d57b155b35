"""The trust filter W ΔH W: gone where the overlap is small, absent where it is large."""

import itertools

import numpy as np
import pytest
import torch

from helm_ase.nn import apply_factor, trust_matrix
from helm_ase.qc.molecule import build_mole, overlap
from shared.geometries import WATER
from shared.rotations import ao_rotation, improper, rotation
from shared.small_models import SPD

DELTA = 0.003


@pytest.fixture(scope="module")
def water_overlap():
    return overlap_of(np.array(WATER[1]))


def overlap_of(positions):
    mole = build_mole(WATER[0], positions, "def2-svp")
    return torch.from_numpy(overlap(mole, SPD).values)


def random_correction(rng, size):
    x = torch.tensor(rng.normal(size=(size, size)))
    return x + x.T


def test_eigenvalues_of_the_filter_are_lambda_over_lambda_plus_delta(water_overlap):
    w, s = trust_matrix(water_overlap, DELTA), water_overlap
    eigenvalues = torch.linalg.eigvalsh(s)
    torch.testing.assert_close(
        torch.linalg.eigvalsh(w), eigenvalues / (eigenvalues + DELTA), rtol=0, atol=1e-12
    )
    assert torch.equal(w, w.T)
    torch.testing.assert_close(w @ s, s @ w, rtol=0, atol=1e-12)


def test_a_filtered_correction_is_symmetric_to_the_last_bit(water_overlap, rng):
    filtered = apply_factor(random_correction(rng, len(water_overlap)), trust_matrix(water_overlap, DELTA))
    assert torch.equal(filtered, filtered.T)


def test_the_filter_fades_as_delta_goes_to_zero(water_overlap, rng):
    dh = random_correction(rng, len(water_overlap))
    change = [
        float((apply_factor(dh, trust_matrix(water_overlap, d)) - dh).abs().max())
        for d in (1e-2, 1e-4, 1e-6, 1e-8)
    ]
    assert all(a > 10 * b for a, b in itertools.pairwise(change))
    assert change[-1] < 1e-4


@pytest.mark.parametrize("operation", [rotation(1), improper(2)])
def test_filtering_and_turning_the_molecule_commute(water_overlap, operation, rng):
    dh = random_correction(rng, len(water_overlap))
    d = torch.tensor(ao_rotation(SPD, WATER[0], operation))
    turned = trust_matrix(overlap_of(np.array(WATER[1]) @ operation.T), DELTA)
    plain = apply_factor(dh, trust_matrix(water_overlap, DELTA))
    torch.testing.assert_close(apply_factor(d @ dh @ d.T, turned), d @ plain @ d.T, rtol=0, atol=1e-9)


def test_in_a_direction_of_small_overlap_the_correction_is_quenched():
    s = torch.diag(torch.tensor([1.0, 1e-5], dtype=torch.float64))
    filtered = apply_factor(torch.ones(2, 2, dtype=torch.float64), trust_matrix(s, DELTA))
    w = np.array([1 / (1 + DELTA), 1e-5 / (1e-5 + DELTA)])
    np.testing.assert_allclose(filtered.numpy(), np.outer(w, w), rtol=1e-12)
    assert filtered[1, 1] / s[1, 1] < 1.2


def test_a_stack_of_matrices_is_filtered_one_by_one(water_overlap, rng):
    stack = torch.stack([random_correction(rng, len(water_overlap)) for _ in range(2)])
    w = trust_matrix(water_overlap, DELTA)
    filtered = apply_factor(stack, w)
    for k in range(2):
        torch.testing.assert_close(filtered[k], apply_factor(stack[k], w), rtol=0, atol=1e-14)
    overlaps = torch.stack([water_overlap, torch.eye(len(water_overlap), dtype=torch.float64)])
    torch.testing.assert_close(trust_matrix(overlaps, DELTA)[0], w, rtol=0, atol=1e-12)


def test_zero_padding_of_the_overlap_stays_zero(water_overlap):
    padded = torch.nn.functional.pad(water_overlap, (0, 5, 0, 5))
    w = trust_matrix(padded, DELTA)
    torch.testing.assert_close(w[:-5, :-5], trust_matrix(water_overlap, DELTA), rtol=0, atol=1e-13)
    assert not w[-5:].any()
