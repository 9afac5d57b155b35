"""Choice of a viewpoint from which both signs of an orbital are visible."""

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.pictures.meshes import Mesh, flat_view

DIRECTIONS = 120
"""Points of view that are tried, over half a sphere: the other half shows the same from behind."""
CELL = 0.25
"""Å; of the raster on which it is counted what is in front."""
MOST_FACES = 6000
"""Largest number of faces of a surface; more are thinned out."""
BETTER = 1.1
"""Factor by which a point of view must be better than the flat side of the molecule."""


def view_of_both_signs(lobes: list[Mesh], atoms: Atoms) -> NDArray[np.float64]:
    """Rotation to the viewer's axes, (3, 3), that shows much of both signs and of the molecule.

    Parameters
    ----------
    lobes
        Surface of the positive sign and that of the negative one; with fewer the flat side is shown.
    atoms
        The molecule.
    """
    flat = flat_view(atoms)
    if len(lobes) < 2:
        return flat
    centres = [mesh.vertices[mesh.faces[:: 1 + len(mesh.faces) // MOST_FACES]].mean(1) for mesh in lobes]
    best, highest = flat, BETTER * _score(centres, atoms, flat)
    for direction in _half_sphere(DIRECTIONS):
        view = _upright(direction, flat)
        score = _score(centres, atoms, view)
        if score > highest:
            best, highest = view, score
    return best


def _score(centres: list[NDArray[np.float64]], atoms: Atoms, view: NDArray[np.float64]) -> float:
    """Share of the sign that is seen less, times how far apart the atoms are seen; 0 to 1."""
    areas = _visible(centres, view)
    if sum(areas) == 0:
        return 0.0
    seen = 2 * min(areas) / sum(areas)
    spread = np.square((atoms.positions - atoms.positions.mean(0)) @ view.T).sum(0)
    apart = (spread[0] + spread[1]) / spread.sum() if spread.sum() > 0 else 1.0
    return float(seen * (0.3 + 0.7 * apart))


def _visible(centres: list[NDArray[np.float64]], view: NDArray[np.float64]) -> list[int]:
    """Cells of the raster in which each surface is in front."""
    places = np.concatenate(centres) @ view.T  # (F, 3), z towards the viewer
    owners = np.repeat(np.arange(len(centres)), [len(c) for c in centres])
    cells = np.floor((places[:, :2] - places[:, :2].min(0)) / CELL).astype(int)
    number = cells[:, 0] * (cells[:, 1].max() + 1) + cells[:, 1]
    front = np.full(number.max() + 1, -1)
    order = np.argsort(places[:, 2])
    front[number[order]] = owners[order]  # the nearest to the viewer is written last
    return [int((front == k).sum()) for k in range(len(centres))]


def _half_sphere(count: int) -> NDArray[np.float64]:
    """Directions spread evenly, (count, 3), by the golden angle."""
    k = np.arange(count) + 0.5
    z, angle = k / count, np.pi * (1 + 5**0.5) * k
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def _upright(direction: NDArray[np.float64], flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """View from a direction with the long side of the molecule to the right, as far as it can be."""
    right = flat[0] - (flat[0] @ direction) * direction
    if np.linalg.norm(right) < 0.2:
        right = flat[1] - (flat[1] @ direction) * direction
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction])
