"""``helm-ase evaluate``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helm_ase.cli.number_types import COUNT, NUMBER
from helm_ase.cli.structure_options import CHECKPOINT, DEVICE, DTYPE

if TYPE_CHECKING:
    from helm_ase.checkpoint import Checkpoint
    from helm_ase.evaluation.selection import Selection
    from helm_ase.labels.source import LabelSource

DESCRIPTION = """Predict labelled molecules and compare with their labels: energies, forces, the Hamiltonian,
and orbital energies, density, dipole moment and charges computed from the predicted Hamiltonian by one
diagonalisation, without SCF.  The same errors are given for the baseline Hamiltonian H0 alone, to which the
network adds its correction."""
EPILOG = """With -o, results are also written to FOLDER as evaluation.json, molecules.csv and pictures.  H0 is
computed once and stored in a cache for later runs.  Label files that need --option or --level are first
converted with 'helm-ase data convert'."""


def add_commands(commands: Any) -> None:
    """Add ``evaluate``."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure the errors of a checkpoint on labelled molecules, beside those of H0",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_subject(evaluate, limit=None)
    evaluate.add_argument(
        "-o", "--output", metavar="FOLDER", help="folder to write to (default: results are only printed)"
    )
    evaluate.add_argument("--no-plots", action="store_true", help="write no pictures to FOLDER")
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of tables")
    evaluate.add_argument(
        "--other-level",
        action="store_true",
        help="accept labels computed with another functional than the model was trained on, but in the same "
        "basis",
    )
    _add_costly(evaluate.add_argument_group("costly parts"))
    evaluate.set_defaults(command=_evaluate, after_interrupt="- H0 computed so far is kept")


def _add_costly(costly: Any) -> None:
    costly.add_argument(
        "--no-energy-from-h",
        action="store_true",
        help="leave out E[D(H)], the DFT energy of the density D given by the predicted H; it takes PySCF "
        "one SCF cycle for each H and H0",
    )
    costly.add_argument(
        "--scf",
        type=NUMBER,
        default=0,
        metavar="N",
        help="on N molecules, also converge the SCF from the predicted density and from PySCF's own guess, "
        "and compare the numbers of cycles (default: 0)",
    )
    costly.add_argument(
        "--cache",
        metavar="FOLDER",
        help="folder in which H0 is stored (default: beside the labels or, where that cannot be written, in "
        "the folder of -o)",
    )
    costly.add_argument(
        "--processes",
        type=COUNT,
        default=1,
        metavar="N",
        help="number of processes that compute H0 (default: 1)",
    )


def add_subject(parser: Any, limit: int | None) -> None:
    """Add what ``evaluate`` and ``embed`` share: the model, the molecules, and where to compute."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument("data", metavar="DATA", help="label file in any known format")
    parser.add_argument(
        "--split",
        default="val",
        metavar="NAME",
        help="use the molecules that the file assigns to this split, such as train, val or test; all: every "
        "molecule (default: val)",
    )
    parser.add_argument(
        "--limit", type=COUNT, default=limit, metavar="N",
        help=f"use at most N molecules, evenly spaced in the file (default: {limit or 'all'})",
    )  # fmt: skip
    parser.add_argument(
        "--skip-unknown",
        action="store_true",
        help="leave out molecules with elements unknown to the model (default: stop with an error)",
    )
    parser.add_argument(
        "--format",
        help="format of the labels, as 'helm-ase data info --formats' lists them (default: recognised by "
        "name and content)",
    )
    parser.add_argument("--device", help=DEVICE)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"], help=DTYPE)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def load_subject(options: argparse.Namespace) -> "tuple[Checkpoint, LabelSource]":
    """Checkpoint on its device and in its precision, and the open label file."""
    from helm_ase.checkpoint import load_model
    from helm_ase.labels.formats import open_labels
    from helm_ase.nn.placement import move

    checkpoint = load_model(options.checkpoint)
    move(checkpoint.model, options.device, options.dtype)
    return checkpoint, open_labels(options.data, options.format)


def split_of(options: argparse.Namespace) -> str | None:
    """Split that was asked for; None for all molecules."""
    return None if options.split == "all" else options.split


def output_folder(path: str) -> Path:
    """Make a folder for results.

    Raises
    ------
    SettingError
        If there is a file of that name.
    """
    from helm_ase.errors import SettingError

    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"{folder} is a file; -o needs a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _evaluate(options: argparse.Namespace) -> None:
    from helm_ase.evaluation import assessment, report

    progress = sys.stderr.isatty() and not options.quiet
    settings = assessment.AssessmentSettings(not options.no_energy_from_h, options.scf, progress)
    checkpoint, source = load_subject(options)
    folder = output_folder(options.output) if options.output else None
    with source:
        selection = _select(options, checkpoint, source, folder)
        assessed = assessment.assess(checkpoint, selection, settings)
        facts = report.facts_of(checkpoint, selection)
    text = report.as_json(facts, assessed)
    if folder is not None:
        report.write_text(folder / "evaluation.json", text)
        report.write_text(folder / "molecules.csv", report.as_csv(assessed.molecules))
        if not options.no_plots:
            from helm_ase.evaluation.plots import draw_all

            draw_all(assessed, folder, checkpoint.name)
    print(text if options.json else report.as_text(facts, assessed), end="")
    if folder is not None and not options.json:
        print(f"\nwritten to {folder}")


def _select(
    options: argparse.Namespace, checkpoint: "Checkpoint", source: "LabelSource", folder: Path | None
) -> "Selection":
    from helm_ase.evaluation.selection import select, writable_cache

    cache = options.cache or writable_cache(options.data, folder)
    return select(
        checkpoint, source, split_of(options), options.limit, cache, options.skip_unknown, options.other_level
    ).prepare(options.processes)
