"""``helm-ase run``."""

import argparse
from typing import Any

from helm_ase.cli.number_types import NUMBER, POSITIVE, SEED, TEMPERATURE
from helm_ase.cli.structure_options import DEVICE, DTYPE, add_structure_options

DESCRIPTION = """Predict energy, forces, orbital energies and dipole moment of a structure and print them,
with a verdict on how far the model can be trusted there.  --opt relaxes the geometry and --md then runs
molecular dynamics; what is printed belongs to the final geometry."""


def add_commands(commands: Any) -> None:
    """Add ``run``."""
    run = commands.add_parser(
        "run",
        help="predict energy, forces and orbitals; optionally optimise or run molecular dynamics",
        description=DESCRIPTION,
    )
    _add_question(run)
    _add_motion(run)
    _add_dynamics(run)
    _add_outputs(run)
    _add_pictures_of_crystals(run)
    run.set_defaults(command=_run)


def _add_question(run: argparse.ArgumentParser) -> None:
    add_structure_options(run)
    run.add_argument("--device", help=DEVICE)
    run.add_argument("--dtype", default="float32", choices=["float32", "float64"], help=DTYPE)
    run.add_argument(
        "--dispersion",
        choices=["d3bj"],
        help="add the D3(BJ) dispersion correction to energy and forces (needs the package dftd3; default: "
        "none)",
    )
    run.add_argument(
        "--refine",
        type=NUMBER,
        default=0,
        metavar="N",
        help="do N SCF steps with PySCF, starting from the predicted density, and report energy, forces and "
        "orbitals after them (default: 0, the prediction itself; 2 is a good choice)",
    )


def _add_motion(run: argparse.ArgumentParser) -> None:
    run.add_argument("--opt", action="store_true", help="relax the geometry with BFGS (at most 500 steps)")
    run.add_argument(
        "--fmax",
        type=POSITIVE,
        default=0.01,
        metavar="EV_PER_A",
        help="--opt stops once no force is larger than this, in eV/Angstrom (default: 0.01)",
    )
    run.add_argument(
        "--allow-extrapolation",
        action="store_true",
        help="continue although a bond is broken or the geometry is far from the training data; without "
        "this option the command then stops with an error",
    )


def _add_dynamics(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--md",
        type=NUMBER,
        default=0,
        metavar="STEPS",
        help="number of steps of molecular dynamics, run after --opt if both are given (default: 0)",
    )
    run.add_argument(
        "--temperature",
        type=TEMPERATURE,
        default=300.0,
        metavar="K",
        help="temperature of --md in K (default: 300)",
    )
    run.add_argument(
        "--timestep", type=POSITIVE, default=0.5, metavar="FS", help="time step of --md in fs (default: 0.5)"
    )
    run.add_argument(
        "--nve",
        action="store_true",
        help="run --md at constant energy (default: Langevin thermostat, friction 0.01/fs)",
    )
    run.add_argument(
        "--seed",
        type=SEED,
        default=0,
        help="seed of the random initial velocities and of the thermostat (default: 0)",
    )
    run.add_argument(
        "--keep-velocities",
        action="store_true",
        help="go on with --md from the velocities in FILE, as of the last frame of a trajectory (default: "
        "draw new ones)",
    )


def _add_outputs(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--all-frames",
        action="store_true",
        help="predict energy and largest force of every frame of FILE and print one line for each",
    )
    run.add_argument(
        "--vibrations",
        action="store_true",
        help="print harmonic vibrational frequencies; they are meaningful at a minimum only, so add --opt",
    )
    run.add_argument(
        "--spectrum",
        metavar="PICTURE",
        help="print the vibrations with their infrared intensities and draw the spectrum to this file "
        "(.png, .pdf, .svg)",
    )
    run.add_argument(
        "--no-orbitals",
        action="store_true",
        help="print energy and forces only, which saves predicting the Hamiltonian",
    )
    run.add_argument(
        "--levels",
        metavar="PICTURE",
        help="draw a diagram of the orbital energies around the gap to this file (.png, .pdf, .svg)",
    )
    run.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the final structure with energy and forces to this file, in the format that ASE deduces "
        "from its name; with --all-frames, all structures (.xyz or .extxyz)",
    )
    run.add_argument(
        "--trajectory",
        metavar="FILE",
        help="write every step of --opt and every tenth step of --md to this file (.traj)",
    )


def _add_pictures_of_crystals(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--bands",
        metavar="PICTURE",
        help="draw the band structure of a crystal and its density of states to this file (.png, .pdf, "
        ".svg); 'helm-ase bands' takes other paths and meshes",
    )
    run.add_argument(
        "--dos",
        metavar="PICTURE",
        help="draw the density of states of a crystal to this file (.png, .pdf, .svg)",
    )


def _run(options: argparse.Namespace) -> None:
    if options.all_frames:
        from helm_ase.cli.frame_commands import run_frames

        run_frames(options)
    else:
        from helm_ase.cli.structure_commands import run_file

        run_file(options)
