"""Orbital energies as text and as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helm_ase.electronic import ElectronicStructure
from helm_ase.pictures.figure import check_format, formula_words, save
from helm_ase.units import HARTREE_IN_EV

DEGENERATE = 0.01
"""eV: levels this close are drawn side by side."""
BELOW, ABOVE = 20.0, 10.0
"""eV below the HOMO and above the LUMO to which levels are drawn; core levels are not."""
FILLED, EMPTY = "#2a6bb5", "#c8502a"


def level_table(structure: ElectronicStructure, around: int = 5) -> str:
    """Levels next to the gap, highest first, one block for each spin."""
    lines = []
    for spin, n in enumerate(structure.occupied):
        title = "" if structure.n_spins == 1 else f"  ({'alpha' if spin == 0 else 'beta'})"
        lines.append(f"  orbital   energy / eV   occupation{title}")
        levels = structure.orbital_energies[spin] * HARTREE_IN_EV
        for k in range(min(n + around, len(levels)) - 1, max(n - around, 0) - 1, -1):
            occupation = float(structure.occupations[spin, k])
            lines.append(f"  {orbital_label(k, n):>8}  {float(levels[k]):12.3f}   {occupation:6.1f}")
    return "\n".join(lines)


def orbital_label(k: int, occupied: int) -> str:
    """``HOMO``, ``LUMO+2`` … for the k-th orbital (from zero) of ``occupied`` filled ones."""
    if k < occupied:
        return "HOMO" if k == occupied - 1 else f"HOMO-{occupied - 1 - k}"
    return "LUMO" if k == occupied else f"LUMO+{k - occupied}"


def draw_levels(structure: ElectronicStructure, path: str | Path, title: str = "", around: int = 8) -> None:
    """Draw the orbital energies next to the gap and write a picture (PNG, PDF, SVG by suffix).

    Parameters
    ----------
    structure
        Solved electronic structure.
    path
        File to write.
    title
        Heading.
    around
        Number of orbitals shown on each side of the gap.

    Raises
    ------
    SettingError
        If matplotlib cannot write that kind of file.
    """
    check_format(path)
    save(level_figure(structure, title, around), path)


def level_figure(structure: ElectronicStructure, title: str, around: int = 8) -> Figure:
    """Figure of :func:`draw_levels`: degenerate levels stand side by side, with their number."""
    figure = Figure(figsize=(1.9 + 1.9 * structure.n_spins, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for spin, n in enumerate(structure.occupied):
        levels = (structure.orbital_energies[spin] * HARTREE_IN_EV).tolist()
        first, last = _window(levels, n, around)
        for group in level_groups(levels[:last], first, n):
            _draw_group(axes, spin, group, levels, n)
        if 0 < n < len(levels):
            homo, lumo = levels[n - 1], levels[n]
            arrow = {"arrowstyle": "<->", "color": "0.55", "shrinkA": 1, "shrinkB": 1}
            axes.annotate("", (spin, homo), (spin, lumo), arrowprops=arrow)
            axes.text(
                spin + 0.05, 0.5 * (homo + lumo), f"gap {lumo - homo:.2f} eV", color="0.25", va="center"
            )
    axes.set_xticks(range(structure.n_spins), ["α", "β"] if structure.n_spins == 2 else [""])
    axes.tick_params(bottom=False)
    axes.set_xlim(-0.5, structure.n_spins - 0.35)
    axes.set_ylabel("orbital energy / eV")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(formula_words(title))
    return figure


def _window(levels: Sequence[float], occupied: int, around: int) -> tuple[int, int]:
    """First level that is drawn and the one after the last; core levels would squeeze the others."""
    homo, lumo = levels[max(occupied - 1, 0)], levels[min(occupied, len(levels) - 1)]
    near = [k for k, energy in enumerate(levels) if homo - BELOW <= energy <= lumo + ABOVE]
    return max(occupied - around, near[0]), min(occupied + around, near[-1] + 1)


def level_groups(levels: Sequence[float], first: int, occupied: int) -> list[list[int]]:
    """Numbers of the levels from ``first`` on, those that are degenerate together; filled and empty apart."""
    groups: list[list[int]] = []
    for k in range(first, len(levels)):
        if groups and k != occupied and levels[k] - levels[groups[-1][0]] < DEGENERATE:
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups


def _draw_group(axes: Axes, spin: int, group: Sequence[int], levels: Sequence[float], occupied: int) -> None:
    """Bars side by side, and on their right what they are."""
    colour = FILLED if group[0] < occupied else EMPTY
    width = 0.6 / len(group)
    for place, k in enumerate(group):
        left = spin - 0.3 + place * width
        shrink = 0.06 * width if len(group) > 1 else 0.0
        axes.hlines(levels[k], left + shrink, left + width - shrink, color=colour, lw=1.6)
    frontier = {occupied - 1, occupied} & set(group)
    words = [orbital_label(k, occupied) for k in frontier] + [f"{len(group)}×"] * (len(group) > 1)
    if words:
        energy = sum(levels[k] for k in group) / len(group)
        axes.text(spin + 0.34, energy, " ".join(words), color=colour, va="center", fontsize=8)
