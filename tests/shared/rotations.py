"""Real spherical harmonics and what rotations do to them and to AOs, without the package's own formulas."""

from functools import cache

import numpy as np
from scipy.special import sph_harm_y
from scipy.stats import ortho_group, special_ortho_group


def real_harmonic(l, m, vectors):
    """Real spherical harmonic of unit norm: polar axis z, m < 0: sin |m|φ, m > 0: cos mφ, no phase (−1)^m."""
    x, y, z = np.asarray(vectors, dtype=float).T
    theta, phi = np.arccos(z / np.sqrt(x**2 + y**2 + z**2)), np.arctan2(y, x)
    value = sph_harm_y(l, abs(m), theta, phi) * (-1) ** abs(m)
    return value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag)


def real_harmonics(l, vectors):
    """All m = −l … l, shape (2l + 1, points)."""
    return np.stack([real_harmonic(l, m, vectors) for m in range(-l, l + 1)])


@cache
def _points(count=200):
    return np.random.default_rng(7).normal(size=(count, 3))


def wigner(l, operation):
    """Matrix D with Y(R r) = D Y(r), fitted on points; R may be improper."""
    points = _points()
    before, after = real_harmonics(l, points), real_harmonics(l, points @ np.asarray(operation).T)
    return np.linalg.lstsq(before.T, after.T, rcond=None)[0].T


def ao_rotation(basis, numbers, operation):
    """How the AOs of a molecule (m = −l … l in every shell) answer to a rotation or reflection."""
    degrees = basis.degrees(numbers)
    blocks = {l: wigner(l, operation) for l in set(degrees)}
    size, start = basis.size(numbers), 0
    d = np.zeros((size, size))
    for l in degrees:
        d[start : start + 2 * l + 1, start : start + 2 * l + 1] = blocks[l]
        start += 2 * l + 1
    return d


def rotation(seed):
    return special_ortho_group.rvs(3, random_state=seed)


def improper(seed):
    """A rotation times an inversion or a reflection, never a proper rotation."""
    r = ortho_group.rvs(3, random_state=seed)
    return r if np.linalg.det(r) < 0 else -r
