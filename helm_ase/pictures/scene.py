"""Interactive three-dimensional view of a molecule and its orbitals, by plotly."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.electronic import ElectronicStructure
from helm_ase.electronic.fields import Grid, sample_field
from helm_ase.errors import SettingError
from helm_ase.pictures.meshes import Mesh, flat_view, molecule_mesh, orbital_meshes
from helm_ase.pictures.viewpoint import view_of_both_signs

SIZE = 2.0
"""Length of the longest axis of the scene, in units of the view."""
MOST_NUMBERS = 40
"""Atoms up to which hydrogens have their numbers in the picture, too."""
LIGHTING = {"ambient": 0.7, "diffuse": 0.55, "specular": 0.2, "roughness": 0.5}


def check_plotly() -> None:
    """Refuse early where plotly or scikit-image is missing.

    Raises
    ------
    SettingError
        With the way to get them.
    """
    for name, package in (("plotly", "plotly"), ("skimage", "scikit-image")):
        if find_spec(name) is None:
            raise SettingError(f"the report needs {package}: pip install 'helm-ase[report]'")


def scene(
    structure: ElectronicStructure, atoms: Atoms, orbitals: list[tuple[str, int]], spacing: float
) -> Any:
    """Plotly figure of balls and sticks, with a button for each orbital and one for none.

    Parameters
    ----------
    structure
        With the integrals of its geometry.
    atoms
        The geometry.
    orbitals
        Name (``homo``, ``lumo+1`` …) and spin of each.
    spacing
        Spacing of the grid on which they are computed, Å.

    Raises
    ------
    SettingError
        If there is no such orbital, or plotly or scikit-image is missing.
    """
    check_plotly()
    import plotly.graph_objects as go

    grid = Grid.around(atoms.positions, spacing)
    traces, owners = [_trace(molecule_mesh(atoms)), _labels(atoms)], [-1, -1]
    cameras = []
    for k, (name, spin) in enumerate(orbitals):
        lobes = orbital_meshes(sample_field(structure, name, grid, spin), grid)
        traces += [_trace(mesh) for mesh in lobes]
        owners += [k] * len(lobes)
        cameras.append(_camera(view_of_both_signs(lobes, atoms)))
    cameras.append(_camera(flat_view(atoms)))
    titles = [_title(structure, name, spin) for name, spin in orbitals]
    for trace, owner in zip(traces, owners, strict=True):
        trace.visible = owner in (-1, 0)
    figure = go.Figure(traces)
    figure.update_layout(
        scene={**_axes(traces), "camera": cameras[0], "annotations": _numbers(atoms)},
        margin={"l": 0, "r": 0, "t": 40, "b": 0}, showlegend=False, uirevision="kept",
        updatemenus=[_buttons(titles, owners, cameras)],
    )  # fmt: skip
    return figure


def _axes(traces: list[Any]) -> dict[str, Any]:
    """Hidden axes with equal scales on which everything, shown or not, fills the view."""
    low = np.array([min(float(np.min(trace[axis])) for trace in traces) for axis in "xyz"])
    high = np.array([max(float(np.max(trace[axis])) for trace in traces) for axis in "xyz"])
    extent = np.maximum(high - low, 1.0)
    middle = 0.5 * (low + high)
    ends = np.stack([middle - 0.5 * extent, middle + 0.5 * extent], axis=1).tolist()
    ratio = dict(zip("xyz", (SIZE * extent / extent.max()).tolist(), strict=True))
    axes = {f"{name}axis": {"visible": False, "range": ends[k]} for k, name in enumerate("xyz")}
    return {**axes, "aspectmode": "manual", "aspectratio": ratio}


def _camera(view: NDArray[np.float64]) -> dict[str, Any]:
    _, up, viewer = (dict(zip("xyz", (1.2 * row).tolist(), strict=True)) for row in view)
    return {"eye": viewer, "up": up, "projection": {"type": "orthographic"}}


def _numbers(atoms: Atoms) -> list[dict[str, Any]]:
    """Numbers of the atoms, as in the tables, always in front; of large molecules without the hydrogens."""
    shown = [k for k, z in enumerate(atoms.numbers) if z > 1 or len(atoms) <= MOST_NUMBERS]
    return [
        {
            **dict(zip("xyz", np.round(atoms.positions[k], 4).tolist(), strict=True)),
            "text": str(k), "showarrow": False, "font": {"size": 11, "color": "#111"},
            "bgcolor": "rgba(255,255,255,0.55)", "borderpad": 1,
        }
        for k in shown
    ]  # fmt: skip


def _trace(mesh: Mesh) -> Any:
    """Opaque surface: of translucent ones the browser shows the last in front, wherever it is."""
    import plotly.graph_objects as go

    (x, y, z), (i, j, k) = np.round(mesh.vertices, 4).T, mesh.faces.T
    levels = np.round(255 * mesh.colours).astype(int)
    colours = [f"rgb({r},{g},{b})" for r, g, b in levels]
    same = len(set(colours)) == 1
    return go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, lighting=LIGHTING, hoverinfo="skip", flatshading=False,
        **({"color": colours[0]} if same else {"facecolor": colours}),
    )  # fmt: skip


def _labels(atoms: Atoms) -> Any:
    import plotly.graph_objects as go

    x, y, z = np.round(atoms.positions, 4).T
    names = [f"{symbol}{k}" for k, symbol in enumerate(atoms.symbols)]
    return go.Scatter3d(
        x=x, y=y, z=z, mode="markers", marker={"size": 12, "opacity": 0.01}, text=names,
        hovertemplate="%{text}<br>%{x:.3f}, %{y:.3f}, %{z:.3f} Å<extra></extra>",
    )  # fmt: skip


def _buttons(titles: list[str], owners: list[int], cameras: list[dict[str, Any]]) -> dict[str, Any]:
    """One for each orbital, which turns the view so that both signs are seen, and one for atoms only."""
    buttons = [
        {
            "label": title,
            "method": "update",
            "args": [{"visible": [owner in (-1, k) for owner in owners]}, {"scene.camera": camera}],
        }
        for k, (title, camera) in enumerate(zip([*titles, "atoms only"], cameras, strict=True))
    ]
    return {
        "type": "buttons", "direction": "right", "buttons": buttons, "x": 0.0, "xanchor": "left",
        "y": 1.08, "yanchor": "bottom", "showactive": True,
    }  # fmt: skip


def _title(structure: ElectronicStructure, name: str, spin: int) -> str:
    return name.upper() if structure.n_spins == 1 else f"{name.upper()} {'αβ'[spin]}"
