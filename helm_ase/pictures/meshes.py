"""Molecules and isosurfaces as triangles."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray

from helm_ase.electronic.fields import Grid
from helm_ase.errors import SettingError

BALL, STICK = 0.45, 0.09
"""Radius of an atom over its covalent radius; radius of a bond in Å."""
BOND_STRETCH = 1.25
"""Largest distance of a bond over the sum of the covalent radii."""
POSITIVE, NEGATIVE = (0.16, 0.42, 0.78), (0.85, 0.33, 0.16)
"""Colours of the two signs of an orbital."""


@dataclass(frozen=True)
class Mesh:
    """Triangles with a colour each."""

    vertices: NDArray[np.float64]
    """Å, (V, 3)."""
    faces: NDArray[np.int64]
    """Counter-clockwise from outside, (F, 3)."""
    colours: NDArray[np.float64]
    """Red, green, blue between 0 and 1, (F, 3)."""


def joined(meshes: list[Mesh]) -> Mesh:
    """One mesh of several."""
    shifts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + shift for m, shift in zip(meshes, shifts, strict=False)]),
        np.concatenate([m.colours for m in meshes]),
    )


def molecule_mesh(atoms: Atoms, divisions: int = 2) -> Mesh:
    """Balls and sticks in Jmol's colours; each division makes four triangles of one."""
    balls = [
        _painted(*sphere(divisions), BALL * covalent_radii[z], position, jmol_colors[z])
        for z, position in zip(atoms.numbers, atoms.positions, strict=True)
    ]
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BOND_STRETCH))
    sticks = [_half_stick(atoms, i, j) for i, j in zip(first, second, strict=True)]
    return joined(balls + sticks)


def orbital_meshes(values: NDArray[np.float64], grid: Grid, share: float = 0.8) -> list[Mesh]:
    """Surfaces of both signs that enclose a share of the density of an orbital.

    Parameters
    ----------
    values
        Orbital on the grid, (nx, ny, nz).
    grid
        Its points.
    share
        Between 0 and 1.

    Raises
    ------
    SettingError
        If the share is out of range, or scikit-image is missing.
    """
    level = isovalue(values, share)
    return [
        isosurface(sign * values, level, grid, colour)
        for sign, colour in ((1.0, POSITIVE), (-1.0, NEGATIVE))
        if (sign * values).max() > level
    ]


def isovalue(values: NDArray[np.float64], share: float) -> float:
    """|ψ| above which the given share of Σ ψ² lies.

    Raises
    ------
    SettingError
        If the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise SettingError(f"share is {share}; it must lie between 0 and 1")
    squares = np.sort(np.square(values).ravel())[::-1]
    sums = np.cumsum(squares)
    return float(np.sqrt(squares[np.searchsorted(sums, share * sums[-1])]))


def isosurface(
    values: NDArray[np.float64], level: float, grid: Grid, colour: tuple[float, float, float]
) -> Mesh:
    """Surface on which a field has a value, by marching cubes.

    Raises
    ------
    SettingError
        If scikit-image is missing.
    """
    if find_spec("skimage") is None:
        raise SettingError("isosurfaces need scikit-image: pip install 'helm-ase[report]'")
    from skimage.measure import marching_cubes

    vertices, faces, *_ = marching_cubes(
        values, level, spacing=(grid.spacing,) * 3, gradient_direction="ascent"
    )
    colours = np.broadcast_to(colour, (len(faces), 3))
    return Mesh(vertices + grid.origin, faces.astype(np.int64), np.array(colours))


def flat_view(atoms: Atoms) -> NDArray[np.float64]:
    """Rotation that turns the longest extent to the right and the shortest to the viewer, (3, 3)."""
    centred = atoms.positions - atoms.positions.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    right, up = axes[:, 2], axes[:, 1]
    return np.stack([right, up, np.cross(right, up)])


def sphere(divisions: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Unit sphere from an octahedron, corners (V, 3) and triangles (F, 3)."""
    vertices = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(divisions):
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        middles = np.concatenate([a + b, b + c, c + a])
        middles /= np.linalg.norm(middles, axis=1, keepdims=True)
        n, f = len(vertices), len(faces)
        ab, bc, ca = (n + k * f + np.arange(f) for k in range(3))
        corners = faces.T
        faces = np.concatenate(
            [
                np.stack(t, 1)
                for t in ((corners[0], ab, ca), (ab, corners[1], bc), (ca, bc, corners[2]), (ab, bc, ca))
            ]
        )
        vertices = np.concatenate([vertices, middles])
    return vertices, faces


def _painted(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], radius: float, centre: NDArray[np.float64],
    colour: NDArray[np.float64],
) -> Mesh:  # fmt: skip
    return Mesh(radius * vertices + centre, faces, np.tile(colour, (len(faces), 1)))


def _half_stick(atoms: Atoms, i: int, j: int, sides: int = 10) -> Mesh:
    """Open cylinder from an atom to the middle of a bond, in the atom's colour."""
    start, axis = atoms.positions[i], 0.5 * (atoms.positions[j] - atoms.positions[i])
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    other = np.cross(axis / np.linalg.norm(axis), across)
    angles = 2 * np.pi * np.arange(sides) / sides
    ring = STICK * (np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * other)
    here, right = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = np.concatenate(
        [np.stack([here, right, sides + right], 1), np.stack([here, sides + right, sides + here], 1)]
    )
    colours = np.tile(jmol_colors[atoms.numbers[i]], (len(faces), 1))
    return Mesh(np.concatenate([start + ring, start + axis + ring]), faces, colours)
