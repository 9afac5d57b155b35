"""``helm-ase report``."""

import argparse
from typing import Any

from helm_ase.cli.number_types import NUMBER
from helm_ase.cli.structure_options import add_structure_options


def add_commands(commands: Any) -> None:
    """Add ``report``."""
    report = commands.add_parser("report", help="write one HTML page about a molecule, with orbitals to turn")
    add_structure_options(report)
    report.add_argument(
        "-o", "--output", default="report.html", metavar="HTML", help="page to write (report.html)"
    )
    report.add_argument(
        "--orbitals",
        nargs="+",
        default=["homo", "lumo"],
        metavar="NAME",
        help="orbitals to show: homo, homo-1, lumo+2, ... (homo lumo)",
    )
    report.add_argument(
        "--refine",
        type=NUMBER,
        default=0,
        metavar="N",
        help="show what N real SCF steps make of the prediction",
    )
    report.add_argument(
        "--no-check",
        action="store_true",
        help="leave out the error bar of the Hamiltonian, which costs an SCF cycle",
    )
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> None:
    from helm_ase.cli.structure_commands import report_file

    report_file(options)
