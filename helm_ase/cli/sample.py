"""``helm-ase sample``."""

import argparse
import os
import sys
from dataclasses import fields
from typing import Any

from helm_ase.cli.number_types import CHARGE, COUNT, MULTIPLICITY, NUMBER, POSITIVE, SEED, TEMPERATURE, real

EPILOG = """Conformers (RDKit) are relaxed with GFN2-xTB and moved by short molecular dynamics or along normal
modes; molecules whose bonds changed and near duplicates are dropped and listed in OUTPUT.dropped.jsonl.  The
same command gives the same structures, whatever the order of the input and the number of processes.  Charges
and unpaired electrons come from the SMILES ([NH4+], [CH3]) or from atoms.info ('charge', 'multiplicity').
Needs pip install 'helm-ase[label]'."""


def add_commands(commands: Any) -> None:
    """Add ``sample``."""
    sample = commands.add_parser(
        "sample",
        help="make geometries to label: conformers, xTB dynamics, normal modes, dimers",
        epilog=EPILOG,
    )
    sample.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE",
        help="SMILES, one per line (.smi, .smiles, .txt), or structures in any format that ASE reads",
    )
    sample.add_argument(
        "--smiles",
        action="append",
        default=[],
        metavar="SMILES",
        help="a molecule as SMILES (may be repeated)",
    )
    sample.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file of structures to write (extended XYZ)"
    )
    sample.add_argument(
        "--seed", type=SEED, default=0, help="seed from which that of every structure is derived (0)"
    )
    sample.add_argument("--limit", type=COUNT, metavar="N", help="keep N structures, a fair sample of all")
    sample.add_argument(
        "--processes", type=COUNT, metavar="N", help="number of processes (default: one for each core)"
    )
    sample.add_argument("--quiet", action="store_true", help="show no progress bar")
    sample.add_argument("--force", action="store_true", help="replace an output that exists")
    sample.add_argument("--strict", action="store_true", help="fail at the end if an entry was skipped")
    _add_states(sample.add_argument_group("states"))
    _add_geometries(sample.add_argument_group("geometries"))
    _add_dynamics(sample.add_argument_group("molecular dynamics"))
    _add_modes(sample.add_argument_group("normal modes"))
    _add_dimers(sample.add_argument_group("dimers"))
    sample.set_defaults(command=_sample, after_interrupt="- nothing was written")


def _add_states(group: Any) -> None:
    group.add_argument("--no-pbc", action="store_true", help="take molecules out of their periodic boxes")
    group.add_argument("--charge", type=CHARGE, help="of structures; SMILES have theirs")
    group.add_argument(
        "--multiplicity", type=MULTIPLICITY, metavar="2S+1",
        help="of all that do not say theirs, as SMILES lines do with 'multiplicity=1' behind the SMILES",
    )  # fmt: skip
    group.add_argument(
        "--vertical", nargs="+", default=[], choices=["cation", "anion", "triplet"],
        help="give every structure once more in these states",
    )  # fmt: skip


def _add_geometries(group: Any) -> None:
    group.add_argument(
        "--temperatures",
        type=TEMPERATURE,
        nargs="+",
        default=[0, 300, 500, 800],
        metavar="K",
        help="temperatures, K; 0 is the relaxed geometry (0 300 500 800)",
    )
    group.add_argument(
        "--draws", type=COUNT, metavar="N", help="number of temperatures drawn for each conformer (all)"
    )
    group.add_argument(
        "--conformers", type=COUNT, default=1, metavar="N", help="number of conformers of each SMILES (1)"
    )
    group.add_argument(
        "--fmax",
        type=POSITIVE,
        default=0.05,
        metavar="EV_PER_A",
        help="largest force of a relaxed conformer, eV/A (0.05)",
    )
    group.add_argument(
        "--relax-steps",
        type=COUNT,
        default=300,
        metavar="N",
        help="drop conformers that take more steps to relax (300)",
    )
    group.add_argument(
        "--duplicate-tolerance",
        type=real(),
        default=0.02,
        metavar="A",
        help="drop geometries whose sorted distances differ by less, A (0.02)",
    )


def _add_dynamics(group: Any) -> None:
    group.add_argument(
        "--md-steps",
        type=NUMBER,
        default=100,
        metavar="N",
        help="steps of molecular dynamics between two frames; 0 for no dynamics (100)",
    )
    group.add_argument(
        "--frames", type=COUNT, default=1, metavar="N", help="number of frames kept of each trajectory (1)"
    )
    group.add_argument("--timestep", type=POSITIVE, default=0.7, metavar="FS", help="time step, fs (0.7)")
    group.add_argument(
        "--friction",
        type=POSITIVE,
        default=0.02,
        metavar="PER_FS",
        help="friction of the Langevin thermostat, 1/fs (0.02)",
    )


def _add_modes(group: Any) -> None:
    group.add_argument(
        "--displacements",
        type=NUMBER,
        default=0,
        metavar="N",
        help="normal-mode displacements per conformer and temperature (0)",
    )
    group.add_argument(
        "--statistics",
        default="classical",
        choices=["classical", "wigner"],
        help="kT in each mode (classical, default), or the quantum oscillator with zero-point motion",
    )


def _add_dimers(group: Any) -> None:
    group.add_argument(
        "--partners", nargs="+", default=[], metavar="SMILES", help="pair every molecule with each of these"
    )
    group.add_argument(
        "--partner-geometries", type=COUNT, default=1, metavar="N", help="dimers of each such pair (1)"
    )
    group.add_argument(
        "--dimers", type=NUMBER, default=0, metavar="N", help="number of random pairs of molecules to try (0)"
    )
    group.add_argument(
        "--dimer-heavy-atoms",
        type=NUMBER,
        default=6,
        metavar="N",
        help="largest number of heavy atoms of both molecules together (6)",
    )
    group.add_argument(
        "--dimer-relax-steps", type=NUMBER, default=15, metavar="N", help="relaxation steps of a dimer (15)"
    )
    group.add_argument(
        "--contact",
        type=POSITIVE,
        nargs=2,
        default=[1.9, 3.6],
        metavar=("MIN_A", "MAX_A"),
        help="range of the closest distance before relaxation, A (1.9 3.6)",
    )


def _sample(options: argparse.Namespace) -> None:
    from helm_ase import sampling
    from helm_ase.errors import StructureError
    from helm_ase.sampling.output import DROPPED
    from helm_ase.system.atomic_write import check_apart

    names = [field.name for field in fields(sampling.SamplingSettings)]
    settings = sampling.SamplingSettings(**{name: getattr(options, name) for name in names})
    check_apart([options.output, options.output + DROPPED], options.inputs)
    sampling.check_output(options.output, options.force)
    reading = sampling.Reading(options.charge, options.multiplicity, options.no_pbc, skipped=[])
    molecules = sampling.read_molecules(options.inputs, options.smiles, reading)
    _tell_skipped(reading.skipped or [])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = cores if options.processes is None else options.processes
    result = sampling.sample(molecules, settings, processes, progress=not options.quiet)
    if not result.structures:
        print(sampling.summarise(result))
        raise StructureError(
            f"every structure was dropped, for the reasons above; {options.output} was not written"
        )
    sampling.write(result, options.output)
    print(sampling.summarise(result))
    print(f"written to {options.output}")
    if reading.skipped and options.strict:
        raise StructureError(f"{len(reading.skipped)} entries were skipped, see above")


def _tell_skipped(lines: list[str]) -> None:
    """List entries that cannot be used, all of them: they are to be mended at once."""
    for line in lines:
        print(f"skipped: {line}", file=sys.stderr)
