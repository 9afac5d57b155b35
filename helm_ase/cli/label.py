"""``helm-ase label``."""

import argparse
from typing import TYPE_CHECKING, Any

from helm_ase.cli.data import FLOAT32
from helm_ase.cli.number_types import COUNT, POSITIVE, real, whole

if TYPE_CHECKING:
    from helm_ase.labelling.campaign import CampaignSettings

EPILOG = """The same command goes on where an interrupted one stopped.  Structures that fail are listed in
OUTPUT.failures.jsonl and tried again with --retry-failed.  Charge and multiplicity come from atoms.info
('charge', 'multiplicity'); multiplicities above 1 are unrestricted (UKS)."""


AFTER_INTERRUPT = "- all finished labels are kept: the same command goes on"


def add_commands(commands: Any) -> None:
    """Add ``label``."""
    label = commands.add_parser(
        "label", help="compute labels with PySCF: energy, forces, Hamiltonian", epilog=EPILOG
    )
    label.add_argument(
        "structures", nargs="+", metavar="FILE", help="structures in any format that ASE reads"
    )
    label.add_argument("--no-pbc", action="store_true", help="take molecules out of their periodic boxes")
    label.add_argument("-o", "--output", required=True, metavar="FILE", help="label file to write (.h5)")
    _add_level(label.add_argument_group("level of theory (recorded in the file)"))
    _add_answers(label.add_argument_group("answers"))
    _add_resources(label.add_argument_group("resources"))
    label.set_defaults(command=_label, after_interrupt=AFTER_INTERRUPT)


def _add_level(group: Any) -> None:
    group.add_argument("--xc", default="b3lyp", metavar="NAME", help="functional as PySCF spells it (b3lyp)")
    group.add_argument(
        "--basis", default="def2-svp", metavar="NAME", help="basis set as PySCF spells it (def2-svp)"
    )
    group.add_argument(
        "--density-fitting",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compute Coulomb and exchange matrices by density fitting (default)",
    )
    group.add_argument(
        "--auxiliary-basis",
        default="",
        metavar="NAME",
        help="auxiliary basis of the density fitting (default: PySCF's for the basis)",
    )
    group.add_argument(
        "--grid",
        type=whole(0, 9),
        default=3,
        metavar="LEVEL",
        help="integration grid, 0-9 as PySCF numbers them (3)",
    )
    group.add_argument(
        "--conv-tol",
        type=POSITIVE,
        default=1e-9,
        metavar="EH",
        help="convergence threshold of the SCF energy, Hartree (1e-9)",
    )


def _add_answers(group: Any) -> None:
    group.add_argument("--no-forces", action="store_true", help="do not compute forces")
    group.add_argument("--density", action="store_true", help="also store density matrices")
    group.add_argument(
        "--polarizability",
        action="store_true",
        help="also compute polarizabilities (coupled-perturbed Kohn-Sham)",
    )
    group.add_argument("--float32", action="store_true", help=FLOAT32)
    group.add_argument(
        "--max-cycles",
        type=COUNT,
        default=60,
        metavar="N",
        help="largest number of cycles of each SCF attempt (60)",
    )
    group.add_argument(
        "--min-gap",
        type=real(),
        default=0.0,
        metavar="EH",
        help="reject molecules with a smaller HOMO-LUMO gap, Hartree (0)",
    )
    group.add_argument(
        "--stability-gap",
        type=real(),
        default=0.25,
        metavar="EH",
        help="examine singlets with a smaller gap for broken symmetry, Hartree (0.25; 0: none)",
    )
    group.add_argument(
        "--max-spin-contamination",
        type=real(),
        default=0.1,
        metavar="S2",
        help="reject radicals whose <S^2> is higher by more (0.1)",
    )
    group.add_argument(
        "--tight",
        action="store_true",
        help="do every SCF cycle on the full grid: as accurate, four times slower",
    )
    group.add_argument(
        "--model", metavar="NAME", help="checkpoint whose density is the initial guess of the second attempt"
    )


def _add_resources(group: Any) -> None:
    group.add_argument(
        "--workers", type=COUNT, metavar="N", help="number of local worker processes (default: one per core)"
    )
    group.add_argument(
        "--threads", type=COUNT, default=1, metavar="N", help="number of threads of each worker (1)"
    )
    group.add_argument(
        "--time-limit",
        type=POSITIVE,
        default=3600.0,
        metavar="S",
        help="processor time per molecule and thread, s (3600)",
    )
    group.add_argument(
        "--memory-limit", type=POSITIVE, default=8.0, metavar="GB", help="memory limit per molecule, GB (8)"
    )
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="address of a running Dask scheduler, or its .json file"
    )
    group.add_argument(
        "--batch-system", metavar="NAME", help="submit workers to a batch system: slurm, pbs, lsf, ..."
    )
    group.add_argument(
        "--jobs", type=COUNT, default=1, metavar="N", help="number of jobs that --batch-system submits (1)"
    )
    group.add_argument(
        "--order", choices=("largest", "smallest", "file", "random"), default="largest",
        help="which structures come first (largest: no worker is idle at the end)",
    )  # fmt: skip
    group.add_argument(
        "--finish", action="store_true",
        help="label nothing; move what an interrupted campaign has finished into the label file",
    )  # fmt: skip
    group.add_argument("--retry-failed", action="store_true", help="try the listed failures again")
    group.add_argument("--quiet", action="store_true", help="show no progress bar")


def _label(options: argparse.Namespace) -> None:
    from helm_ase.errors import SCFError
    from helm_ase.labelling import read_structures, run_campaign
    from helm_ase.labelling.campaign import finish_campaign
    from helm_ase.system.atomic_write import check_apart

    beside = [options.output + end for end in ("", ".journal", ".failures.jsonl")]
    check_apart(beside, options.structures)
    if options.finish:
        campaign = finish_campaign(_settings(options))
    else:
        campaign = run_campaign(read_structures(options.structures, options.no_pbc), _settings(options))
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


def _settings(options: argparse.Namespace) -> "CampaignSettings":
    from helm_ase.labelling.campaign import CampaignSettings
    from helm_ase.labelling.cluster import ClusterSettings
    from helm_ase.labelling.sandbox import Limits
    from helm_ase.qc.labelling import LabelSettings
    from helm_ase.qc.level import pyscf_level

    label = LabelSettings(
        level=pyscf_level(
            options.xc, options.basis, options.density_fitting, options.grid, options.conv_tol,
            options.auxiliary_basis,
        ),
        forces=not options.no_forces, density=options.density, polarizability=options.polarizability,
        max_cycles=options.max_cycles, min_gap=options.min_gap, tight=options.tight,
        stability_gap=options.stability_gap, max_spin_contamination=options.max_spin_contamination,
    )  # fmt: skip
    return CampaignSettings(
        output=options.output, label=label, model=options.model, retry_failed=options.retry_failed,
        limits=Limits(options.time_limit, options.memory_limit * 1e9, options.threads),
        cluster=ClusterSettings(
            options.workers, options.scheduler, options.batch_system, options.jobs
        ),
        precision="float32" if options.float32 else "float64", progress=not options.quiet,
        order=options.order,
    )  # fmt: skip
