"""Levels around the gap of large matrices, without diagonalising them.

By Sylvester's law of inertia the symmetric factors of H − σ S tell how many levels lie below σ; so σ is moved
until it lies in the gap.  There the same factors serve shift-invert Lanczos, which converges to the levels on
either side in a few steps.  Both are checked by counting again, so that no level is missed.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

FIRST_SHIFT, FIRST_STEP = -0.1, 0.25
"""Hartree: where most molecules have their gap, and how far to go if not."""
MOST_SHIFTS = 24
"""Shifts that are tried before the matrix is left to a full diagonalisation."""
RESOLUTION = 1e-9
"""Hartree: levels closer than this count as one."""


class FrontierLevels(NamedTuple):
    """Levels next to the gap, Hartree, ascending."""

    below: NDArray[np.float64]
    """Highest occupied ones."""
    above: NDArray[np.float64]
    """Lowest unoccupied ones."""


class ShiftedFactors:
    """Symmetric indefinite factors (Bunch and Kaufman) of H − σ S.

    Parameters
    ----------
    hamiltonian, overlap
        H and S, Hartree, symmetric, (A, A).
    shift
        σ, Hartree.
    """

    def __init__(self, hamiltonian: NDArray[np.float64], overlap: NDArray[np.float64], shift: float) -> None:
        self.shift, size = shift, len(overlap)
        work = int(lapack.dsytrf_lwork(size, lower=1)[0])
        matrix = (hamiltonian - shift * overlap).T  # symmetric, and in the order of Fortran
        self.factors, self.pivots, self.failure = lapack.dsytrf(matrix, lower=1, lwork=work, overwrite_a=1)

    def levels_below(self) -> int:
        """Number of levels below σ: negative eigenvalues of the diagonal blocks of size one and two."""
        diagonal, pairs = np.diag(self.factors), np.flatnonzero(self.pivots < 0)
        single = int((diagonal[self.pivots > 0] < 0).sum())
        first = pairs[::2]  # blocks of two take two negative entries each
        beside = self.factors[first + 1, first]
        determinant = diagonal[first] * diagonal[first + 1] - beside**2
        both = (determinant > 0) & (diagonal[first] < 0)
        return single + int((determinant < 0).sum()) + 2 * int(both.sum())

    def solve(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
        """(H − σ S)⁻¹ times vectors, (A,) or (A, n)."""
        solution: NDArray[np.float64] = lapack.dsytrs(self.factors, self.pivots, right, lower=1)[0]
        return solution.reshape(right.shape)


def frontier_levels(
    hamiltonian: NDArray[np.float64], overlap: NDArray[np.float64], occupied: int, count: int = 1
) -> FrontierLevels | None:
    """Levels next to the gap; None where they are not found for certain, as without a gap.

    Parameters
    ----------
    hamiltonian, overlap
        H and S, Hartree, symmetric, (A, A); S must be positive definite.
    occupied
        Number of occupied levels.
    count
        Number of levels on either side; fewer where there are fewer.
    """
    below, above = min(count, occupied), min(count, len(overlap) - occupied)
    if below < 1 or above < 1:
        return None
    factors = _inside_the_gap(hamiltonian, overlap, occupied)
    if factors is None:
        return None
    found = _nearest(factors, overlap, 2 * max(below, above))
    if found is None:
        return None
    lower, upper = found[found < factors.shift][-below:], found[found > factors.shift][:above]
    if len(lower) < below or len(upper) < above:
        return None
    lowest, highest = lower[0] + RESOLUTION, upper[-1] - RESOLUTION
    counted = (
        (lowest, occupied - int((lower > lowest).sum())),
        (highest, occupied + int((upper < highest).sum())),
    )
    for shift, known in counted:
        check = ShiftedFactors(hamiltonian, overlap, float(shift))
        if check.failure or check.levels_below() != known:
            return None
    return FrontierLevels(lower, upper)


def _inside_the_gap(
    hamiltonian: NDArray[np.float64], overlap: NDArray[np.float64], occupied: int
) -> ShiftedFactors | None:
    """Factors for a shift that has all occupied levels below it, and no others."""
    low, high, shift, step = -np.inf, np.inf, FIRST_SHIFT, FIRST_STEP
    for _ in range(MOST_SHIFTS):
        factors = ShiftedFactors(hamiltonian, overlap, shift)
        if factors.failure:  # exactly at a level
            shift += 10 * RESOLUTION
            continue
        if (number := factors.levels_below()) == occupied:
            return factors
        if number < occupied:
            low = shift
        else:
            high = shift
        if np.isfinite(low) and np.isfinite(high):
            shift = 0.5 * (low + high)
        else:
            shift, step = (low + step if np.isfinite(low) else high - step), 2 * step
    return None


def _nearest(factors: ShiftedFactors, overlap: NDArray[np.float64], count: int) -> NDArray[np.float64] | None:
    """Levels nearest to the shift, half of them on either side, Hartree, ascending."""
    size = len(overlap)
    if count >= size:
        return None
    inverse: Any = LinearOperator((size, size), matvec=factors.solve, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    try:
        levels = eigsh(
            overlap, count, M=overlap, sigma=factors.shift, OPinv=inverse, which="BE", v0=start,
            return_eigenvectors=False, tol=1e-12,
        )  # fmt: skip
    except (ArpackError, np.linalg.LinAlgError):
        return None
    return np.sort(levels)
