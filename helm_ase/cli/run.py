"""``helm-ase run``."""

import argparse
from typing import Any

from helm_ase.cli.number_types import CHARGE, MULTIPLICITY, NUMBER, POSITIVE, SEED, TEMPERATURE


def add_commands(commands: Any) -> None:
    """Add ``run``."""
    run = commands.add_parser("run", help="energy, forces, orbitals; optionally optimise or run MD")
    run.add_argument("file", metavar="FILE", help="structure in any format ASE reads (last frame)")
    run.add_argument("--no-pbc", action="store_true", help="take the molecule out of its periodic box")
    run.add_argument("--model", help="name, path or address of a checkpoint")
    run.add_argument("--charge", type=CHARGE, help="total charge (that of the file, or 0)")
    run.add_argument("--multiplicity", type=MULTIPLICITY, metavar="2S+1", help="(that of the file, or 1)")
    run.add_argument("--device", help="cpu, cuda, ... (default: automatic)")
    run.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    run.add_argument("--opt", action="store_true", help="optimise the geometry (BFGS)")
    run.add_argument("--fmax", type=POSITIVE, default=0.01, metavar="EV_PER_A", help="for --opt (0.01)")
    run.add_argument("--md", type=NUMBER, default=0, metavar="STEPS", help="steps of molecular dynamics")
    run.add_argument("--temperature", type=TEMPERATURE, default=300.0, metavar="K", help="for --md (300)")
    run.add_argument("--timestep", type=POSITIVE, default=0.5, metavar="FS", help="for --md (0.5)")
    run.add_argument("--nve", action="store_true", help="--md at constant energy instead of Langevin")
    run.add_argument("--seed", type=SEED, default=0, help="of the velocities and the thermostat")
    run.add_argument("--all-frames", action="store_true", help="energies and forces of every frame of FILE")
    run.add_argument("--vibrations", action="store_true", help="harmonic frequencies (--opt first)")
    run.add_argument("--no-orbitals", action="store_true", help="skip the Hamiltonian")
    run.add_argument("--levels", metavar="PNG", help="draw the orbital levels")
    run.add_argument("-o", "--output", metavar="FILE", help="final structure with energy and forces (extxyz)")
    run.add_argument("--trajectory", metavar="FILE", help="frames of --opt or --md (.traj)")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    if options.all_frames:
        from helm_ase.cli.frame_commands import run_frames

        run_frames(options)
    else:
        from helm_ase.cli.structure_commands import run_file

        run_file(options)
