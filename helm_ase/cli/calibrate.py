"""``helm-ase calibrate``."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helm_ase.cli.number_types import NUMBER

if TYPE_CHECKING:
    from helm_ase.checkpoint import Checkpoint
    from helm_ase.labels.source import LabelSource
    from helm_ase.representation import LabelledMolecule
    from helm_ase.representation.structure import Structure

DESCRIPTION = """Derive from label files how the error of a model's energies can be estimated for a new
structure, and write the result to a file.  With that file beside the checkpoint, get_uncertainty() and
get_verdict() of the calculator, and the commands run and report, give an error bar for every energy."""
EPILOG = """The error bar, in eV/atom, grows with the distance of a structure's atoms from the training set,
measured in the features of the network's last layer, and with the error on the nearest training molecules.
Its scale is fitted to one half of the validation molecules and tested on the other half; the command prints
the result for both.  An error bar above the
threshold, which one in five molecules with errors below 3 meV/atom exceeds, counts as extrapolation.
The file also records the lengths of the bonds in the training set, by which broken bonds are recognised, how
many labels had each charge and multiplicity, and how far predicted Hamiltonians usually are from
self-consistency, with which get_reliability() compares.

For a model of crystals that predicts Hamiltonians only, whose labels are files of crystals, kinds of bonds in
training and the largest distance from it of each kind of atom in validation are recorded: a crystal with
other bonds, or with atoms that are farther, counts as extrapolation.  How many frames of one half of the
validation set would be flagged by the other half is printed."""
FOCK_MATRICES = 40
"""How many are computed by default."""


def add_commands(commands: Any) -> None:
    """Add ``calibrate``."""
    parser = commands.add_parser(
        "calibrate",
        help="calibrate the error bars of a model's energies",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="checkpoint: path, or a name from 'helm-ase models', in which case add -o",
    )
    parser.add_argument(
        "data",
        nargs="+",
        metavar="LABELS",
        help="label files in any known format, at the level of theory of the checkpoint",
    )
    parser.add_argument(
        "--train-split",
        default="train",
        metavar="NAME",
        help="split of the label files on which the model was trained (default: train)",
    )
    parser.add_argument(
        "--split",
        default="val",
        metavar="NAME",
        help="split on which it was not trained, to which the error bar is fitted (default: val)",
    )
    parser.add_argument(
        "--fock", type=NUMBER, metavar="N",
        help="for N molecules of that split, at least 20, also compute a Fock matrix, to know how far from "
        "self-consistency predicted Hamiltonians usually are (default: 40; 0: none; not for crystals)",
    )  # fmt: skip
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="file to write (default: beside the checkpoint, under its name, ending in "
        ".uncertainty.safetensors)",
    )
    parser.set_defaults(command=_calibrate)


def _calibrate(options: argparse.Namespace) -> None:
    from helm_ase.checkpoint import load_model, resolve
    from helm_ase.checkpoint.uncertainty import save_uncertainty, uncertainty_path
    from helm_ase.evaluation.calibration import calibrate, collect
    from helm_ase.labels.crystal_summary import holds_crystals
    from helm_ase.labels.formats import open_labels
    from helm_ase.representation.bonding import BondCoverage
    from helm_ase.representation.charge_state import ChargeState

    target = Path(options.output) if options.output else uncertainty_path(resolve(options.checkpoint))
    checkpoint = load_model(options.checkpoint)
    if crystals := list(filter(holds_crystals, options.data)):
        return _record_environments(options, checkpoint, target, crystals)
    sources = [open_labels(path) for path in options.data]
    trained_on: list[Structure] = []
    judged_on: list[Structure] = []
    train = collect(checkpoint, _labels(checkpoint, sources, options.train_split, trained_on))
    validation = collect(checkpoint, _labels(checkpoint, sources, options.split, judged_on))
    bonds = BondCoverage.collect(
        (one.numbers, one.positions, ChargeState(one.charge, one.multiplicity)) for one in trained_on
    )
    made = calibrate(checkpoint, train, validation)
    facts = dict(made.facts) | _self_consistency(
        checkpoint, judged_on, FOCK_MATRICES if options.fock is None else options.fock
    )
    uncertainty = replace(made, bonding=bonds, facts=facts)
    save_uncertainty(uncertainty, target)
    print(f"{target}: above {1e3 * uncertainty.threshold:.2f} meV/atom an energy is extrapolation")
    for half in ("calibration half", "other half"):
        print(f"  {half}: " + ", ".join(f"{k} {v}" for k, v in uncertainty.facts[half].items()))


def _record_environments(
    options: argparse.Namespace, checkpoint: "Checkpoint", target: Path, paths: list[str]
) -> None:
    """Record how far from training unseen frames are, for a model of crystals."""
    from helm_ase.checkpoint.uncertainty import save_uncertainty
    from helm_ase.errors import DatasetError, SettingError
    from helm_ase.evaluation.environments import Frame, record_environments
    from helm_ase.labels.crystals import CrystalSource
    from helm_ase.representation.level import physical_differences

    if len(paths) < len(options.data):
        raise DatasetError("some files hold crystals, others molecules: a model knows one or the other")
    if options.fock is not None:
        raise SettingError("--fock is for molecules only: leave it out for crystals")
    frames: dict[str, list[Frame]] = {options.train_split: [], options.split: []}
    for path in paths:
        source = CrystalSource(path)
        if different := physical_differences(checkpoint.level, source.level):
            raise DatasetError(f"{path} is of another level of theory than {checkpoint.name!r}: {different}")
        for label in source:  # one at a time, for their matrices are large
            if label.split in frames:
                frames[label.split].append(Frame(label.numbers, label.positions, label.lattice))
    record = record_environments(checkpoint, frames[options.train_split], frames[options.split])
    save_uncertainty(record, target)
    print(f"{target}: what is farther from training than atoms of its kind in validation is extrapolation")
    print("  other half: " + ", ".join(f"{k} {v}" for k, v in record.facts["other half"].items()))


def _labels(
    checkpoint: "Checkpoint", sources: "list[LabelSource]", split: str, structures: "list[Structure]"
) -> "Iterator[LabelledMolecule]":
    """Labels of a split, whose structures are noted in a list as they pass: reading matrices takes time."""
    from helm_ase.evaluation.selection import known_labels
    from helm_ase.representation.structure import Structure
    from helm_ase.system.terminal import progress_bar

    labels = known_labels(checkpoint, sources, split)
    for label in progress_bar(labels, desc=f"split {split}", unit=" molecules"):
        structures.append(
            Structure(label.name, label.numbers, label.positions, label.charge, label.multiplicity)
        )
        yield label


def _self_consistency(checkpoint: "Checkpoint", structures: "list[Structure]", count: int) -> dict[str, Any]:
    """How far predicted Hamiltonians usually are from self-consistency, on molecules evenly spaced over the
    split; empty if it was not asked for, or could not be measured, which is said."""
    import numpy as np

    from helm_ase.checkpoint.uncertainty import SELF_CONSISTENCY
    from helm_ase.prediction.self_consistency import usual_distance
    from helm_ase.system.terminal import progress_bar

    if not count or "hamiltonian" not in checkpoint.predicts:
        return {}
    chosen = np.linspace(0, len(structures) - 1, min(count, len(structures))).round().astype(int)
    bar = progress_bar([structures[k] for k in chosen], desc="Fock matrices", unit=" molecules")
    found, failures = usual_distance(checkpoint, bar)
    if failures:
        print(f"{len(failures)} of {len(chosen)} Fock matrices could not be computed: {failures[0]}")
    if not found:
        print("too few molecules to say how far from self-consistency Hamiltonians usually are")
        return {}
    print(f"self-consistency: |F[D(H)] - H| of 19 in 20 molecules is below {found['fock_residual']:.2g} Eh")
    return {SELF_CONSISTENCY: found}
