"""``helm-ase label``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helm_ase.cli.data import FLOAT32
from helm_ase.cli.number_types import COUNT, POSITIVE, real, whole
from helm_ase.cli.structure_options import add_periodicity

if TYPE_CHECKING:
    from helm_ase.labelling.campaign import CampaignSettings
    from helm_ase.qc.crystal_labelling import CrystalLabelSettings
    from helm_ase.qc.labelling import LabelSettings

DESCRIPTION = """Compute the labels of molecules or of crystals, that is, the DFT results that a model is
trained on: energy, forces, Hamiltonian, orbital energies, dipole moment and Mulliken charges, with PySCF, in
parallel on this machine or on a cluster.  Frames with periodic directions (pbc) are crystals; their labels
are energies and the Hamiltonian on a mesh of k points, in a file of its own layout."""
EPILOG = """To continue an interrupted campaign, run the same command again.  Structures whose calculation
fails are listed, with the reason, in a file beside the output, whose name ends in .failures.jsonl.  Charge
and spin multiplicity are read from atoms.info ('charge', 'multiplicity'; default: 0 and 1); multiplicity 1
is computed with restricted, higher ones with unrestricted Kohn-Sham DFT."""

AFTER_INTERRUPT = "- all finished labels are kept: the same command goes on"

OF_MOLECULES: dict[str, Any] = {
    "density": False, "polarizability": False, "float32": False, "tight": False, "model": None,
    "auxiliary_basis": "", "grid": 3, "density_fitting": True, "no_forces": False, "min_gap": 0.0,
    "stability_gap": 0.25, "max_spin_contamination": 0.1,
}  # fmt: skip
"""Options that only molecules have → their defaults."""
OF_CRYSTALS: dict[str, Any] = {
    "kpts": None, "smearing": 0.005, "cutoff": 160.0, "pseudopotential": "gth-pbe", "crystal_forces": False,
    "stress": False,
}  # fmt: skip
"""Options that only crystals have → their defaults."""


def add_commands(commands: Any) -> None:
    """Add ``label``."""
    label = commands.add_parser(
        "label",
        help="compute labels with PySCF: energy, forces, Hamiltonian",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    label.add_argument(
        "structures", nargs="+", metavar="FILE", help="structures in any format that ASE reads (all frames)"
    )
    add_periodicity(label)
    label.add_argument("-o", "--output", required=True, metavar="FILE", help="label file to write (.h5)")
    _add_level(label.add_argument_group("level of theory (recorded in the file)"))
    _add_crystals(label.add_argument_group("crystals (frames with pbc), beside --xc, --basis and --conv-tol"))
    _add_quantities(label.add_argument_group("what to compute"))
    _add_scf(label.add_argument_group("SCF calculations, and which to reject"))
    _add_resources(label.add_argument_group("resources"))
    _add_course(label.add_argument_group("course of the campaign"))
    label.set_defaults(command=_label, after_interrupt=AFTER_INTERRUPT)


def _add_level(group: Any) -> None:
    group.add_argument(
        "--xc",
        metavar="NAME",
        help="functional, as PySCF spells it (default: b3lyp; of crystals: pbe)",
    )
    group.add_argument(
        "--basis",
        metavar="NAME",
        help="basis set, as PySCF spells it (default: def2-svp; of crystals: gth-szv-molopt-sr)",
    )
    group.add_argument(
        "--density-fitting",
        action=argparse.BooleanOptionalAction,
        default=OF_MOLECULES["density_fitting"],
        help="compute Coulomb and exchange matrices with or without density fitting (default: with)",
    )
    group.add_argument(
        "--auxiliary-basis",
        default=OF_MOLECULES["auxiliary_basis"],
        metavar="NAME",
        help="auxiliary basis of the density fitting (default: the one that PySCF chooses for the basis)",
    )
    group.add_argument(
        "--grid",
        type=whole(0, 9),
        default=OF_MOLECULES["grid"],
        metavar="LEVEL",
        help="level of PySCF's integration grid, from 0 (coarse) to 9 (fine) (default: 3)",
    )
    group.add_argument(
        "--conv-tol",
        type=POSITIVE,
        metavar="EH",
        help="convergence threshold of the SCF energy in Hartree (default: 1e-9; of crystals: 1e-8)",
    )


def _add_crystals(group: Any) -> None:
    group.add_argument(
        "--pseudopotential",
        default=OF_CRYSTALS["pseudopotential"],
        metavar="NAME",
        help="pseudopotential, as PySCF spells it (default: gth-pbe)",
    )
    group.add_argument(
        "--kpts",
        type=COUNT,
        nargs=3,
        metavar="N",
        help="points of the Gamma-centred k mesh along each reciprocal vector, 1 where there is no "
        "periodicity; meshes that are too coarse to give the Hamiltonian between their points are refused "
        "(default: the coarsest that is not, for each frame)",
    )
    group.add_argument(
        "--smearing",
        type=real(0, 1),
        default=OF_CRYSTALS["smearing"],
        metavar="EH",
        help="width of the Fermi smearing in Hartree; 0 for none (default: 0.005)",
    )
    group.add_argument(
        "--cutoff",
        type=POSITIVE,
        default=OF_CRYSTALS["cutoff"],
        metavar="EH",
        help="plane-wave cutoff of the density in Hartree (default: 160)",
    )
    group.add_argument(
        "--crystal-forces",
        action="store_true",
        help="also compute forces, by central differences: 6 (N - 1) SCF calculations for N atoms",
    )
    group.add_argument(
        "--stress",
        action="store_true",
        help="also compute the stress of bulk, by central differences: 12 SCF calculations",
    )


def _add_quantities(group: Any) -> None:
    group.add_argument("--no-forces", action="store_true", help="do not compute forces")
    group.add_argument(
        "--density", action="store_true", help="also store density matrices, which doubles the file"
    )
    group.add_argument(
        "--polarizability",
        action="store_true",
        help="also compute polarizabilities (coupled-perturbed Kohn-Sham), which costs as much as the SCF",
    )
    group.add_argument("--float32", action="store_true", help=FLOAT32)


def _add_scf(group: Any) -> None:
    group.add_argument(
        "--max-cycles",
        type=COUNT,
        default=60,
        metavar="N",
        help="largest number of cycles of an SCF calculation; one that does not converge is tried again with "
        "other starting points and convergence aids (default: 60)",
    )
    group.add_argument(
        "--min-gap",
        type=real(),
        default=OF_MOLECULES["min_gap"],
        metavar="EH",
        help="reject molecules with a smaller HOMO-LUMO gap, in Hartree (default: 0)",
    )
    group.add_argument(
        "--stability-gap",
        type=real(),
        default=OF_MOLECULES["stability_gap"],
        metavar="EH",
        help="check singlets with a smaller gap, in Hartree, for a broken-symmetry solution of lower energy, "
        "and label with that one if it exists (default: 0.25; with 0, none is checked)",
    )
    group.add_argument(
        "--max-spin-contamination",
        type=real(),
        default=OF_MOLECULES["max_spin_contamination"],
        metavar="S2",
        help="reject open-shell molecules whose <S^2> exceeds S(S+1) by more than this (default: 0.1)",
    )
    group.add_argument(
        "--tight",
        action="store_true",
        help="do every SCF cycle on the full integration grid, as a plain PySCF script does; four times "
        "slower (default: a coarse grid first, corrected at the end; H agrees to about 1e-6 Hartree)",
    )
    group.add_argument(
        "--model",
        metavar="NAME",
        help="checkpoint whose predicted density is the initial guess when an SCF calculation did not "
        "converge (default: none)",
    )


def _add_resources(group: Any) -> None:
    group.add_argument(
        "--workers",
        type=COUNT,
        metavar="N",
        help="number of worker processes on this machine (default: one per core)",
    )
    group.add_argument(
        "--threads", type=COUNT, default=1, metavar="N", help="number of threads of each worker (default: 1)"
    )
    group.add_argument(
        "--time-limit",
        type=POSITIVE,
        default=3600.0,
        metavar="S",
        help="stop a calculation after this much processor time per thread, in s (default: 3600)",
    )
    group.add_argument(
        "--memory-limit",
        type=POSITIVE,
        default=8.0,
        metavar="GB",
        help="stop a calculation that takes more memory than this, in GB (default: 8)",
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of a running Dask scheduler: its address (tcp://HOST:8786) or scheduler file "
        "(.json)",
    )
    group.add_argument(
        "--batch-system",
        metavar="NAME",
        help="submit workers as jobs: htcondor, lsf, moab, oar, pbs, sge, slurm, or local for this machine; "
        "queue and wall time are set in the configuration of dask-jobqueue",
    )
    group.add_argument(
        "--jobs",
        type=COUNT,
        default=1,
        metavar="N",
        help="number of jobs that --batch-system submits (default: 1)",
    )


def _add_course(group: Any) -> None:
    group.add_argument(
        "--order", choices=("largest", "smallest", "file", "random"), default="largest",
        help="order in which structures are computed: by size, as in the file, or at random (default: "
        "largest first, which keeps all workers busy until the end)",
    )  # fmt: skip
    group.add_argument(
        "--finish", action="store_true",
        help="compute nothing, only write the labels that an interrupted campaign has finished to the "
        "label file",
    )  # fmt: skip
    group.add_argument(
        "--retry-failed", action="store_true", help="compute structures again that failed before"
    )
    group.add_argument("--quiet", action="store_true", help="show no progress bar")


def _label(options: argparse.Namespace) -> None:
    from helm_ase.errors import SCFError
    from helm_ase.labelling import read_structures, run_campaign
    from helm_ase.labelling.campaign import finish_campaign
    from helm_ase.labels.crystal_summary import holds_crystals
    from helm_ase.representation.structure import CrystalStructure
    from helm_ase.system.atomic_write import check_apart

    beside = [options.output + end for end in ("", ".journal", ".failures.jsonl")]
    check_apart(beside, options.structures)
    if options.finish and not all(Path(file).is_file() for file in options.structures):
        structures, crystals = [], holds_crystals(options.output)  # labels are published without them, too
    else:
        structures = read_structures(options.structures, options.pbc)
        crystals = isinstance(structures[0], CrystalStructure)
    settings = _settings(options, crystals)
    campaign = finish_campaign(settings) if options.finish else run_campaign(structures, settings)
    print(f"{campaign.output}: {campaign.labelled} new labels, {campaign.present} were there already")
    if campaign.lacking:
        print(f"labels that were there already stay as they are, without {', '.join(campaign.lacking)}")
    if campaign.duplicates:
        print(f"{campaign.duplicates} of the structures given are copies of others")
    if campaign.failures:
        print(f"{len(campaign.failures)} failed, see {campaign.output}.failures.jsonl:")
        for failure in campaign.failures[:10]:
            print(f"  {failure.name}: {failure.reason}")
        if len(campaign.failures) > 10:
            print(f"  ... and {len(campaign.failures) - 10} more")
    if campaign.lost:
        print(f"{campaign.lost} were lost with their Dask worker: run the same command again")
    if campaign.failures and not campaign.labelled + campaign.present:
        raise SCFError("no structure could be labelled")


def _settings(options: argparse.Namespace, crystals: bool) -> "CampaignSettings":
    from helm_ase.labelling.campaign import CampaignSettings
    from helm_ase.labelling.cluster import ClusterSettings
    from helm_ase.labelling.sandbox import Limits

    label = _of_crystals(options) if crystals else _of_molecules(options)
    return CampaignSettings(
        output=options.output, label=label, model=options.model, retry_failed=options.retry_failed,
        limits=Limits(options.time_limit, options.memory_limit * 1e9, options.threads),
        cluster=ClusterSettings(
            options.workers, options.scheduler, options.batch_system, options.jobs
        ),
        precision="float32" if options.float32 else "float64", progress=not options.quiet,
        order=options.order,
    )  # fmt: skip


def _refuse_others(options: argparse.Namespace, theirs: dict[str, Any], whose: str, these: str) -> None:
    """Refuse options of the other kind of structure that differ from their defaults."""
    from helm_ase.errors import SettingError

    if asked := [f"--{k.replace('_', '-')}" for k, value in theirs.items() if getattr(options, k) != value]:
        raise SettingError(f"{', '.join(asked)}: of {whose} only; leave it out for {these}")


def _of_molecules(options: argparse.Namespace) -> "LabelSettings":
    from helm_ase.qc.labelling import LabelSettings
    from helm_ase.qc.level import pyscf_level

    _refuse_others(options, OF_CRYSTALS, "crystals", "molecules")
    return LabelSettings(
        level=pyscf_level(
            options.xc or "b3lyp", options.basis or "def2-svp", options.density_fitting, options.grid,
            options.conv_tol or 1e-9, options.auxiliary_basis,
        ),
        forces=not options.no_forces, density=options.density, polarizability=options.polarizability,
        max_cycles=options.max_cycles, min_gap=options.min_gap, tight=options.tight,
        stability_gap=options.stability_gap, max_spin_contamination=options.max_spin_contamination,
    )  # fmt: skip


def _of_crystals(options: argparse.Namespace) -> "CrystalLabelSettings":
    from helm_ase.qc.crystal import crystal_level
    from helm_ase.qc.crystal_labelling import CrystalLabelSettings

    _refuse_others(options, OF_MOLECULES, "molecules", "crystals")
    level = crystal_level(
        options.xc or "pbe", options.basis or "gth-szv-molopt-sr", options.pseudopotential, options.cutoff,
        options.smearing, options.conv_tol or 1e-8,
    )  # fmt: skip
    mesh = None if options.kpts is None else (options.kpts[0], options.kpts[1], options.kpts[2])
    return CrystalLabelSettings(
        level, mesh, options.crystal_forces, options.stress, options.max_cycles
    )  # fmt: skip
