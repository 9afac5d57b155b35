"""``helm-ase run``."""

import argparse
from typing import Any

from helm_ase.cli.number_types import NUMBER, POSITIVE, SEED, TEMPERATURE
from helm_ase.cli.structure_options import add_structure_options


def add_commands(commands: Any) -> None:
    """Add ``run``."""
    run = commands.add_parser(
        "run", help="predict energy, forces and orbitals; optionally optimise or run molecular dynamics"
    )
    _add_question(run)
    _add_motion(run)
    _add_outputs(run)
    run.set_defaults(command=_run)


def _add_question(run: argparse.ArgumentParser) -> None:
    add_structure_options(run)
    run.add_argument(
        "--device", help="device of the network: cpu, cuda, ... (default: a GPU if there is one)"
    )
    run.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "float64"],
        help="precision of the network (float32)",
    )
    run.add_argument(
        "--dispersion", choices=["d3bj"], help="add D3(BJ) dispersion to energy and forces (needs dftd3)"
    )
    run.add_argument(
        "--refine",
        type=NUMBER,
        default=0,
        metavar="N",
        help="give energy, forces and orbitals after N real SCF steps from the prediction (try 2)",
    )


def _add_motion(run: argparse.ArgumentParser) -> None:
    run.add_argument("--opt", action="store_true", help="optimise the geometry with BFGS")
    run.add_argument(
        "--fmax",
        type=POSITIVE,
        default=0.01,
        metavar="EV_PER_A",
        help="largest force at which --opt stops, eV/A (0.01)",
    )
    run.add_argument(
        "--md", type=NUMBER, default=0, metavar="STEPS", help="run so many steps of molecular dynamics"
    )
    run.add_argument(
        "--temperature", type=TEMPERATURE, default=300.0, metavar="K", help="temperature of --md, K (300)"
    )
    run.add_argument(
        "--timestep", type=POSITIVE, default=0.5, metavar="FS", help="time step of --md, fs (0.5)"
    )
    run.add_argument(
        "--nve", action="store_true", help="run --md at constant energy instead of with a Langevin thermostat"
    )
    run.add_argument("--seed", type=SEED, default=0, help="seed of the velocities and the thermostat (0)")
    run.add_argument(
        "--allow-extrapolation",
        action="store_true",
        help="go on where a bond is broken or the model is far from what it knows",
    )


def _add_outputs(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--all-frames", action="store_true", help="predict energies and forces of every frame of FILE"
    )
    run.add_argument(
        "--vibrations", action="store_true", help="print harmonic frequencies (of a minimum: --opt first)"
    )
    run.add_argument("--no-orbitals", action="store_true", help="do not compute the Hamiltonian")
    run.add_argument(
        "--levels", metavar="PNG", help="draw the orbital energies around the gap to this picture"
    )
    run.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the final structure with energy and forces to this file (extended XYZ)",
    )
    run.add_argument(
        "--trajectory", metavar="FILE", help="write the frames of --opt or --md to this file (.traj)"
    )


def _run(options: argparse.Namespace) -> None:
    if options.all_frames:
        from helm_ase.cli.frame_commands import run_frames

        run_frames(options)
    else:
        from helm_ase.cli.structure_commands import run_file

        run_file(options)
