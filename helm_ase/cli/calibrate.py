"""``helm-ase calibrate``."""

import argparse
from pathlib import Path
from typing import Any

EPILOG = """The error bar comes from the last layer of the network: its features over the training set say
what the model knows, and their distance from it how far off an energy may be.  Its scale is fitted to one
half of the validation molecules and tried on the other; its threshold is what nine of ten training molecules
stay below.  The file belongs beside the checkpoint, where it is found; get_uncertainty() of the calculator
then gives the error bar of every energy."""


def add_commands(commands: Any) -> None:
    """Add ``calibrate``."""
    parser = commands.add_parser("calibrate", help="make the error bar of a model's energies", epilog=EPILOG)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="path of a model, or a name with -o")
    parser.add_argument("data", nargs="+", metavar="LABELS", help="labels of one level, in any known format")
    parser.add_argument("--train-split", default="train", metavar="NAME", help="what it learnt from (train)")
    parser.add_argument("--split", default="val", metavar="NAME", help="what it did not learn from (val)")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="default: NAME.uncertainty.safetensors beside the checkpoint"
    )
    parser.set_defaults(command=_calibrate)


def _calibrate(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import load_model, resolve
    from helm_ase.checkpoint.uncertainty import save_uncertainty, uncertainty_path
    from helm_ase.evaluation.calibration import calibrate, collect
    from helm_ase.evaluation.selection import known_labels
    from helm_ase.labels.formats import open_labels

    target = Path(options.output) if options.output else uncertainty_path(resolve(options.checkpoint))
    checkpoint = load_model(options.checkpoint)
    sources = [open_labels(path) for path in options.data]
    train, validation = (
        collect(checkpoint, known_labels(checkpoint, sources, split))
        for split in (options.train_split, options.split)
    )
    uncertainty = calibrate(checkpoint, train, validation)
    save_uncertainty(uncertainty, target)
    print(f"{target}: above {1e3 * uncertainty.threshold:.2f} meV/atom an energy is extrapolation")
    for half in ("calibration half", "other half"):
        print(f"  {half}: " + ", ".join(f"{k} {v}" for k, v in uncertainty.facts[half].items()))
