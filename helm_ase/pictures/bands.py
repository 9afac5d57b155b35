"""Picture of a band structure with the density of states beside it, total or projected."""

from pathlib import Path

import numpy as np
from ase.spectrum.band_structure import BandStructure
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from helm_ase.electronic.bands import Bands, Gap, gap_of
from helm_ase.errors import SettingError
from helm_ase.pictures.figure import check_format, save
from helm_ase.units import HARTREE_IN_EV

POINTS = 1500
"""Energies of the density of states."""

MOST_GROUPS = 10
"""Curves of a projected density of states that can be told apart."""

Projection = tuple[list[str], NDArray[np.float64]]
"""Names of groups of functions, and their populations in the levels of the mesh, (s, K, P, A)."""


def draw_bands(
    structure: BandStructure,
    mesh: Bands,
    path: str | Path,
    title: str = "",
    window: tuple[float, float] | None = None,
    width: float = 0.15,
    projection: Projection | None = None,
) -> None:
    """Draw bands from the Fermi level on, and the Gaussian-broadened density of states of a mesh.

    Parameters
    ----------
    structure
        Along a path; its reference is the Fermi level.
    mesh
        Mesh of the same crystal.
    path
        File to write (PNG, PDF, SVG by suffix).
    title
        Heading; the gap is added.
    window
        Lowest and highest energy shown, eV from the Fermi level; absent: all bands.
    width
        Standard deviation of the Gaussians, eV.
    projection
        Groups of functions that get curves of their own in the density of states, from
        :meth:`~helm_ase.HELMCalculator.get_band_populations`.

    Raises
    ------
    SettingError
        If matplotlib cannot write that kind of file, or there are too many groups.
    """
    check_format(path)
    save(bands_figure(structure, mesh, title, window, width, projection), path)


def bands_figure(
    structure: BandStructure,
    mesh: Bands,
    title: str,
    window: tuple[float, float] | None,
    width: float,
    projection: Projection | None = None,
) -> Figure:
    """Figure of :func:`draw_bands`."""
    energies = structure.energies[0] - structure.reference
    low, high = window or _range_of(energies)
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    place, corners, names = structure.path.get_linear_kpoint_axis()
    left.plot(place, energies, color="C0", lw=1.2)
    left.set_xticks(corners, ["Γ" if name == "G" else name for name in names])
    left.set(xlim=(place[0], place[-1]), ylim=(low, high), ylabel="energy − Fermi level (eV)")
    left.set_title(", ".join(filter(None, [title, describe_gap(gap_of_both(structure, mesh))])))
    for x in corners:
        left.axvline(x, color="0.8", lw=0.8, zorder=0)
    _density(right, mesh, (low, high), width, projection)
    for axes in (left, right):
        axes.axhline(0, color="0.5", lw=0.8, ls="--", zorder=0)
    return figure


def draw_density_of_bands(mesh: Bands, path: str | Path, title: str = "", width: float = 0.15) -> None:
    """Draw the Gaussian-broadened density of states of a mesh, in energies from the Fermi level.

    Parameters
    ----------
    mesh
        Levels of a crystal.
    path
        File to write (PNG, PDF, SVG by suffix).
    title
        Heading; the gap is added.
    width
        Standard deviation of the Gaussians, eV.

    Raises
    ------
    SettingError
        If matplotlib cannot write that kind of file.
    """
    check_format(path)
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    window = _range_of((mesh.levels.detach().numpy() - mesh.fermi_level) * HARTREE_IN_EV)
    grid, curves = _curves(mesh, window, width)
    axes.plot(grid, curves.sum(0), color="0.2", lw=1.0)
    axes.axvline(0, color="0.5", lw=0.8, ls="--", zorder=0)
    axes.set(xlabel="energy − Fermi level (eV)", ylabel="states per eV", xlim=window, ylim=(0, None))
    axes.set_title(", ".join(filter(None, [title, describe_gap(mesh.gap)])))
    save(figure, path)


def _range_of(energies: NDArray[np.float64]) -> tuple[float, float]:
    """From an eV below the lowest to an eV above the highest level that is known."""
    known = energies[np.isfinite(energies)]
    return float(known.min()) - 1, float(known.max()) + 1


def _curves(
    mesh: Bands, window: tuple[float, float], width: float, populations: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies from the Fermi level, eV, and the densities of states of both spins or of groups, 1/eV."""
    import torch

    grid = np.linspace(*window, POINTS)
    points = torch.from_numpy(grid) / HARTREE_IN_EV + mesh.fermi_level
    given = () if populations is None else (populations,)
    return grid, mesh.density_of_states(points, width / HARTREE_IN_EV, *given).numpy() / HARTREE_IN_EV


def _density(
    axes: Axes, mesh: Bands, window: tuple[float, float], width: float, projection: Projection | None
) -> None:
    grid, curves = _curves(mesh, window, width)
    axes.plot(curves.sum(0), grid, color="0.2", lw=1.0, label="all")
    if projection is not None:
        names, populations = projection
        if len(names) > MOST_GROUPS:
            raise SettingError(
                f"{len(names)} curves cannot be told apart (limit {MOST_GROUPS}): project on elements or "
                "degrees"
            )
        _, parts = _curves(mesh, window, width, populations)
        for name, curve in zip(names, parts.sum(0), strict=True):
            axes.plot(curve, grid, lw=0.9, label=name)
        axes.legend(frameon=False)
    axes.set(xlabel="states per eV", xlim=(0, None))


def gap_of_both(structure: BandStructure, mesh: Bands) -> Gap:
    """Gap among the points of the path and of the mesh: each misses band edges that the other may hold."""
    import torch

    path = torch.from_numpy(structure.energies / HARTREE_IN_EV)
    return gap_of(torch.cat([mesh.levels.detach(), path], dim=1), mesh.electrons / mesh.capacity)


def describe_gap(gap: Gap) -> str:
    """A gap in words, e.g. ``gap 5.41 eV (indirect)``; one that rounds to zero is ``no gap``."""
    width = f"{gap.fundamental * HARTREE_IN_EV:.2f}"
    if float(width) <= 0:
        return "no gap"
    return f"gap {width} eV ({'direct' if gap.is_direct else 'indirect'})"


def zero_of_energy(periodic: bool) -> str:
    """From where the levels of a crystal count, in words; ``periodic``: in all three directions."""
    return "from the mean potential" if periodic else "from the vacuum"
