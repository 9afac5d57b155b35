"""Placement of two molecules at a random distance and orientation."""

import numpy as np
from numpy.typing import NDArray


def place(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    contact: tuple[float, float],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Both geometries, turned at random, the second as far away as the drawn contact distance asks; Å.

    Parameters
    ----------
    first, second
        Å, (N, 3) and (M, 3).
    contact
        Range of the closest distance between an atom of the first and one of the second, Å.

    Returns
    -------
    positions
        Å, (N + M, 3).
    """
    distance = random.uniform(*contact)
    while True:
        one, two = (_turn(x - x.mean(axis=0), random) for x in (first, second))
        direction = random.standard_normal(3)
        shift = _shift_to_contact(one, two, direction / np.linalg.norm(direction), distance)
        if shift is not None:
            return np.vstack([one, two + shift])


def _shift_to_contact(
    one: NDArray[np.float64], two: NDArray[np.float64], direction: NDArray[np.float64], distance: float
) -> NDArray[np.float64] | None:
    """Farthest shift along ``direction`` at which some pair of atoms is ``distance`` apart."""
    apart = (two[None] - one[:, None]).reshape(-1, 3)
    along = apart @ direction
    root = along**2 - (apart**2).sum(axis=1) + distance**2
    if not (root >= 0).any():  # the molecules would pass each other
        return None
    return float((np.sqrt(root[root >= 0]) - along[root >= 0]).max()) * direction


def _turn(positions: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Rotated at random, uniformly: a normalised Gaussian quaternion."""
    w, x, y, z = (q := random.standard_normal(4)) / np.linalg.norm(q)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.asarray(positions @ rotation.T)
