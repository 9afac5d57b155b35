"""Study 1: energy error on unseen molecules against the number of labels, with and without Hamiltonians.

    python data_efficiency.py LABELS.h5 FOLDER [--labels 100 300 1000] [--seeds 0 1 2] [--steps 1500]
                              [--schemes direct long frozen finetune] [--report-only]

For every number of labels and every seed (which draws the molecules and the first weights): ``direct`` learns
energies alone; ``long`` does so in six times as many steps, which is nearly the time that the other two take;
these first learn the Hamiltonians of the same molecules, once for both.  Errors are per atom, mean over the
validation molecules, none of which is in training and which choose nothing.  The errors of the Hamiltonians
by themselves are the second table: the learning curve.  Runs that are there already are not repeated.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helm_ase.checkpoint import read_checkpoint
from helm_ase.training.batches import SharedBatches, loads_of
from helm_ase.training.configuration import read_recipe
from helm_ase.training.fitted_baseline import with_operators
from helm_ase.training.recipe import Recipe
from helm_ase.training.run import train
from helm_ase.training.samples import open_samples

HERE = Path(__file__).parent
SCHEMES = ("direct", "long", "frozen", "finetune")
LONG = 6
"""A step on Hamiltonians costs about six on energies: ``long`` has 79 to 87 % of a pretrained run's time."""
UNITS = {"energy": 1e3, "hamiltonian": 1.0, "homo": 1.0, "gap": 1.0}
"""From what a checkpoint says (eV/atom, µEh, eV) to what the tables say."""


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """Epochs such that every stage makes about so many steps; one validation, at the end."""
    backbone = recipe.model.backbone
    data, cutoff = with_operators(recipe).data, max(backbone.cutoff, backbone.pair_cutoff)
    samples, _ = open_samples(data, False, cutoff, recipe.folder)
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
    if set(options.schemes) - {"direct", "long"}:
        first = replace(made, stages=made.stages[:1], folder=str(pretrained))
        keep(root, "hamiltonian", labels, seed, train(with_steps(first, options.steps)))
    for scheme in options.schemes:
        folder = root / f"{scheme}-{labels}-{seed}"
        stage = replace(made.stages[1], scheme="direct" if scheme == "long" else scheme)
        second = replace(made, stages=(stage,), folder=str(folder))
        second = with_steps(second, options.steps * (LONG if scheme == "long" else 1))
        if stage.scheme != "direct":
            second = replace(
                second, model=None, start=str(pretrained / "study.safetensors"), renew=("energy",)
            )
        keep(root, scheme, labels, seed, train(second))


def keep(root: Path, scheme: str, labels: int, seed: int, checkpoint: Path) -> None:
    """Write the validation errors of a run beside those of the others."""
    found = dict(read_checkpoint(checkpoint).metrics)
    result = {"scheme": scheme, "labels": labels, "seed": seed, "metrics": found}
    (root / f"{scheme}-{labels}-{seed}.result.json").write_text(json.dumps(result))
    print(scheme, labels, seed, found, flush=True)


def cell(values: np.ndarray) -> str:
    """Mean ± standard deviation over seeds (number of seeds)."""
    if len(values) < 2:
        return f"{values[0]:.3g} (1)" if len(values) else ""
    return f"{values.mean():.3g} ± {values.std(ddof=1):.1g} ({len(values)})"


def values_of(found: list[dict[str, Any]], scheme: str, quantity: str) -> dict[int, np.ndarray]:
    """Errors of all seeds by number of labels."""
    unit = UNITS[quantity]
    chosen = [r for r in found if r["scheme"] == scheme]
    numbers = sorted({r["labels"] for r in chosen})
    return {n: unit * np.array([r["metrics"][quantity] for r in chosen if r["labels"] == n]) for n in numbers}


def energy_table(found: list[dict[str, Any]]) -> list[str]:
    by_scheme = {s: values_of(found, s, "energy") for s in SCHEMES}
    lines = ["| labels | " + " | ".join(f"{s}, meV/atom" for s in SCHEMES) + " | direct / finetune |",
             "| --- " * (len(SCHEMES) + 2) + "|"]  # fmt: skip
    for n in sorted({n for values in by_scheme.values() for n in values}):
        cells = [cell(by_scheme[s].get(n, np.array([]))) for s in SCHEMES]
        both = all(n in by_scheme[s] for s in ("direct", "finetune"))
        ratio = by_scheme["direct"][n].mean() / by_scheme["finetune"][n].mean() if both else np.nan
        lines.append(f"| {n} | " + " | ".join(cells) + f" | {ratio:.2f} |")
    return lines


def hamiltonian_table(found: list[dict[str, Any]]) -> list[str]:
    """The learning curve of the Hamiltonian, with the exponent of a power law through it."""
    columns = {k: values_of(found, "hamiltonian", k) for k in ("hamiltonian", "homo", "gap")}
    lines = ["| labels | H, µEh | HOMO, eV | gap, eV |", "| --- " * 4 + "|"]
    for n in columns["hamiltonian"]:
        lines.append(f"| {n} | " + " | ".join(cell(values[n]) for values in columns.values()) + " |")
    if len(columns["hamiltonian"]) > 1:
        slopes = [slope(values) for values in columns.values()]
        lines.append("| exponent | " + " | ".join(f"{x:.2f}" for x in slopes) + " |")
    return lines


def slope(values: dict[int, np.ndarray]) -> float:
    """Exponent of error ~ labels^x."""
    means = [v.mean() for v in values.values()]
    return float(np.polyfit(np.log(list(values)), np.log(means), 1)[0])


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Both curves, log–log."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for scheme in SCHEMES:
        plot(left, values_of(found, scheme, "energy"), scheme)
    plot(right, values_of(found, "hamiltonian", "hamiltonian"), "H")
    left.set(xscale="log", yscale="log", xlabel="labelled molecules", ylabel="energy error, meV/atom")
    right.set(xscale="log", yscale="log", xlabel="labelled molecules", ylabel="H error, µEh")
    left.legend()
    figure.savefig(path, dpi=130)


def plot(panel: Axes, values: dict[int, np.ndarray], label: str) -> None:
    means = [v.mean() for v in values.values()]
    spread = [v.std(ddof=1) if len(v) > 1 else 0.0 for v in values.values()]
    panel.errorbar(list(values), means, spread, marker="o", capsize=3, label=label)


def report(folder: Path) -> str:
    """Markdown tables, and a picture beside the results."""
    found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.result.json"))]
    draw(found, folder / "data_efficiency.png")
    return "\n".join([*energy_table(found), "", *hamiltonian_table(found)])


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
