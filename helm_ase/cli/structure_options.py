"""Options that every command about one structure has: file, model, charge and multiplicity."""

import argparse

from helm_ase.cli.number_types import CHARGE, MULTIPLICITY


def add_structure_options(command: argparse.ArgumentParser) -> None:
    """Add the file with the molecule, the model, and the state of the molecule."""
    command.add_argument(
        "file", metavar="FILE", help="structure in any format that ASE reads; of several frames the last one"
    )
    command.add_argument("--no-pbc", action="store_true", help="take the molecule out of its periodic box")
    command.add_argument("--model", help="name, path or address of a checkpoint (default: the default model)")
    command.add_argument("--charge", type=CHARGE, help="total charge (default: that of the file, or 0)")
    command.add_argument(
        "--multiplicity",
        type=MULTIPLICITY,
        metavar="2S+1",
        help="spin multiplicity (default: that of the file, or 1)",
    )
