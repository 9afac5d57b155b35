"""Study 5: what choosing structures to label saves against drawing them at random.

    python selection.py LABELS.h5 FOLDER [--model helm-hcnof-2] [--labels 25 50 100] [--seeds 0 1 2]
                        [--epochs 20] [--report-only]

LABELS.h5 must be unknown to the model: its split ``train`` is the pool, whose labels are only looked at once
they are chosen, and its split ``val`` measures.  For every number of labels and seed the model is trained
further (``recipe.yaml``) on labels drawn at random, on those of the largest error bars, and on those that
``helm-ase select`` chooses.  The seed decides the random draw and the order of the batches.  Molecules that
the model does not know are left out.  Runs that are there already are not repeated.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from helm_ase.checkpoint import load_model, read_checkpoint
from helm_ase.evaluation.calibration import collect
from helm_ase.evaluation.selection import choose, known_labels
from helm_ase.labelling.pool import SelectionSettings, select
from helm_ase.labels.formats import open_labels
from helm_ase.labels.writer import LabelWriter
from helm_ase.training.configuration import read_recipe
from helm_ase.training.run import train

HERE = Path(__file__).parent
WAYS = ("random", "uncertain", "select")
UNITS = {"energy": 1e3, "forces": 1e3}
"""From what a checkpoint says (eV/atom, eV/Å) to what the table says."""


def ranked(checkpoint, model, source, indices, way, seed):
    """Indices of the pool in the order in which they would be labelled."""
    if way == "random":
        return np.random.default_rng(seed).permutation(indices).tolist()
    atoms = []
    for k in indices.tolist():
        label = source[k]
        state = {"charge": label.charge, "multiplicity": label.multiplicity, "index": k}
        atoms.append(Atoms(label.numbers, label.positions, info=state))
    settings = SelectionSettings(len(atoms), model, diverse=way == "select", progress=False)
    return [judged.atoms.info["index"] for judged, _ in select(atoms, settings).chosen]


def write_chosen(path, source, training, validation):
    """A label file of its own for one run."""
    with LabelWriter(path, source.level) as writer:
        for split, indices in (("train", training), ("val", validation)):
            for k in indices:
                writer.add(replace(source[k], name=f"{split}-{k}", split=split))


def run(options, source, order, validation, way, labels, seed):
    """Train on the first labels of an order, unless that has been done, and keep the errors."""
    root = Path(options.folder).resolve()
    result = root / f"{way}-{labels}-{seed}.result.json"
    if result.exists():
        return
    path = root / f"{way}-{labels}-{seed}.h5"
    write_chosen(path, source, order[:labels], validation)
    recipe = read_recipe(
        HERE / "recipe.yaml",
        [
            f"data.train=[{path}]", f"data.validation=[{path}]", f"seed={seed}", f"start={options.model}",
            f"folder={root / f'{way}-{labels}-{seed}'}",
        ],
    )  # fmt: skip
    stage = replace(recipe.stages[0], epochs=options.epochs, validate_every=options.epochs)
    found = dict(read_checkpoint(train(replace(recipe, stages=(stage,)))).metrics)
    result.write_text(json.dumps({"way": way, "labels": labels, "seed": seed, "metrics": found}))
    print(way, labels, seed, found, flush=True)


def cell(values):
    """Mean ± standard deviation over seeds."""
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{spread} ({len(values)})"


def report(folder, before):
    """Table of energy and force errors by way to choose and number of labels."""
    found = [json.loads(p.read_text()) for p in sorted(Path(folder).glob("*.result.json"))]
    head = [f"{way}, {unit}" for unit in ("meV/atom", "meV/Å") for way in WAYS]
    lines = ["| labels | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]
    for n in sorted({r["labels"] for r in found}):
        cells = []
        for quantity, unit in UNITS.items():
            for way in WAYS:
                chosen = [r for r in found if (r["way"], r["labels"]) == (way, n)]
                cells.append(cell([unit * r["metrics"][quantity] for r in chosen]))
        lines.append(f"| {n} | " + " | ".join(cells) + " |")
    return f"{before:.1f} meV/atom before any label\n\n" + "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels_file", metavar="LABELS.h5")
    parser.add_argument("folder")
    parser.add_argument("--model", default="helm-hcnof-2")
    parser.add_argument("--labels", type=int, nargs="*", default=[25, 50, 100])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    checkpoint = load_model(options.model)
    with open_labels(options.labels_file) as source:
        pool, _ = choose(checkpoint, source, "train", skip_unknown=True)
        validation, _ = choose(checkpoint, source, "val", skip_unknown=True)
        errors = collect(checkpoint, known_labels(checkpoint, [source], "val")).errors
        print(f"{len(pool)} structures in the pool, {len(validation)} to measure with")
        for way in [] if options.report_only else options.ways:
            for seed in options.seeds:
                order = ranked(checkpoint, options.model, source, pool, way, seed)
                for labels in options.labels:
                    run(options, source, order, validation.tolist(), way, labels, seed)
    print(report(options.folder, 1e3 * float(np.abs(errors).mean())))


if __name__ == "__main__":
    main()
