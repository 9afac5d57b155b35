"""Study 3: a minimal-basis Hamiltonian learnt by itself, through what follows from it, or not at all.

    python indirect.py FOLDER RUNS [--minutes 8] [--seeds 0] [--only NAME ...] [--labels sto-3g def2-tzvp]
                                   [--report-only]

FOLDER is that of ``make_labels.py``.  Every row has the same processor time and the same backbone.  With the
labels ``sto-3g`` the matrix itself can be learnt; with ``def2-tzvp`` only through levels ε, dipole μ and
uncoupled polarizability α.  ``H → ε`` learns the matrix for half of its time.  ``surrogate`` predicts μ and α
without a Hamiltonian, ``surrogate on H0`` what is missing from those of H0.  Errors are those of unseen
molecules as large as in training (``test``), and of polyenes and acenes with more heavy atoms than any in
training (``large``).  Runs that are there already are not repeated.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import surrogate as direct
import torch

from helm_ase.checkpoint import read_checkpoint
from helm_ase.dataset.sample import Sample
from helm_ase.evaluation.inference import answers
from helm_ase.training.configuration import read_recipe
from helm_ase.training.losses import LossWeights
from helm_ase.training.observables import OBSERVABLES, PredictedMolecule
from helm_ase.training.recipe import Recipe
from helm_ase.training.run import train
from helm_ase.training.samples import open_samples
from helm_ase.units import HARTREE_IN_EV

HERE = Path(__file__).parent
TARGETS = {
    "ε": LossWeights(levels=1.0),
    "μ+α": LossWeights(dipole=1.0, polarizability=1.0),
    "ε+μ": LossWeights(levels=1.0, dipole=1.0),
    "ε+α": LossWeights(levels=1.0, polarizability=1.0),
    "ε+μ+α": LossWeights(levels=1.0, dipole=1.0, polarizability=1.0),
}
FIRST = "H → "
"""Of rows whose first half learns the matrix itself."""
SURROGATES = ("surrogate", "surrogate on H0")
SPLITS = ("test", "large")
COLUMNS = {
    "hamiltonian": ("H / µEh", 1e6), "levels": ("ε / eV", HARTREE_IN_EV), "gap": ("gap / eV", HARTREE_IN_EV),
    "dipole": ("μ / a.u.", 1.0), "polarizability": ("α / a.u.", 1.0), "relative": ("α / %", 100.0),
}  # fmt: skip


def recipe_of(options: argparse.Namespace, labels: str, seed: int) -> Recipe:
    root = Path(options.runs).resolve()
    half = options.minutes / 2
    fixed = [
        f"data.train=[{Path(options.folder).resolve() / labels}.h5]", f"data.cache={root}", f"seed={seed}",
        f"stages.0.minutes={half}", f"stages.1.minutes={half}",
    ]  # fmt: skip
    made = read_recipe(HERE / "recipe.yaml", [*fixed, *options.set])
    return made if labels == "sto-3g" else replace(made, data=replace(made.data, model_basis="sto-3g"))


def learn(options: argparse.Namespace, labels: str, name: str, seed: int) -> Recipe:
    """Train one row; its checkpoint is that of the recipe that comes back."""
    root, made = Path(options.runs).resolve(), recipe_of(options, labels, seed)
    folder, target = str(root / f"{labels}-{name}-{seed}"), TARGETS.get(name.removeprefix(FIRST))
    if not name.startswith("H"):  # from the first step through functions of H
        stage = replace(made.stages[0], minutes=options.minutes, weights=target, rate=made.stages[1].rate)
        recipe = replace(made, stages=(stage,), folder=folder)
    else:
        shared = root / f"{labels}-first-{seed}"
        train(replace(made, stages=made.stages[:1], folder=str(shared)))
        stage = replace(made.stages[1], weights=target or made.stages[0].weights)
        start = str(shared / f"{made.name}.safetensors")
        recipe = replace(made, stages=(stage,), folder=folder, model=None, start=start)
    train(recipe)
    return recipe


def samples_of(recipe: Recipe, split: str) -> Sequence[Sample]:
    data = replace(recipe.data, validation=recipe.data.train, validation_split=split)
    basis = {"observables": True, "model_basis": recipe.data.model_basis}
    found = open_samples(data, True, 12.0, recipe.folder, **basis)[0]
    if split != "large":
        return found
    largest = max(heavy(s) for s in open_samples(recipe.data, False, 12.0, recipe.folder, **basis)[0])
    return [s for s in found if heavy(s) > largest]


def heavy(sample: Sample) -> int:
    return int((sample.graph.z > 1).sum())


def errors_of(sample: Sample, correction: torch.Tensor) -> dict[str, float]:
    """Errors of H0 + ΔH, a.u."""
    molecule = PredictedMolecule(correction, sample.targets)
    found = {}
    for name in COLUMNS:
        if name == "hamiltonian":
            found[name] = float((correction - sample.correction).abs().mean())  # NaN in a larger basis
        elif name == "relative":
            found[name] = (
                found["polarizability"] * 3 / float(torch.linalg.norm(sample.targets.polarizability))
            )
        else:
            total, count = OBSERVABLES[name][0](molecule)
            found[name] = float(total / count)
    return found


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def of_model(recipe: Recipe) -> dict[str, dict[str, float]]:
    model = read_checkpoint(Path(recipe.folder) / f"{recipe.name}.safetensors").model
    return {
        split: mean_of(
            [
                errors_of(a.sample, torch.from_numpy(a.correction))
                for a in answers(model, samples_of(recipe, split), energy=False)
            ]
        )
        for split in SPLITS
    }


def of_baseline(recipe: Recipe) -> dict[str, dict[str, float]]:
    return {
        split: mean_of([errors_of(s, torch.zeros(1, *s.overlap.shape)) for s in samples_of(recipe, split)])
        for split in SPLITS
    }


def of_small_basis(options: argparse.Namespace, recipe: Recipe, seed: int) -> dict[str, dict[str, float]]:
    """The converged matrix of the small basis itself, judged by the labels of the large one."""
    small = recipe_of(options, "sto-3g", seed)
    matrices = {place(s): s.baseline + s.correction for split in SPLITS for s in every(small, split)}
    return {
        split: mean_of([errors_of(s, matrices[place(s)] - s.baseline) for s in samples_of(recipe, split)])
        for split in SPLITS
    }


def every(recipe: Recipe, split: str) -> Sequence[Sample]:
    data = replace(recipe.data, validation=recipe.data.train, validation_split=split)
    return open_samples(data, True, 12.0, recipe.folder)[0]


def place(sample: Sample) -> tuple[float, ...]:
    """What tells one geometry from another."""
    return tuple(sample.graph.pos.flatten().tolist())


def of_surrogate(options: argparse.Namespace, recipe: Recipe, name: str) -> dict[str, dict[str, float]]:
    on_baseline = name.endswith("H0")
    train_set, _ = open_samples(
        recipe.data, False, 12.0, recipe.folder, observables=True, model_basis=recipe.data.model_basis
    )
    assert recipe.model is not None
    made = direct.fit(
        recipe.model, train_set, on_baseline, options.minutes, recipe.seed, recipe.stages[0].batch_load
    )
    return {
        split: mean_of([direct.errors(made, s, on_baseline) for s in samples_of(recipe, split)])
        for split in SPLITS
    }


def row(options: argparse.Namespace, labels: str, name: str, seed: int) -> dict[str, dict[str, float]]:
    recipe = recipe_of(options, labels, seed)
    if name == "H0":
        return of_baseline(recipe)
    if name == "SCF in STO-3G":
        return of_small_basis(options, recipe, seed)
    if name in SURROGATES:
        return of_surrogate(options, recipe, name)
    return of_model(learn(options, labels, name, seed))


def names_of(labels: str) -> tuple[str, ...]:
    if labels == "sto-3g":
        return ("H0", "H", *(FIRST + t for t in TARGETS), "ε+μ+α", *SURROGATES)
    return ("H0", "SCF in STO-3G", *TARGETS, *SURROGATES)


def table(folder: Path) -> str:
    """Mean over seeds, ± standard deviation where there are several."""
    results = [json.loads(p.read_text()) for p in folder.glob("*.result.json")]
    lines = []
    for labels in ("sto-3g", "def2-tzvp"):
        for split in SPLITS:
            lines += ["", f"Labels {labels}, {split} molecules", ""]
            lines += [
                "| learnt | " + " | ".join(c for c, _ in COLUMNS.values()) + " |",
                "| --- " * (len(COLUMNS) + 1) + "|",
            ]
            for name in names_of(labels):
                found = [r["errors"][split] for r in results if (r["labels"], r["name"]) == (labels, name)]
                if found:
                    cells = [cell([f * r[k] for r in found if k in r]) for k, (_, f) in COLUMNS.items()]
                    lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])


def cell(values: list[float]) -> str:
    if not values or np.isnan(values).any():
        return "–"
    spread = f" ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of make_labels.py")
    parser.add_argument("runs", help="where everything is written")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the processor, each row")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--labels", nargs="*", default=["sto-3g", "def2-tzvp"])
    parser.add_argument("--only", nargs="*", help="rows (all)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    folder = Path(options.runs)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in [] if options.report_only else options.seeds:
        for labels in options.labels:
            for name in names_of(labels):
                path = folder / f"{labels}-{name}-{seed}.result.json"
                settings = [options.minutes, *options.set]
                if path.exists() and json.loads(path.read_text())["settings"] != settings:
                    raise SystemExit(f"{path} has other settings: choose another folder")
                if path.exists() or (options.only and name not in options.only):
                    continue
                found = {"labels": labels, "name": name, "seed": seed, "settings": settings}
                found["errors"] = row(options, labels, name, seed)
                path.write_text(json.dumps(found))
                print(labels, name, seed, found["errors"], flush=True)
    print(table(folder))


if __name__ == "__main__":
    main()
