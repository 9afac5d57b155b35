"""Study 7: Hamiltonians across the periodic table, beside H0 alone, on molecules that were not trained on.

    python elements.py LABELS.h5 RUNS [--minutes 30] [--epochs 60] [--report-only]

``LABELS.h5`` comes from ``molecules.py``, ``helm-ase sample`` and ``helm-ase label``.  Two models learn the
Hamiltonians of the split ``train``, one with the trust filter and one without, and are judged on ``val``:
mean absolute errors of H (µEh), occupied levels, gap and LUMO (eV), and LUMOs that fall far too low
("ghosts"), in all and element by element.  A molecule counts for the element under which ``molecules.py``
lists it.  The energies of the same molecules are then learnt in the paper's three ways in as many steps:
``direct``, and on top of the Hamiltonians ``frozen`` and ``finetune``.

One core; --minutes are those of its processor for each of the two models.  Runs that are there already are
not repeated.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from molecules import known_molecules

from helm_ase.checkpoint import read_checkpoint
from helm_ase.cli import main as helm_ase
from helm_ase.training.configuration import read_recipe
from helm_ase.training.fitted_baseline import with_operators
from helm_ase.training.recipe import Recipe
from helm_ase.training.run import train

HERE = Path(__file__).parent
FILTERS = {"trust filter": 0.003, "no filter": 0.0}
"""Name of a model → strength of its trust filter."""
SCHEMES = ("direct", "frozen", "finetune")
COLUMNS = {
    "h0_hamiltonian_uEh": "H, H0", "hamiltonian_uEh": "H, model",
    "h0_occupied_eV": "occupied, H0", "occupied_eV": "occupied, model",
    "h0_gap_eV": "gap, H0", "gap_eV": "gap, model",
}  # fmt: skip
Molecules = list[dict[str, str]]


# -- runs ------------------------------------------------------------------------------------------------


def folder_of(root: Path, name: str) -> Path:
    """Where a run writes."""
    return root / name.replace(" ", "-")


def learn_hamiltonians(recipe: Recipe, root: Path, labels: Path) -> None:
    """Train with and without the trust filter, and compare both with the labels."""
    for name, delta in FILTERS.items():
        folder = folder_of(root, name)
        assert recipe.model is not None
        model = replace(recipe.model, trust_delta=delta)
        made = train(replace(recipe, model=model, stages=recipe.stages[:1], folder=str(folder)))
        asked = [
            "evaluate",
            str(made),
            str(labels),
            "--split",
            "val",
            "-o",
            str(folder / "errors"),
            "--quiet",
        ]
        asked += ["--no-energy-from-h", "--no-plots", "--cache", str(root)]
        if not (folder / "errors").exists() and helm_ase(asked):
            raise SystemExit("the evaluation failed")


def learn_energies(recipe: Recipe, root: Path) -> None:
    """Train all schemes; the last two go on from the model with the trust filter."""
    pretrained = folder_of(root, "trust filter") / f"{recipe.name}.safetensors"
    for scheme in SCHEMES:
        stage = replace(recipe.stages[1], scheme=scheme)
        run = replace(recipe, stages=(stage,), folder=str(folder_of(root, scheme)))
        if scheme != "direct":
            run = replace(run, model=None, start=str(pretrained), renew=("energy",))
        errors = read_checkpoint(train(run)).metrics
        (root / f"{scheme}.result.json").write_text(json.dumps(dict(errors)))


# -- tables ----------------------------------------------------------------------------------------------


def mean(molecules: Molecules, column: str) -> float:
    """Mean of the magnitudes of a column; NaN where no molecule has the quantity."""
    values = [abs(float(m[column])) for m in molecules if m[column] not in ("", "nan")]
    return float(np.mean(values)) if values else float("nan")


def row(name: str, molecules: Molecules, columns: Iterable[str]) -> str:
    """Means of the columns over some molecules, and the number of ghosts."""
    cells = [
        f"{mean(molecules, c):.0f}" if c.endswith("uEh") else f"{mean(molecules, c):.3f}" for c in columns
    ]
    ghosts = sum(m["ghost"] == "1" for m in molecules)
    return f"| {name} | {len(molecules)} | {' | '.join(cells)} | {ghosts} |"


def head(first: str, columns: Iterable[str]) -> list[str]:
    """First two lines of a table."""
    names = [first, "frames", *columns, "ghosts"]
    return [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]


def read_errors(folder: Path) -> Molecules:
    """What ``helm-ase evaluate`` writes of every molecule."""
    with (folder / "errors" / "molecules.csv").open(encoding="utf8") as file:
        return list(csv.DictReader(file))


def filter_table(root: Path) -> list[str]:
    """H0 and both models, all molecules."""
    plain = [c for c in COLUMNS if not c.startswith("h0_")]
    lines = head("", ("H", "occupied", "gap"))
    for name in FILTERS:
        molecules = read_errors(folder_of(root, name))
        if len(lines) == 2:
            of_h0 = [{**m, "ghost": m["h0_ghost"]} for m in molecules]
            lines.append(row("H0", of_h0, [c for c in COLUMNS if c.startswith("h0_")]))
        lines.append(row(name, molecules, plain))
    return lines


def element_table(molecules: Molecules) -> list[str]:
    """Errors element by element."""
    known, groups = known_molecules(), defaultdict(list)
    for molecule in molecules:
        _, element = known[molecule["formula"], int(molecule["charge"])]
        groups[element].append(molecule)
    rows = [row(chemical_symbols[z], groups[z], COLUMNS) for z in sorted(groups)]
    return [*head("element", COLUMNS.values()), *rows, row("all", molecules, COLUMNS)]


def energy_table(root: Path) -> list[str]:
    """Errors of energies by scheme, as far as they have been trained."""
    lines = ["| scheme | energy, meV/atom |", "| --- | --- |"]
    for path in (root / f"{scheme}.result.json" for scheme in SCHEMES):
        if path.exists():
            errors = json.loads(path.read_text())
            lines.append(f"| {path.name.split('.')[0]} | {1e3 * errors['energy']:.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("folder", metavar="RUNS")
    parser.add_argument("--minutes", type=float, default=30.0, help="for each Hamiltonian (30)")
    parser.add_argument("--epochs", type=int, default=60, help="on energies (60)")
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    root, labels = Path(options.folder).resolve(), Path(options.labels).resolve()
    if not options.report_only:
        settings = [f"data.train=[{labels}]", f"data.cache={root}", f"stages.0.minutes={options.minutes}"]
        recipe = read_recipe(HERE / "recipe.yaml", [*settings, f"stages.1.epochs={options.epochs}"])
        learn_hamiltonians(with_operators(replace(recipe, folder=str(root))), root, labels)
        learn_energies(recipe, root)
    molecules = read_errors(folder_of(root, "trust filter"))
    print("\n".join([*filter_table(root), "", *element_table(molecules), "", *energy_table(root)]))


if __name__ == "__main__":
    main()
