"""``helm-ase calibrate``."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

EPILOG = """The error bar comes from the last layer of the network: its features over the training set say
what the model knows, and their distance from it how far off an energy may be.  Its scale is fitted to one
half of the validation molecules and tried on the other; its threshold is what nine of ten training molecules
stay below.  The file also records which bonds the training set has shown, so that broken ones are noticed.
It belongs beside the checkpoint, where it is found; get_uncertainty() and get_verdict() of the calculator
then say what every energy is worth."""


def add_commands(commands: Any) -> None:
    """Add ``calibrate``."""
    parser = commands.add_parser("calibrate", help="make the error bar of a model's energies", epilog=EPILOG)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="path of a checkpoint, or its name together with -o"
    )
    parser.add_argument(
        "data", nargs="+", metavar="LABELS", help="label files of one level of theory, in any known format"
    )
    parser.add_argument(
        "--train-split", default="train", metavar="NAME", help="split that the model learnt from (train)"
    )
    parser.add_argument(
        "--split", default="val", metavar="NAME", help="split that it did not learn from (val)"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="file to write (default: NAME.uncertainty.safetensors beside the checkpoint)",
    )
    parser.set_defaults(command=_calibrate)


def _calibrate(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import load_model, resolve
    from helm_ase.checkpoint.uncertainty import save_uncertainty, uncertainty_path
    from helm_ase.evaluation.calibration import calibrate, collect
    from helm_ase.evaluation.selection import known_labels
    from helm_ase.labels.formats import open_labels
    from helm_ase.representation.bonding import BondCoverage
    from helm_ase.representation.charge_state import ChargeState

    target = Path(options.output) if options.output else uncertainty_path(resolve(options.checkpoint))
    checkpoint = load_model(options.checkpoint)
    sources = [open_labels(path) for path in options.data]
    train, validation = (
        collect(checkpoint, known_labels(checkpoint, sources, split))
        for split in (options.train_split, options.split)
    )
    bonds = BondCoverage.collect(
        (label.numbers, label.positions, ChargeState(label.charge, label.multiplicity))
        for label in known_labels(checkpoint, sources, options.train_split)
    )
    uncertainty = replace(calibrate(checkpoint, train, validation), bonding=bonds)
    save_uncertainty(uncertainty, target)
    print(f"{target}: above {1e3 * uncertainty.threshold:.2f} meV/atom an energy is extrapolation")
    for half in ("calibration half", "other half"):
        print(f"  {half}: " + ", ".join(f"{k} {v}" for k, v in uncertainty.facts[half].items()))
