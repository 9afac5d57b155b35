"""Figures → files, and what every picture checks first."""

import re
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helm_ase.errors import SettingError
from helm_ase.system.atomic_write import whole_file

DPI = 150
FORMULA = re.compile(r"([A-Z][a-z]?\d*)+")
"""A chemical formula as ASE writes it."""


def check_format(path: str | Path) -> None:
    """Refuse a suffix of which matplotlib knows no format, before anything is computed.

    Raises
    ------
    SettingError
        Naming those it knows.
    """
    known = FigureCanvasAgg(Figure()).get_supported_filetypes()
    if Path(path).suffix.lstrip(".").lower() not in known:
        raise SettingError(f"no picture format for {path}; known are {', '.join(sorted(known))}")


def formula_words(title: str) -> str:
    """Heading in which the numbers of a chemical formula stand low; other headings stay as they are."""
    if not FORMULA.fullmatch(title):
        return title
    return re.sub(r"(\d+)", r"$_{\1}$", title)


def save(figure: Figure, path: str | Path) -> None:
    """Write a picture (PNG, PDF, SVG by suffix) that appears complete or not at all.

    Raises
    ------
    SettingError
        If matplotlib cannot write that kind of file.
    """
    check_format(path)
    FigureCanvasAgg(figure)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=DPI)
