"""Embeddings in two dimensions, as in figure 4 of the paper."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.data.colors import jmol_colors
from matplotlib.figure import Figure
from numpy.typing import NDArray

from helm_ase.errors import SettingError
from helm_ase.evaluation.embedding import Embeddings
from helm_ase.evaluation.plots import save_figure

NEIGHBOURS, MIN_DISTANCE = 15, 0.1
"""UMAP's parameters, as in the paper."""
FEWEST_POINTS = 5


def check_umap() -> None:
    """Raise an error early if :func:`project` cannot be used.

    Raises
    ------
    SettingError
        If umap-learn is not installed.
    """
    if find_spec("umap") is None:
        raise SettingError(
            "the picture needs umap-learn, which is not installed: pip install 'helm-ase[embed]', or leave "
            "it out with --no-umap"
        )


def project(embeddings: Embeddings, seed: int = 42) -> dict[str, NDArray[np.float32]]:
    """UMAP of every degree, ``l0`` … with (N, 2), and of all, ``all`` with a point for each atom and degree.

    The points of ``all`` are those of ``l0``, then those of ``l1``, …: (N (lmax + 1), 2).

    Parameters
    ----------
    embeddings
        What to project.
    seed
        The same seed gives the same picture.

    Raises
    ------
    SettingError
        If umap-learn is not installed, or there are fewer than five atoms.
    """
    check_umap()
    if len(embeddings.numbers) < FEWEST_POINTS:
        raise SettingError(
            f"{len(embeddings.numbers)} atoms do not make a picture, {FEWEST_POINTS} would: use --no-umap"
        )
    values = embeddings.values
    projections = {f"l{l}": _umap(values[:, l], seed) for l in embeddings.degrees}
    return projections | {"all": _umap(np.concatenate([values[:, l] for l in embeddings.degrees]), seed)}


def _umap(points: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    umap: Any = import_module("umap")
    reducer = umap.UMAP(
        n_neighbors=min(NEIGHBOURS, len(points) - 1), min_dist=MIN_DISTANCE, random_state=seed, n_jobs=1,
        init="spectral" if len(points) > 4 * NEIGHBOURS else "random",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings from its dependencies
        return np.asarray(reducer.fit_transform(points), dtype=np.float32)


def draw(
    embeddings: Embeddings, projections: Mapping[str, NDArray[np.float32]], path: Path, title: str
) -> None:
    """Draw a panel for every degree, and one for all, points coloured by element; PNG."""
    count = len(projections)
    rows = (count + 2) // 3
    figure = Figure(figsize=(12, 3.8 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False).reshape(-1)
    numbers = embeddings.numbers
    for axes, (name, points) in zip(panels, projections.items(), strict=False):
        elements = np.tile(numbers, len(points) // len(numbers))
        for z in np.unique(elements).tolist():
            own = points[elements == z]
            axes.scatter(*own.T, s=2, color=_color(z), label=chemical_symbols[z], rasterized=True)
        axes.set_title("all l" if name == "all" else f"l = {name.removeprefix('l')}")
        axes.set(xticks=[], yticks=[])
    for axes in panels[count:]:
        axes.set_axis_off()
    panels[0].legend(markerscale=4, fontsize=8)
    figure.suptitle(title)
    save_figure(figure, path)


def _color(z: int) -> tuple[float, float, float]:
    """Jmol's colour of an element, dark enough for white paper."""
    red, green, blue = jmol_colors[z] * (0.75 if jmol_colors[z].mean() > 0.6 else 1.0)
    return float(red), float(green), float(blue)
