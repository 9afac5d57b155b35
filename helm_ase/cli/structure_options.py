"""Options that every command about one structure has: file, model, charge and multiplicity."""

import argparse

from helm_ase.cli.number_types import CHARGE, MULTIPLICITY

CHECKPOINT = "checkpoint: name from 'helm-ase models', path or URL"
MODEL = f"{CHECKPOINT} (default: the model that 'helm-ase models' marks with *)"
DEVICE = "device that runs the network: cpu, cuda, ... (default: a GPU if there is one)"
DTYPE = "floating-point precision of the network (default: float32)"
NO_PBC = "remove the periodic box; molecules that its walls cut are put together first"


def add_structure_options(command: argparse.ArgumentParser) -> None:
    """Add the file with the molecule, the model, and the state of the molecule."""
    command.add_argument(
        "file",
        metavar="FILE",
        help="structure in any format that ASE reads; if FILE holds several frames, the last one is used, "
        "and FILE@0 is the first",
    )
    command.add_argument("--no-pbc", action="store_true", help=NO_PBC)
    command.add_argument("--model", help=MODEL)
    command.add_argument(
        "--charge", type=CHARGE, help="total charge in e (default: as stated in FILE, otherwise 0)"
    )
    command.add_argument(
        "--multiplicity",
        type=MULTIPLICITY,
        metavar="2S+1",
        help="spin multiplicity (default: as stated in FILE, otherwise 1)",
    )
