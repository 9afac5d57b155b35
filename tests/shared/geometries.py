"""Small molecules without any symmetry, and linear ones: atomic numbers and positions (Å)."""

import numpy as np

WATER = ([8, 1, 1], [[0.00, 0.02, 0.12], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]])
FORMAMIDE = (
    [8, 6, 7, 1, 1, 1],
    [
        [1.19, 0.24, 0.02],
        [0.01, 0.39, -0.03],
        [-0.94, -0.56, 0.05],
        [-0.44, 1.41, 0.11],
        [-0.66, -1.52, -0.14],
        [-1.92, -0.32, 0.21],
    ],
)
ETHENE = (
    [6, 6, 1, 1, 1, 1],
    [
        [0.00, 0.05, 0.67],
        [0.03, -0.01, -0.66],
        [0.02, 0.93, 1.24],
        [-0.05, -0.91, 1.25],
        [0.01, 0.94, -1.22],
        [0.11, -0.89, -1.26],
    ],
)
CO2 = ([8, 6, 8], [-1.17, 0.0, 1.16])
"""Numbers and positions along a line."""
HCN = ([1, 6, 7], [-1.07, 0.0, 1.15])


def line(values, axis):
    """Positions along a Cartesian axis."""
    positions = np.zeros((len(values), 3))
    positions[:, axis] = values
    return positions
