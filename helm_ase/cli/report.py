"""``helm-ase report``."""

import argparse
from typing import Any

from helm_ase.cli.number_types import NUMBER
from helm_ase.cli.structure_options import add_structure_options

DESCRIPTION = """Predict energy, forces, orbitals and dipole moment of a molecule and write them to one HTML
page, with three-dimensional orbitals that can be rotated in the browser and a verdict on how far the model
can be trusted there. Of a crystal (periodic directions, and a model that has learnt crystals) the page
shows Fermi level, gap, bands, density of states and charges."""


def add_commands(commands: Any) -> None:
    """Add ``report``."""
    report = commands.add_parser(
        "report",
        help="write one HTML page about a molecule, with orbitals that can be rotated, or a crystal, with "
        "bands",
        description=DESCRIPTION,
    )
    add_structure_options(report)
    report.add_argument(
        "-o", "--output", default="report.html", metavar="HTML", help="page to write (default: report.html)"
    )
    report.add_argument(
        "--orbitals",
        nargs="+",
        metavar="NAME",
        help="orbitals of a molecule to show, such as homo, homo-1 or lumo+2 (default: homo lumo)",
    )
    report.add_argument(
        "--refine",
        type=NUMBER,
        default=0,
        metavar="N",
        help="do N SCF steps with PySCF, starting from the predicted density, and show the results after "
        "them (default: 0, the prediction itself)",
    )
    report.add_argument(
        "--no-check",
        action="store_true",
        help="leave out the estimated error of a molecule's Hamiltonian, which takes PySCF one SCF cycle",
    )
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> None:
    from helm_ase.cli.structure_commands import report_file

    report_file(options)
