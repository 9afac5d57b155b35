"""HTML report of a molecule in one self-contained file: results, pictures, and orbitals that can be
rotated."""

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.electronic.fields import spins_with
from helm_ase.errors import SettingError
from helm_ase.pictures.density_of_states import density_of_states_figure
from helm_ase.pictures.html_document import (
    columns,
    formula_in_html,
    origin,
    svg,
    table,
    verdict_box,
    write_document,
)
from helm_ase.pictures.levels import level_figure
from helm_ase.pictures.scene import check_plotly, scene
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM, DEBYE_IN_E_ANGSTROM, HARTREE_IN_EV

SHARES = (
    "All orbitals, each a Gaussian 0.3 eV wide (standard deviation), and the Mulliken shares of s, p and d "
    "functions, which can be slightly negative."
)
CHARGES = "Charges by Mulliken and Löwdin in e; |F| is the length of the force."
ORDERS = "Length, and bond orders by Mayer and Wiberg: about 1 for a single bond, 2 for a double bond."
KOOPMANS = (
    "Minus an orbital energy of {functional} is no ionisation energy or electron affinity: it is off by "
    "several eV, for ionisation to the low side, and is given to compare molecules with one another."
)

NOTE = (
    "This judges the predicted Hamiltonian H and its density D, by the Fock matrix F of D; the verdict at "
    "the top judges the predicted energy. All but the last two rows vanish at convergence. In parentheses: "
    "change from the prediction. Where it is large, trust the value after the steps."
)


def write_page(
    path: str | Path,
    calculator: HELMCalculator,
    orbitals: Sequence[str] = ("homo", "lumo"),
    check: bool = True,
    spacing: float = 0.18,
    source: str = "",
) -> None:
    """Write the page; it appears only when it is complete.

    Parameters
    ----------
    path
        File to write.
    calculator
        Attached to its atoms.
    orbitals
        To show: ``homo``, ``lumo+1``, …; of both spins where both have them.
    check
        Also build the Fock matrix of the predicted density, for the error bar.
    spacing
        Spacing of the grid of the orbitals, Å.
    source
        Name of the file that the molecule comes from.

    Raises
    ------
    SettingError
        If there is no such orbital, or plotly or scikit-image is missing.
    """
    check_plotly()
    import plotly.io

    structure = calculator.get_electronic_structure()
    atoms = _atoms_of(calculator)
    shown = [(name, spin) for name in orbitals for spin in spins_with(structure, name)]
    view = plotly.io.to_html(
        scene(structure, atoms, shown, spacing), include_plotlyjs=True, full_html=False,
        default_height="520px", config={"displaylogo": False, "displayModeBar": False, "responsive": True},
    )  # fmt: skip
    formula = atoms.get_chemical_formula()
    write_document(path, formula, _parts(calculator, view, check, source))


def _parts(calculator: HELMCalculator, view: str, check: bool, source: str) -> list[str]:
    """Sections of the page in their order."""
    structure, formula = calculator.get_electronic_structure(), calculator.atoms.get_chemical_formula()
    state = calculator.todict()
    charged = f"charge {state['charge']}, multiplicity {state['multiplicity']}"
    return [
        f"<h1>{formula_in_html(formula)}</h1>",
        origin(calculator, source, after=charged),
        verdict_box(calculator.get_verdict()),
        columns(
            table(("", ""), energies(calculator)) + _koopmans(calculator),
            reliability(calculator) if check else "",
        ),
        f"<h2>Orbitals</h2><div class=view>{view}</div>"
        "<p class=note>Blue and orange are the two signs and enclose 80 % of the orbital's density; drag to "
        "turn, scroll or pinch to zoom. Numbers are those of the atoms in the tables, from 0.</p>",
        columns(
            "<h2>Levels</h2>" + svg(level_figure(structure, "")),
            "<h2>Density of states</h2>"
            + svg(density_of_states_figure(structure, ""))
            + f"<p class=note>{SHARES}</p>",
        ),
        columns(
            "<h2>Atoms</h2>"
            + table(("atom", "Mulliken / e", "Löwdin / e", "|F| / eV/Å"), of_atoms(calculator))
            + f"<p class=note>{CHARGES}</p>",
            "<h2>Bonds</h2>"
            + table(("bond", "length / Å", "Mayer", "Wiberg"), bonds(calculator))
            + f"<p class=note>{ORDERS}</p>",
        ),
    ]


def energies(calculator: HELMCalculator) -> list[tuple[str, str]]:
    """Names and values of what concerns the molecule as a whole."""
    structure, rows = calculator.get_electronic_structure(), []
    if "energy" in calculator.checkpoint.predicts or calculator.parameters["refine"]:
        rows.append(("energy", f"{calculator.get_property('energy'):.4f} eV"))
    dipole = float(structure.dipole().norm()) * ATOMIC_DIPOLE_IN_E_ANGSTROM / DEBYE_IN_E_ANGSTROM
    charged = calculator.todict()["charge"]
    ev = HARTREE_IN_EV
    return [
        *rows,
        ("HOMO", f"{structure.homo * ev:.3f} eV"),
        ("LUMO", f"{structure.lumo * ev:.3f} eV"),
        ("gap", f"{structure.gap * ev:.3f} eV"),
        ("−ε(HOMO), Koopmans' “ionisation energy” ⚠", f"{structure.ionisation_potential * ev:.2f} eV"),
        ("−ε(LUMO), Koopmans' “electron affinity” ⚠", f"{structure.electron_affinity * ev:.2f} eV"),
        ("dipole about the centre of nuclear charge" if charged else "dipole", f"{dipole:.3f} D"),
    ]


def reliability(calculator: HELMCalculator) -> str:
    """Section on how far the prediction is from reproducing itself, or why that cannot be said."""
    title = "<h2 class=first>How far from self-consistency</h2>"
    try:
        trust, refined = calculator.get_reliability(), calculator.refine(2)
    except SettingError as error:
        return f"{title}<p class=note>Not known: {html.escape(str(error))}.</p>"
    homo, lumo = calculator.get_homo_lumo()
    rows = [
        ("change of H by one SCF step, |F[D(H)] − H|, mean", f"{trust.fock_residual * 1e6:.0f} µEh"),
        ("commutator ‖FDS − SDF‖ per atomic orbital", f"{trust.commutator_norm * 1e6:.0f} µEh"),
        ("energy still to be gained", f"{-1000 * trust.energy_change:.2f} meV/atom"),
        ("electrons still to be moved", f"{1e6 * trust.density_change:.1f} per million"),
        ("gap after two SCF steps", f"{refined.gap:.3f} eV ({refined.gap - (lumo - homo):+.3f})"),
        ("energy after two SCF steps", f"{refined.energy:.4f} eV{_change(calculator, refined.energy)}"),
    ]
    note = NOTE
    words = f"<p><b>H is {html.escape(trust.words)}.</b></p>"
    return f"{title}{words}{table(('', ''), rows)}<p class=note>{note}</p>"


def _change(calculator: HELMCalculator, energy: float) -> str:
    """Difference of an energy from the calculator's own, where that has one."""
    if "energy" not in calculator.checkpoint.predicts and not calculator.parameters["refine"]:
        return ""
    return f" ({energy - calculator.get_property('energy'):+.4f})"


def of_atoms(calculator: HELMCalculator) -> list[tuple[str, ...]]:
    """Charges of every atom and, where the model has them, the length of the force on it."""
    structure = calculator.get_electronic_structure()
    mulliken, lowdin = structure.charges().tolist(), structure.charges("lowdin").tolist()
    forces = ["–"] * len(mulliken)
    if "forces" in calculator.checkpoint.predicts:
        forces = [f"{f:.3f}" for f in np.linalg.norm(calculator.get_property("forces"), axis=1)]
    symbols = [f"{s}{k}" for k, s in enumerate(_atoms_of(calculator).symbols)]
    return [
        (symbol, f"{m:+.3f}", f"{l:+.3f}", f)
        for symbol, m, l, f in zip(symbols, mulliken, lowdin, forces, strict=True)
    ]


def _atoms_of(calculator: HELMCalculator) -> Atoms:
    assert calculator.atoms is not None  # the caller has asked for a property
    return calculator.atoms


def bonds(calculator: HELMCalculator, least: float = 0.2) -> list[tuple[str, ...]]:
    """Pairs of atoms with a Mayer bond order above ``least``, with length and both orders."""
    structure, atoms = calculator.get_electronic_structure(), _atoms_of(calculator)
    mayer, wiberg = structure.bond_orders().numpy(), structure.bond_orders("wiberg").numpy()
    names = [f"{s}{k}" for k, s in enumerate(atoms.symbols)]
    return [
        (
            f"{names[i]}–{names[j]}",
            f"{atoms.get_distance(i, j):.3f}",
            f"{mayer[i, j]:.2f}",
            f"{wiberg[i, j]:.2f}",
        )
        for i, j in zip(*np.triu_indices(len(atoms), 1), strict=True)
        if mayer[i, j] > least
    ]


def _koopmans(calculator: HELMCalculator) -> str:
    text = KOOPMANS.format(functional=calculator.checkpoint.level.functional.upper())
    return f"<p class=note>⚠ {html.escape(text)}</p>"
