"""Pictures of an assessment; matplotlib's global state stays as it is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helm_ase.evaluation.assessment import Assessment, MoleculeReport
from helm_ase.evaluation.breakdown import BIN_WIDTH, ON_SITE, Breakdown
from helm_ase.evaluation.statistics import values
from helm_ase.system.atomic_write import whole_file

MODEL, BASELINE = "tab:blue", "0.6"
DPI = 150


def draw_all(assessment: Assessment, folder: Path, name: str) -> list[Path]:
    """Draw every picture into a folder; of a model that predicts no Hamiltonian, only that of the sizes.

    Parameters
    ----------
    assessment
        What to draw.
    folder
        Where to; it must exist.
    name
        Name of the model.

    Returns
    -------
    list
        Files written.
    """
    written = []
    for file, draw in PICTURES.items():
        if not assessment.model.pairs and draw is not draw_size:
            continue
        figure = draw(assessment, name)
        save_figure(figure, folder / file)
        written.append(folder / file)
    return written


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG that appears complete or not at all."""
    FigureCanvasAgg(figure)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")


def draw_parity(assessment: Assessment, name: str) -> Figure:
    """HOMO, LUMO and gap, predicted against reference."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    reports = assessment.molecules
    levels: dict[str, Callable[[Any], float]] = {
        "HOMO": lambda x: x.homo,
        "LUMO": lambda x: x.lumo,
        "gap": lambda x: x.lumo - x.homo,
    }
    for axes, (title, of) in zip(figure.subplots(1, 3), levels.items(), strict=True):
        reference = [of(r) for r in reports]
        axes.plot(reference, [of(r.baseline) for r in reports], "x", ms=4, color=BASELINE, label="H0 alone")
        axes.plot(reference, [of(r.model) for r in reports], ".", color=MODEL, label=name)
        known = [x for x in reference if np.isfinite(x)]
        if known:
            axes.axline((min(known), min(known)), slope=1, color="k", lw=0.8)
        axes.set(title=title, xlabel="reference (eV)", ylabel="predicted (eV)")
    axes.legend()
    return figure


def draw_distance(assessment: Assessment, name: str) -> Figure:
    """Mean absolute element of the error of H against the distance of the two atoms."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for label, breakdown, color in (
        (name, assessment.model, MODEL),
        ("H0 alone", assessment.baseline, BASELINE),
    ):
        bins = [k for k in breakdown.distances if k != ON_SITE]
        middle = [(k + 0.5) * BIN_WIDTH for k in bins]
        mean = [1e6 * breakdown.distances[k].mean for k in bins]
        axes.plot(middle, mean, "o-", ms=4, color=color, label=label)
        if ON_SITE in breakdown.distances:
            axes.plot([0], [1e6 * breakdown.distances[ON_SITE].mean], "*", ms=11, color=color)
    axes.set_yscale("log" if any(t.absolute for t in assessment.model.distances.values()) else "linear")
    axes.set(xlabel="distance (Å); star: an atom with itself", ylabel="mean |ΔH| (µEh)")
    axes.legend()
    return figure


def draw_element_pairs(assessment: Assessment, name: str) -> Figure:
    """Heat map of the mean absolute element for every pair of elements, on-site blocks apart."""
    breakdown = assessment.model
    elements = sorted({z for low, high, _ in breakdown.pairs for z in (low, high)})
    side = 1.4 + 0.45 * len(elements)
    figure = Figure(figsize=(side + 3.2, side + 0.6), layout="constrained")
    axes, own = figure.subplots(1, 2, width_ratios=[len(elements), 1])
    image = _pair_matrix(breakdown, elements)
    column = np.array([[_mean(breakdown, (z, z, True))] for z in elements])
    top = np.nanmax([np.nanmax(image, initial=0), np.nanmax(column, initial=0)])
    for where, picture in ((axes, image), (own, column)):
        shown = where.imshow(picture, vmin=0, vmax=top, cmap="viridis", aspect="equal")
        for (row, col), value in np.ndenumerate(picture):
            if np.isfinite(value):
                color = "white" if value < 0.6 * top else "black"
                where.text(col, row, f"{value:.3g}", ha="center", va="center", fontsize=7, color=color)
        where.set_yticks(range(len(elements)), [chemical_symbols[z] for z in elements])
    axes.set_xticks(range(len(elements)), [chemical_symbols[z] for z in elements])
    axes.set_title(f"two atoms, {name}")
    own.set_xticks([])
    own.set_title("one atom")
    figure.colorbar(shown, ax=[axes, own], label="mean |ΔH| (µEh)")
    return figure


def _pair_matrix(breakdown: Breakdown, elements: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[_mean(breakdown, (min(a, b), max(a, b), False)) for b in elements] for a in elements])


def _mean(breakdown: Breakdown, pair: tuple[int, int, bool]) -> float:
    return 1e6 * breakdown.pairs[pair].mean if pair in breakdown.pairs else float("nan")


def draw_gap_histogram(assessment: Assessment, name: str) -> Figure:
    """Distribution of the signed error of the gap."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    errors = values("gap", assessment.molecules)
    errors = errors[np.isfinite(errors)]
    if errors.size:
        limit = max(float(np.percentile(np.abs(errors), 99)), 1e-6)
        bins = np.linspace(-limit, limit, 41)
        axes.hist(errors.clip(-limit, limit), bins.tolist(), color=MODEL)
        axes.axvline(float(np.median(errors)), color="k", lw=0.8, label=f"median {np.median(errors):+.3f} eV")
        axes.legend()
    axes.set(xlabel="gap, predicted − reference (eV); outliers in the last bins", ylabel="molecules")
    axes.set_title(name)
    return figure


def draw_size(assessment: Assessment, name: str) -> Figure:
    """Errors of H and of the energy against the number of atoms."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    atoms = [r.atoms for r in assessment.molecules]
    _scatter_by_size(left, atoms, assessment.molecules, "hamiltonian", "mean |ΔH| (µEh)")
    _scatter_by_size(right, atoms, assessment.molecules, "energy_molecule", "energy error (meV per molecule)")
    left.set_title(name)
    return figure


def _scatter_by_size(
    axes: Any, atoms: Sequence[int], reports: Sequence[MoleculeReport], quantity: str, label: str
) -> None:
    errors = np.abs(values(quantity, reports))
    axes.plot(atoms, errors, ".", color=MODEL, alpha=0.6)
    sizes = sorted({n for n, x in zip(atoms, errors, strict=True) if np.isfinite(x)})
    means = [np.nanmean(errors[np.array(atoms) == n]) for n in sizes]
    axes.plot(sizes, means, "-", color="k", lw=1, label="mean")
    axes.set(xlabel="atoms", ylabel=label)
    axes.set_ylim(bottom=0)
    axes.legend()


PICTURES: dict[str, Callable[[Assessment, str], Figure]] = {
    "parity.png": draw_parity,
    "distance.png": draw_distance,
    "element_pairs.png": draw_element_pairs,
    "gap_histogram.png": draw_gap_histogram,
    "size.png": draw_size,
}
"""File name → function that draws it."""
