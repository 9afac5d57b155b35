"""Study 4: Hamiltonians of water at 300 K from 500 frames, with and without a baseline.

    python water.py FOLDER/water.h5 RUNS [--baselines minao sap none] [--minutes 50] [--report-only]

``water.h5`` comes from ``make_water.py``.  The ``val`` frames choose the epoch, the ``test`` frames, of
trajectories that are in neither, give the figures.  One core a run; --minutes are those of its processor.
Runs that are there already are not repeated.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.linalg

from helm_ase.checkpoint import read_checkpoint
from helm_ase.dataset.sample import Sample
from helm_ase.evaluation.inference import answers
from helm_ase.training.configuration import read_recipe
from helm_ase.training.recipe import Recipe
from helm_ase.training.run import train
from helm_ase.training.samples import open_samples

HERE = Path(__file__).parent
LITERATURE = {"HELM": 9.33, "QHNet": 10.79, "PhiSNet": 17.59, "SPHNet": 23.18}
"""H error in µEh on MD17's own water frames, for context: other frames, millions of samples seen, GPUs."""


def recipe_of(baseline: str, options: argparse.Namespace) -> Recipe:
    root = Path(options.folder).resolve()
    return read_recipe(
        HERE / "recipe.yaml",
        [
            f"data.train=[{Path(options.labels).resolve()}]",
            f"data.baseline.name={baseline}",
            f"data.cache={root}",
            f"folder={root / baseline}",
            f"stages.0.minutes={options.minutes}",
        ],
    )


def matrix_figures(sample: Sample, correction: np.ndarray) -> tuple[float, float, float]:
    """H and occupied levels, µEh, and the likeness ψ of occupied orbitals."""
    overlap, n = sample.overlap.numpy(), sample.electrons[0]
    error = 1e6 * np.abs(correction[0] - sample.correction[0].numpy()).mean()
    levels, orbitals = scipy.linalg.eigh(sample.baseline.numpy() + correction[0], overlap)
    occupied = 1e6 * np.abs(levels[:n] - sample.orbital_energies[0, :n].numpy()).mean()
    reference = sample.orbitals[0, :, :n].double().numpy()
    likeness = np.abs((reference * (overlap @ orbitals[:, :n])).sum(0)).mean()
    return float(error), float(occupied), float(likeness)


def figures(recipe: Recipe) -> dict[str, float]:
    """Means over the test frames, of the model and of H0 alone."""
    found = read_checkpoint(Path(recipe.folder) / f"{recipe.name}.safetensors")
    data = replace(recipe.data, validation_split="test", baseline=found.baseline)
    test, _ = open_samples(data, True, found.model.cutoff, recipe.folder)
    model = np.array(
        [matrix_figures(a.sample, a.correction) for a in answers(found.model, test, energy=False)]
    )
    bare = np.array([matrix_figures(s, np.zeros(s.correction.shape)) for s in test])
    rows = (Path(recipe.folder) / "metrics-0.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    return {
        "H": model[:, 0].mean(), "occupied": model[:, 1].mean(), "psi": model[:, 2].mean(),
        "H of H0": bare[:, 0].mean(), "occupied of H0": bare[:, 1].mean(), "frames": float(len(test)),
        "minutes": float(last["minutes"]), "epochs": float(last["epoch"]) + 1,
    }  # fmt: skip


def report(folder: Path) -> str:
    head = "| baseline | H / µEh | occupied / µEh | 1 − ψ | H0 alone: H, occupied | epochs | CPU min |"
    lines = [head, "| --- " * 7 + "|"]
    for path in sorted(folder.glob("*.result.json")):
        r = json.loads(path.read_text())
        lines.append(
            f"| {path.name.split('.')[0]} | {r['H']:.2f} | {r['occupied']:.2f} | {1 - r['psi']:.1e} | "
            f"{r['H of H0']:.0f}, {r['occupied of H0']:.0f} | {r['epochs']:.0f} | {r['minutes']:.0f} |"
        )
    context = ", ".join(f"{name} {value}" for name, value in LITERATURE.items())
    return "\n".join([*lines, "", f"For context, on MD17's own frames: {context} µEh."])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels")
    parser.add_argument("folder")
    parser.add_argument("--baselines", nargs="*", default=["minao", "none"], choices=["minao", "sap", "none"])
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    if not options.report_only:
        for baseline in options.baselines:
            recipe = recipe_of(baseline, options)
            train(recipe)
            found = json.dumps(figures(recipe))
            (Path(options.folder) / f"{baseline}.result.json").write_text(found)
    print(report(Path(options.folder)))


if __name__ == "__main__":
    main()
