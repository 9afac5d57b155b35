"""Weights of blocks by the overlap of their atoms."""

import numpy as np
import pytest

from helm_ase.representation.overlap import TOUCHING, overlap_envelope

STARTS = np.array([0, 2, 5])


def overlap(between):
    """Two atoms with two and three functions, and one element of this size between them."""
    s = np.eye(5)
    s[1, 3] = s[3, 1] = between
    return s


def weight(between):
    weights = overlap_envelope(overlap(between), STARTS)
    assert np.array_equal(weights, weights.T)
    assert np.all(weights[:2, :2] == 1)
    assert np.all(weights[2:, 2:] == 1)
    block = weights[:2, 2:]
    assert np.ptp(block) == 0
    return float(block[0, 0])


def test_touching_atoms_keep_their_block_to_the_last_bit_and_separate_ones_lose_it():
    assert weight(0.3) == weight(-0.3) == weight(TOUCHING) == 1
    assert weight(0.0) == 0
    assert 0 < weight(1e-5) < 1e-4


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99])
def test_in_between_it_rises_smoothly(share):
    here = TOUCHING * share
    assert weight(0.98 * here) < weight(here) < weight(1.001 * here)
    assert weight(here) == pytest.approx(3 * share**2 - 2 * share**3)
