"""Orbital energies as text and as a picture."""

from pathlib import Path

from matplotlib.figure import Figure

from helm_ase.electronic import ElectronicStructure
from helm_ase.pictures.figure import check_format, save
from helm_ase.units import HARTREE_IN_EV


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
    """Figure of :func:`draw_levels`."""
    figure = Figure(figsize=(2.2 + 1.6 * structure.n_spins, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for spin, n in enumerate(structure.occupied):
        levels = (structure.orbital_energies[spin] * HARTREE_IN_EV).tolist()
        first = max(n - around, 0)
        for k, energy in enumerate(levels[first : n + around], start=first):
            axes.hlines(energy, spin - 0.3, spin + 0.3, color="tab:blue" if k < n else "tab:red", lw=1.6)
        if 0 < n < len(levels):
            homo, lumo = levels[n - 1], levels[n]
            arrow = {"arrowstyle": "<->", "color": "0.4"}
            axes.annotate("", (spin, homo), (spin, lumo), arrowprops=arrow)
            axes.text(spin + 0.04, 0.5 * (homo + lumo), f"{lumo - homo:.2f} eV", color="0.3", va="center")
    axes.set_xticks(range(structure.n_spins), ["α", "β"] if structure.n_spins == 2 else [""])
    axes.set_xlim(-0.6, structure.n_spins - 0.4)
    axes.set_ylabel("orbital energy (eV)")
    axes.set_title(title)
    return figure
