"""HTML report of a crystal in one self-contained file: Fermi level and gap, bands, density of states and
charges."""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.electronic.bands import Bands
from helm_ase.pictures.bands import MOST_GROUPS, bands_figure, describe_gap, gap_of_both, zero_of_energy
from helm_ase.pictures.html_document import (
    columns,
    formula_in_html,
    origin,
    svg,
    table,
    verdict_box,
    write_document,
)
from helm_ase.units import HARTREE_IN_EV

KINDS = {1: "chain", 2: "slab", 3: "bulk"}
"""Name of a system by its number of periodic directions."""
BANDS = (
    "Energies count from the Fermi level of the mesh of k points. Beside the bands, the density of states of "
    "the mesh, each level a Gaussian 0.15 eV wide (standard deviation), and the shares of {groups} by "
    "Mulliken populations, which can be slightly negative."
)
MESH = (
    "The band gap is that among the points of the mesh and of the path; the true edges may lie between them."
)
CHARGES = "Mulliken charges in e, which depend on the basis; they sum to zero."
LARGEST_TABLE = 100
"""Atoms up to which the page has a table of them."""


def write_crystal_page(
    path: str | Path,
    calculator: HELMCalculator,
    source: str = "",
) -> None:
    """Write the page; it appears only when it is complete.

    Parameters
    ----------
    path
        File to write.
    calculator
        Attached to its atoms, of which some direction is periodic.
    source
        Name of the file that the crystal comes from.

    Raises
    ------
    StructureError
        If nothing is periodic.
    """
    mesh = calculator.get_bands()
    atoms = calculator.atoms
    assert atoms is not None  # get_bands has asked for them
    by: Any = "element" if len(set(atoms.numbers)) > 1 else "degree"
    names, populations = calculator.get_band_populations(by)
    structure = calculator.band_structure()
    projection = (names, populations) if len(names) <= MOST_GROUPS else None
    figure = bands_figure(structure, mesh, "", None, 0.15, projection)
    groups = "the elements" if by == "element" else "functions of each degree"
    formula = atoms.get_chemical_formula()
    kind = f"{KINDS[int(atoms.pbc.sum())]} of {len(atoms)} atoms a cell"
    parts = [
        f"<h1>{formula_in_html(formula)}</h1>",
        origin(calculator, source, before=kind),
        verdict_box(calculator.get_verdict(atoms)),
        columns(
            table(("", ""), _of_bands(calculator, mesh, structure)) + f"<p class=note>{MESH}</p>",
            "<h2 class=first>Cell</h2>" + table(("", "length / Å", "x", "y", "z"), _of_cell(atoms)),
        ),
        f"<h2>Bands and density of states</h2><div class=wide>{svg(figure)}</div>"
        f"<p class=note>{BANDS.format(groups=groups)}</p>",
        _atoms(calculator, atoms),
    ]
    write_document(path, formula, parts)


def _of_bands(calculator: HELMCalculator, mesh: Bands, structure: Any) -> list[tuple[str, str]]:
    """Names and values of what concerns the crystal as a whole."""
    zero = zero_of_energy(calculator.atoms.pbc.all())
    gap = gap_of_both(structure, mesh)
    rows = [
        ("k points of the mesh", " × ".join(map(str, calculator.get_mesh_size()))),
        (f"Fermi level, {zero}", f"{mesh.fermi_level * HARTREE_IN_EV:.3f} eV"),
        ("band gap", describe_gap(gap).removeprefix("gap ")),
        ("on the mesh alone", describe_gap(mesh.gap).removeprefix("gap ")),
        ("smallest direct gap", f"{max(gap.direct, 0) * HARTREE_IN_EV:.2f} eV"),
    ]
    if "energy" in calculator.checkpoint.predicts:
        rows.insert(0, ("energy", f"{calculator.get_property('energy'):.4f} eV"))
    return rows


def _of_cell(atoms: Atoms) -> list[tuple[str, ...]]:
    """Lattice vectors of the periodic directions."""
    return [
        (name, f"{np.linalg.norm(vector):.4f}", *(f"{x:.4f}" for x in vector))
        for name, vector, periodic in zip("abc", atoms.cell.array, atoms.pbc, strict=True)
        if periodic
    ]


def _atoms(calculator: HELMCalculator, atoms: Atoms) -> str:
    """Section of the atoms, which is left out where it would be endless."""
    if len(atoms) > LARGEST_TABLE:
        return ""
    rows = [
        (f"{symbol}{k}", f"{round(charge, 3) + 0.0:+.3f}", *(f"{x:.4f}" for x in position))
        for k, (symbol, charge, position) in enumerate(
            zip(atoms.symbols, calculator.get_property("charges"), atoms.positions, strict=True)
        )
    ]
    return (
        "<h2>Atoms</h2>"
        + table(("atom", "Mulliken / e", "x / Å", "y / Å", "z / Å"), rows)
        + f"<p class=note>{CHARGES}</p>"
    )
