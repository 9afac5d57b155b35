"""Density of states as a picture."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from helm_ase.electronic import ElectronicStructure
from helm_ase.errors import SettingError
from helm_ase.pictures.figure import check_format, formula_words, save
from helm_ase.units import HARTREE_IN_EV

DEGREES = "spdfghi"


def draw_density_of_states(
    structure: ElectronicStructure,
    path: str | Path,
    title: str = "",
    width: float = 0.3,
    window: tuple[float, float] | None = None,
) -> None:
    """Draw the Gaussian-broadened density of states with its shares of s, p, d … functions.

    Parameters
    ----------
    structure
        With the integrals of its geometry.
    path
        File to write (PNG, PDF, SVG by suffix).
    title
        Heading.
    width
        Standard deviation of the Gaussians, eV.
    window
        Lowest and highest energy shown, eV; absent: from 20 eV below the HOMO to 10 eV above the LUMO.

    Raises
    ------
    SettingError
        If the width or the window makes no sense, or matplotlib cannot write that kind of file.
    """
    check_format(path)
    save(density_of_states_figure(structure, title, width, window), path)


def density_of_states_figure(
    structure: ElectronicStructure, title: str, width: float = 0.3, window: tuple[float, float] | None = None
) -> Figure:
    """Figure of :func:`draw_density_of_states`."""
    low, high = window or _around_gap(structure)
    if not low < high:
        raise SettingError(f"the window from {low} to {high} eV is empty")
    energies = np.linspace(low, high, 1200)
    shares = structure.density_of_states(
        torch.from_numpy(energies) / HARTREE_IN_EV, width / HARTREE_IN_EV, by="degree"
    )
    curves = shares.detach().numpy() / HARTREE_IN_EV  # states/eV, (s, L, G)
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for spin, sign in zip(range(structure.n_spins), (1, -1), strict=False):
        axes.plot(
            energies, sign * curves[spin].sum(0), color="0.2", lw=1.2, label="all" if spin == 0 else None
        )
        for l, curve in enumerate(curves[spin]):
            axes.plot(energies, sign * curve, color=f"C{l}", lw=0.9, label=DEGREES[l] if spin == 0 else None)
    for level, name in ((structure.homo, "HOMO"), (structure.lumo, "LUMO")):
        if np.isfinite(level):
            axes.axvline(level * HARTREE_IN_EV, color="0.6", lw=0.8, ls="--")
            axes.text(
                level * HARTREE_IN_EV,
                0.985,
                f"{name} ",
                transform=axes.get_xaxis_transform(),
                rotation=90,
                va="top",
                ha="right",
                color="0.4",
            )
    axes.set(xlabel="energy / eV", ylabel="states per eV", title=formula_words(title), xlim=(low, high))
    axes.legend(frameon=False, ncols=2)
    return figure


def _around_gap(structure: ElectronicStructure) -> tuple[float, float]:
    levels = structure.orbital_energies.detach() * HARTREE_IN_EV
    homo = structure.homo * HARTREE_IN_EV if np.isfinite(structure.homo) else float(levels.min())
    lumo = structure.lumo * HARTREE_IN_EV if np.isfinite(structure.lumo) else float(levels.max())
    return homo - 20.0, lumo + 10.0
