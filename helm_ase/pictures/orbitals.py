"""Isosurface of an orbital around its molecule as a picture."""

from pathlib import Path

import numpy as np
from ase import Atoms
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from helm_ase.electronic import ElectronicStructure
from helm_ase.electronic.fields import Grid, sample_field
from helm_ase.pictures.figure import check_format, save
from helm_ase.pictures.meshes import Mesh, flat_view, joined, molecule_mesh, orbital_meshes

LIGHT = np.array([-0.35, 0.45, 0.82])
"""Towards the lamp: x to the right, y up, z to the viewer."""
OPACITY = 0.62


def draw_orbital(
    structure: ElectronicStructure,
    atoms: Atoms,
    path: str | Path,
    orbital: str | int = "homo",
    spin: int = 0,
    share: float = 0.8,
    spacing: float = 0.15,
    title: str = "",
) -> None:
    """Draw the two signs of an orbital around balls and sticks, seen across the molecule's flat side.

    Parameters
    ----------
    structure
        With the integrals of its geometry.
    atoms
        The geometry.
    path
        File to write (PNG, PDF, SVG by suffix).
    orbital, spin
        ``homo``, ``lumo+1``, …, or a number from 0; 0 or 1.
    share
        Share of the orbital's density that the surface encloses.
    spacing
        Spacing of the grid, Å.
    title
        Heading.

    Raises
    ------
    SettingError
        If there is no such orbital, share or format, or scikit-image is missing.
    """
    check_format(path)
    grid = Grid.around(atoms.positions, spacing)
    lobes = orbital_meshes(sample_field(structure, orbital, grid, spin), grid, share)
    save(scene_figure(molecule_mesh(atoms, 3), lobes, flat_view(atoms), title), path)


def scene_figure(solid: Mesh, transparent: list[Mesh], view: NDArray[np.float64], title: str) -> Figure:
    """Triangles far to near, shaded by a lamp.

    Parameters
    ----------
    solid, transparent
        What is drawn.
    view
        Rotation to the viewer's axes, (3, 3).
    title
        Heading.
    """
    everything = joined([solid, *transparent])
    corners = everything.vertices[everything.faces] @ view.T  # (F, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
    brightness = 0.45 + 0.55 * np.abs(normals @ (LIGHT / np.linalg.norm(LIGHT)))
    colours = np.ones((len(corners), 4))
    colours[:, :3] = everything.colours * brightness[:, None]
    colours[len(solid.faces) :, 3] = OPACITY
    order = np.argsort(corners[:, :, 2].mean(1))
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.add_collection(
        PolyCollection(list(corners[order][:, :, :2]), facecolors=colours[order], edgecolors="none")
    )
    axes.autoscale_view()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title)
    return figure
