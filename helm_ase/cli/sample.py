"""``helm-ase sample``."""

import argparse
import os
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from helm_ase.cli.number_types import CHARGE, COUNT, MULTIPLICITY, NUMBER, POSITIVE, SEED, TEMPERATURE, real
from helm_ase.cli.structure_options import add_periodicity

if TYPE_CHECKING:
    from ase import Atoms

DESCRIPTION = """Generate geometries, unlabelled and ready for 'helm-ase label'.  Conformers from RDKit are
relaxed with GFN2-xTB, then displaced by short GFN2-xTB molecular dynamics or along normal modes; molecules
can also be combined to dimers.  Structures with periodic directions (pbc) are crystals: of them come
supercells, strained and with atoms displaced at random, and of all options below only --seed, --limit,
--force and those of crystals count."""
EPILOG = """Geometries whose bonds changed and near duplicates are dropped; FILE.dropped.jsonl, beside the
output, says which and why.  The same command gives the same structures, whatever the order of the input and
the number of processes.  Charges and unpaired electrons are read from the SMILES ([NH4+], [CH3]) or from
atoms.info ('charge', 'multiplicity') of structures.  Needs pip install 'helm-ase[label]'."""


def add_commands(commands: Any) -> None:
    """Add ``sample``."""
    sample = commands.add_parser(
        "sample",
        help="generate geometries to label: conformers, xTB dynamics, normal modes, dimers",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    sample.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE",
        help="file of SMILES, one per line (.smi, .smiles, .txt), or of structures in any format that ASE "
        "reads (all frames)",
    )
    sample.add_argument(
        "--smiles",
        action="append",
        default=[],
        metavar="SMILES",
        help="one molecule as SMILES, instead of or in addition to FILE (may be repeated)",
    )
    _add_general(sample)
    _add_states(sample.add_argument_group("states"))
    _add_geometries(sample.add_argument_group("geometries"))
    _add_dynamics(sample.add_argument_group("molecular dynamics"))
    _add_modes(sample.add_argument_group("normal modes"))
    _add_dimers(sample.add_argument_group("dimers"))
    _add_crystals(sample.add_argument_group("crystals (structures with pbc)"))
    sample.set_defaults(command=_sample, after_interrupt="- nothing was written")


def _add_general(sample: argparse.ArgumentParser) -> None:
    sample.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file of structures to write (extended XYZ)"
    )
    sample.add_argument(
        "--seed",
        type=SEED,
        default=0,
        help="random seed; the seed of every structure is derived from it (default: 0)",
    )
    sample.add_argument(
        "--limit",
        type=COUNT,
        metavar="N",
        help="stop after N structures, which are a random sample of all (default: no limit)",
    )
    sample.add_argument(
        "--processes", type=COUNT, metavar="N", help="number of processes (default: one for each core)"
    )
    sample.add_argument("--quiet", action="store_true", help="show no progress bar")
    sample.add_argument("--force", action="store_true", help="replace the output file if it exists")
    sample.add_argument(
        "--strict",
        action="store_true",
        help="end with an error, after writing the output, if an input entry could not be used",
    )


def _add_states(group: Any) -> None:
    add_periodicity(group)
    group.add_argument(
        "--charge",
        type=CHARGE,
        help="total charge in e of all structures (default: as stated in the file, otherwise 0); the charge "
        "of a SMILES is always its own",
    )
    group.add_argument(
        "--multiplicity", type=MULTIPLICITY, metavar="2S+1",
        help="spin multiplicity of all structures, and of SMILES that are not followed by, for example, "
        "'multiplicity=1' (default: as stated in the file; of a SMILES, from its unpaired electrons)",
    )  # fmt: skip
    group.add_argument(
        "--vertical", nargs="+", default=[], choices=["cation", "anion", "triplet"],
        help="also write every geometry in these states: one electron less, one more, or two more unpaired",
    )  # fmt: skip


def _add_geometries(group: Any) -> None:
    group.add_argument(
        "--temperatures",
        type=TEMPERATURE,
        nargs="+",
        default=[0, 300, 500, 800],
        metavar="K",
        help="temperatures in K at which geometries are sampled; 0 means the relaxed geometry itself "
        "(default: 0 300 500 800)",
    )
    group.add_argument(
        "--draws",
        type=COUNT,
        metavar="N",
        help="number of these temperatures, chosen at random, used for each conformer (default: all)",
    )
    group.add_argument(
        "--conformers",
        type=COUNT,
        default=1,
        metavar="N",
        help="number of conformers generated for each SMILES (default: 1)",
    )
    group.add_argument(
        "--fmax",
        type=POSITIVE,
        default=0.05,
        metavar="EV_PER_A",
        help="a geometry counts as relaxed once no force is larger than this, in eV/Angstrom (default: 0.05)",
    )
    group.add_argument(
        "--relax-steps",
        type=COUNT,
        default=300,
        metavar="N",
        help="drop conformers that are not relaxed after N steps (default: 300)",
    )
    group.add_argument(
        "--duplicate-tolerance",
        type=real(),
        default=0.02,
        metavar="A",
        help="a geometry is dropped as a duplicate if no interatomic distance, in sorted order, differs by "
        "more than this from those of another, in Angstrom (default: 0.02)",
    )


def _add_dynamics(group: Any) -> None:
    group.add_argument(
        "--md-steps",
        type=NUMBER,
        default=100,
        metavar="N",
        help="steps of molecular dynamics before each frame that is kept; 0 for no dynamics (default: 100)",
    )
    group.add_argument(
        "--frames",
        type=COUNT,
        default=1,
        metavar="N",
        help="number of frames kept of each trajectory (default: 1)",
    )
    group.add_argument(
        "--timestep", type=POSITIVE, default=0.7, metavar="FS", help="time step in fs (default: 0.7)"
    )
    group.add_argument(
        "--friction",
        type=POSITIVE,
        default=0.02,
        metavar="PER_FS",
        help="friction of the Langevin thermostat in 1/fs (default: 0.02)",
    )


def _add_modes(group: Any) -> None:
    group.add_argument(
        "--displacements",
        type=NUMBER,
        default=0,
        metavar="N",
        help="number of geometries displaced along normal modes per conformer and temperature (default: 0)",
    )
    group.add_argument(
        "--statistics",
        default="classical",
        choices=["classical", "wigner"],
        help="distribution of the displacements: classical puts an energy of kT into each mode, wigner draws "
        "from the quantum harmonic oscillator, zero-point motion included (default: classical)",
    )


def _add_dimers(group: Any) -> None:
    group.add_argument(
        "--partners",
        nargs="+",
        default=[],
        metavar="SMILES",
        help="make dimers of every molecule with each of these",
    )
    group.add_argument(
        "--partner-geometries",
        type=COUNT,
        default=1,
        metavar="N",
        help="number of starting geometries for each pair that --partners makes (default: 1)",
    )
    group.add_argument(
        "--dimers",
        type=NUMBER,
        default=0,
        metavar="N",
        help="number of pairs chosen at random among the molecules of the input (default: 0)",
    )
    group.add_argument(
        "--dimer-heavy-atoms",
        type=NUMBER,
        default=6,
        metavar="N",
        help="--dimers pairs only molecules with at most N non-hydrogen atoms together (default: 6)",
    )
    group.add_argument(
        "--dimer-relax-steps",
        type=NUMBER,
        default=15,
        metavar="N",
        help="number of steps for which a new dimer is relaxed (default: 15)",
    )
    group.add_argument(
        "--contact",
        type=POSITIVE,
        nargs=2,
        default=[1.9, 3.6],
        metavar=("MIN_A", "MAX_A"),
        help="range from which the shortest distance between the molecules of a new dimer is drawn, in "
        "Angstrom (default: 1.9 3.6)",
    )


def _add_crystals(group: Any) -> None:
    group.add_argument(
        "--supercell",
        type=COUNT,
        nargs=3,
        default=[1, 1, 1],
        metavar="N",
        help="repeats of the cell along its three vectors (default: 1 1 1)",
    )
    group.add_argument(
        "--distortions",
        type=NUMBER,
        default=10,
        metavar="N",
        help="number of distorted structures of each crystal, beside the crystal as given (default: 10)",
    )
    group.add_argument(
        "--strain",
        type=real(0, 0.5),
        default=0.06,
        metavar="SHARE",
        help="elements of the strain of periodic directions are drawn from minus to plus this (default: "
        "0.06)",
    )
    group.add_argument(
        "--rattle",
        type=real(0, 1),
        default=0.05,
        metavar="A",
        help="standard deviation of the displacement of atoms along each axis, in Angstrom (default: 0.05)",
    )


def _sample_crystals(options: argparse.Namespace, crystals: "list[Atoms]") -> None:
    from helm_ase import sampling
    from helm_ase.errors import StructureError

    settings = sampling.CrystalSampling(
        options.distortions, options.strain, options.rattle, tuple(options.supercell), options.seed,
        options.limit,
    )  # fmt: skip
    result = sampling.sample_crystals(crystals, settings)
    print(sampling.summarise_crystals(result))
    if not result.structures:
        raise StructureError(f"in every structure atoms are too close; {options.output} was not written")
    sampling.write(result, options.output)
    print(f"written to {options.output}")


def _sample(options: argparse.Namespace) -> None:
    from helm_ase import sampling
    from helm_ase.errors import StructureError
    from helm_ase.sampling.output import DROPPED
    from helm_ase.system.atomic_write import check_apart

    names = [field.name for field in fields(sampling.SamplingSettings)]
    settings = sampling.SamplingSettings(**{name: getattr(options, name) for name in names})
    check_apart([options.output, options.output + DROPPED], options.inputs)
    sampling.check_output(options.output, options.force)
    if (
        not options.smiles
        and options.pbc != ""
        and (crystals := sampling.read_crystals(options.inputs, options.pbc))
    ):
        return _sample_crystals(options, crystals)
    if options.pbc:
        raise StructureError("--pbc is for crystals, and these are molecules: leave it out")
    reading = sampling.Reading(options.charge, options.multiplicity, options.pbc == "", skipped=[])
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
