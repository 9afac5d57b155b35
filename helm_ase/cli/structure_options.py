"""Options that every command about one structure has: file, model, charge and multiplicity."""

import argparse
from typing import Any

from helm_ase.cli.number_types import CHARGE, COUNT, MULTIPLICITY, real

CHECKPOINT = "checkpoint: name from 'helm-ase models', path or URL"
MODEL = f"{CHECKPOINT} (default: the model that 'helm-ase models' marks with *)"
DEVICE = "device that runs the network: cpu, cuda, ... (default: a GPU if there is one)"
DTYPE = "floating-point precision of the network (default: float32)"


def add_structure_options(command: argparse.ArgumentParser) -> None:
    """Add the file with the molecule, the model, and the state of the molecule."""
    command.add_argument(
        "file",
        metavar="FILE",
        help="structure in any format that ASE reads; if FILE holds several frames, the last one is used, "
        "and FILE@0 is the first",
    )
    add_periodicity(command)
    add_mesh(command)
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


def add_periodicity(command: Any, only_crystals: bool = False) -> None:
    """Add which directions are periodic; ``options.pbc`` names them, or is "" where molecules are to be taken
    out of their box, which ``only_crystals`` does not offer, or None."""
    group = command.add_mutually_exclusive_group()
    if not only_crystals:
        group.add_argument(
            "--no-pbc",
            dest="pbc",
            action="store_const",
            const="",
            help="remove the periodic box; molecules that its walls cut are put together first",
        )
    group.add_argument(
        "--pbc",
        type=cell_vectors,
        metavar="VECTORS",
        help="cell vectors along which the structure is periodic, as ab for a slab with vacuum along c "
        "(default: as stated in FILE; CIF and POSCAR files always state abc)",
    )


def add_mesh(command: Any) -> None:
    """Add mesh of k points and smearing."""
    command.add_argument(
        "--kpts",
        type=COUNT,
        nargs=3,
        metavar="N",
        help="of a crystal: Gamma-centred mesh of k points for Fermi level, gap and density of states "
        "(default: at least 3.5 points per 1/Angstrom along each reciprocal lattice vector, and halves of "
        "these, of hexagonal lattices thirds, too)",
    )
    command.add_argument(
        "--smearing",
        type=real(),
        metavar="EV",
        help="of a crystal: width kT of the Fermi-Dirac occupations in eV (default: that of the training "
        "labels)",
    )


def cell_vectors(text: str) -> str:
    """Type of an option that names cell vectors."""
    if not text or set(text) - set("abc") or len(set(text)) < len(text):
        raise argparse.ArgumentTypeError(f"{text!r} names no cell vectors; write a, ab, abc, ...")
    return text
