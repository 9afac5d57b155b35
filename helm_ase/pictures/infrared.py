"""Infrared spectra as text and as a picture."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from helm_ase.pictures.figure import check_format, formula_words, save
from helm_ase.prediction.infrared import InfraredSpectrum

WIDTH = 20.0
"""Full width at half maximum of the lines, cm⁻¹."""
ABOVE = 400.0
"""cm⁻¹ by which the axis goes beyond the highest vibration."""
LINE, STICK = "#2a6bb5", "0.35"


def intensity_table(infrared: InfraredSpectrum) -> str:
    """Wavenumber and infrared intensity of every vibration, lowest first, imaginary ones with an i."""
    lines = ["infrared intensities", "  wavenumber / cm^-1   intensity / km/mol"]
    for k in infrared.internal:
        wavenumber = infrared.wavenumbers[k]
        unit = "i" if wavenumber < 0 else " "
        lines.append(f"  {abs(wavenumber):17.1f}{unit}   {infrared.intensities[k]:18.1f}")
    return "\n".join(lines)


def draw_spectrum(infrared: InfraredSpectrum, path: str | Path, title: str = "") -> None:
    """Draw the spectrum with Lorentzian lines and write a picture (PNG, PDF, SVG by suffix).

    Raises
    ------
    SettingError
        If matplotlib cannot write that kind of file.
    """
    check_format(path)
    save(spectrum_figure(infrared, title), path)


def spectrum_figure(infrared: InfraredSpectrum, title: str = "") -> Figure:
    """Absorption over wavenumbers from high to low, as in spectroscopy, with a stick for each mode."""
    real = [k for k in infrared.internal if infrared.wavenumbers[k] > 0]
    places, heights = infrared.wavenumbers[real], infrared.intensities[real]
    grid = np.linspace(0.0, places.max(initial=0.0) + ABOVE, 4000)
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(grid, infrared.broadened(grid, WIDTH), color=LINE, linewidth=1.2)
    axes.set_xlim(grid[-1], grid[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"harmonic wavenumber / cm⁻¹   (lines {WIDTH:g} cm⁻¹ wide)")
    axes.set_ylabel("absorption / (km/mol) / cm⁻¹", color=LINE)
    axes.tick_params(axis="y", colors=LINE)
    sticks = axes.twinx()
    sticks.vlines(places, 0, heights, color=STICK, linewidth=1.0)
    sticks.set_ylim(bottom=0)
    sticks.set_ylabel("sticks: intensity / (km/mol)", color=STICK)
    sticks.tick_params(axis="y", colors=STICK)
    if title:
        axes.set_title(formula_words(title))
    return figure
