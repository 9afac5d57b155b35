"""Study 1: energy error on unseen molecules against the number of labels, with and without Hamiltonians.

    python data_efficiency.py LABELS.h5 FOLDER [--labels 100 300 1000] [--seeds 3] [--steps 1500]
                              [--schemes direct frozen finetune] [--report-only]

For every number of labels and every seed (which draws the molecules and the first weights): ``direct`` learns
energies alone; the other two first learn the Hamiltonians of the same molecules, once for both.  Errors are
per atom, mean over the validation molecules, none of which is in training and which choose nothing.  Runs
that are there already are not repeated.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helm_ase.checkpoint import read_checkpoint
from helm_ase.training.batches import SharedBatches, loads_of
from helm_ase.training.configuration import read_recipe
from helm_ase.training.recipe import Recipe
from helm_ase.training.run import train
from helm_ase.training.samples import open_samples

HERE = Path(__file__).parent
SCHEMES = ("direct", "frozen", "finetune")


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """Epochs such that every stage makes about so many steps; one validation, at the end."""
    backbone = recipe.model.backbone
    samples, _ = open_samples(recipe.data, False, max(backbone.cutoff, backbone.pair_cutoff), recipe.folder)
    stages = []
    for stage in recipe.stages:
        batches = len(SharedBatches(loads_of(samples), stage.batch_load, 0))
        epochs = max(1, round(steps / batches))
        stages.append(replace(stage, epochs=epochs, validate_every=epochs))
    return replace(recipe, stages=tuple(stages))


def runs(options: argparse.Namespace, labels: int, seed: int) -> None:
    root = Path(options.folder).resolve()
    common = [
        f"data.train=[{Path(options.labels_file).resolve()}]",
        f"data.cache={root}",
        f"data.train_limit={labels}",
        f"data.draw_seed={seed}",
        f"seed={seed}",
    ]
    made = read_recipe(HERE / "recipe.yaml", common)
    pretrained = root / f"hamiltonian-{labels}-{seed}"
    if set(options.schemes) - {"direct"}:
        first = replace(made, stages=made.stages[:1], folder=str(pretrained))
        train(with_steps(first, options.steps))
    for scheme in options.schemes:
        folder = root / f"{scheme}-{labels}-{seed}"
        second = replace(made, stages=(replace(made.stages[1], scheme=scheme),), folder=str(folder))
        second = with_steps(second, options.steps)
        if scheme != "direct":
            second = replace(
                second, model=None, start=str(pretrained / "study.safetensors"), renew=("energy",)
            )
        found = read_checkpoint(train(second)).metrics
        result = {"scheme": scheme, "labels": labels, "seed": seed, "metrics": dict(found)}
        (root / f"{folder.name}.result.json").write_text(json.dumps(result))
        print(scheme, labels, seed, f"{1e3 * found['energy']:.2f} meV/atom", flush=True)


def cell(values: np.ndarray) -> str:
    """Mean ± standard deviation over seeds (number of seeds)."""
    if len(values) < 2:
        return f"{values[0]:.1f} (1)" if len(values) else ""
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f} ({len(values)})"


def report(folder: Path) -> str:
    """Markdown table, and a picture beside the results."""
    found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.result.json"))]
    numbers = sorted({r["labels"] for r in found})
    lines = ["| labels | " + " | ".join(f"{s}, meV/atom" for s in SCHEMES) + " | direct / finetune |",
             "| --- " * (len(SCHEMES) + 2) + "|"]  # fmt: skip
    figure = Figure(figsize=(5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    means: dict[str, list[float]] = {s: [] for s in SCHEMES}
    for n in numbers:
        cells, by_scheme = [], {}
        for scheme in SCHEMES:
            values = 1e3 * np.array(
                [r["metrics"]["energy"] for r in found if (r["scheme"], r["labels"]) == (scheme, n)]
            )
            by_scheme[scheme] = values
            means[scheme].append(float(values.mean()) if len(values) else np.nan)
            cells.append(cell(values))
        both = min(len(by_scheme["direct"]), len(by_scheme["finetune"]))
        ratio = by_scheme["direct"].mean() / by_scheme["finetune"].mean() if both else np.nan
        lines.append(f"| {n} | " + " | ".join(cells) + f" | {ratio:.2f} |")
    for scheme in SCHEMES:
        panel.plot(numbers, means[scheme], "o-", label=scheme)
    panel.set(xscale="log", yscale="log", xlabel="labelled molecules", ylabel="energy error, meV/atom")
    panel.legend()
    figure.savefig(folder / "data_efficiency.png", dpi=130)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels_file", metavar="LABELS.h5")
    parser.add_argument("folder")
    parser.add_argument("--labels", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--schemes", nargs="*", choices=SCHEMES, default=list(SCHEMES))
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    if not options.report_only:
        for seed in options.seeds:
            for labels in options.labels:
                runs(options, labels, seed)
    print(report(Path(options.folder)))


if __name__ == "__main__":
    main()
