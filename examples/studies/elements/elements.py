"""Study 7: Hamiltonians across the periodic table, beside H0 alone, on molecules that were not trained on.

    python elements.py LABELS.h5 RUNS [--minutes 30] [--epochs 60] [--report-only]

``LABELS.h5`` comes from ``molecules.py``, ``helm-ase sample`` and ``helm-ase label``.  Three models learn the
Hamiltonians of the split ``train``: with the trust filter W = S (S + δ)⁻¹ in the network's output, without
it, and in Löwdin's orthogonalised basis.  The one without is also asked with filters of several δ that it
gets afterwards.  All are judged on ``val``: mean and median absolute errors of H (µEh), occupied levels and
gap (eV), and LUMOs that fall far too low ("ghosts"); one of them element by element, a molecule counting for
the element under which ``molecules.py`` lists it.  The energies of the same molecules are then learnt in the
paper's three ways in as many epochs: ``direct``, and on top of the Hamiltonians ``frozen`` and ``finetune``.

One core; --minutes are those of its processor for each of the three models.  Runs that are there already are
not repeated.
"""

import argparse
import csv
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ase.data import chemical_symbols
from molecules import known_molecules

from helm_ase.checkpoint import load_model, read_checkpoint, save_checkpoint
from helm_ase.cli import main as helm_ase
from helm_ase.training.configuration import read_recipe
from helm_ase.training.energy_baseline import with_energy_baseline
from helm_ase.training.fitted_baseline import with_operators
from helm_ase.training.recipe import Recipe
from helm_ase.training.run import train

HERE = Path(__file__).parent
FORMS = {
    "filter in training, δ = 0.003": {"trust_delta": 0.003},
    "no filter": {"trust_delta": 0.0},
    "orthogonalised": {"trust_delta": 0.0, "orthogonal": True},
}
"""Name of a model that is trained → what distinguishes its output."""
AFTERWARDS = {f"filter afterwards, δ = {delta}": delta for delta in (0.003, 0.03, 0.1, 0.3)}
"""Name of a model that is not trained → strength of the filter that the one without gets."""
SHOWN = "filter afterwards, δ = 0.03"
"""The model whose errors are told element by element."""
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
    return root / "-".join(re.findall(r"[a-z0-9.]+", name))


def learn_hamiltonians(recipe: Recipe, root: Path, labels: Path) -> None:
    """Train all forms of the output, filter one afterwards, and compare all with the labels."""
    assert recipe.model is not None
    for name, form in FORMS.items():
        folder = folder_of(root, name)
        run = replace(recipe, model=replace(recipe.model, **form), stages=recipe.stages[:1])
        evaluate(train(replace(run, folder=str(folder))), root, folder, labels)
    plain = load_model(folder_of(root, "no filter") / f"{recipe.name}.safetensors")
    for name, delta in AFTERWARDS.items():
        folder = folder_of(root, name)
        folder.mkdir(exist_ok=True)
        plain.model.settings = replace(plain.model.settings, trust_delta=delta)
        save_checkpoint(plain, made := folder / f"{recipe.name}.safetensors")
        evaluate(made, root, folder, labels)


def evaluate(model: Path, root: Path, folder: Path, labels: Path) -> None:
    """Compare with the labels, unless that is done."""
    asked = ["evaluate", str(model), str(labels), "--split", "val", "-o", str(folder / "errors")]
    asked += ["--no-energy-from-h", "--no-plots", "--cache", str(root), "--quiet"]
    if not (folder / "errors").exists() and helm_ase(asked):
        raise SystemExit("the evaluation failed")


def learn_energies(recipe: Recipe, root: Path) -> None:
    """Train all schemes; the last two go on from the first of the forms."""
    pretrained = folder_of(root, next(iter(FORMS))) / f"{recipe.name}.safetensors"
    for scheme in SCHEMES:
        stage = replace(recipe.stages[1], scheme=scheme)
        run = replace(recipe, stages=(stage,), folder=str(folder_of(root, scheme)))
        if scheme != "direct":
            run = replace(run, model=None, start=str(pretrained), renew=("energy",))
        errors = read_checkpoint(train(run)).metrics
        (root / f"{scheme}.result.json").write_text(json.dumps(dict(errors)))


# -- tables ----------------------------------------------------------------------------------------------


def values(molecules: Molecules, column: str) -> list[float]:
    """Magnitudes of a column, of the molecules that have the quantity."""
    return [abs(float(m[column])) for m in molecules if m[column]]


def cell(column: str, molecules: Molecules, median: bool) -> str:
    """Mean of a column, and median where it is asked for."""
    if not (numbers := values(molecules, column)):
        return "–"
    averages = [statistics.fmean(numbers), *([statistics.median(numbers)] if median else [])]
    return ", ".join(f"{x:.0f}" if column.endswith("uEh") else f"{x:.2f}" for x in averages)


def row(name: str, molecules: Molecules, columns: Iterable[str], median: bool = False) -> str:
    """Averages of the columns over some molecules, and the number of ghosts."""
    cells = [cell(column, molecules, median) for column in columns]
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


def form_table(root: Path) -> list[str]:
    """H0 and all forms of the output, as far as they have been evaluated; mean and median."""
    plain = [c for c in COLUMNS if not c.startswith("h0_")]
    lines = head("", ("H", "occupied", "gap"))
    for name in [*FORMS, *AFTERWARDS]:
        if not (folder_of(root, name) / "errors").exists():
            continue
        molecules = read_errors(folder_of(root, name))
        if len(lines) == 2:
            of_h0 = [{**m, "ghost": m["h0_ghost"]} for m in molecules]
            lines.append(row("H0 alone", of_h0, [c for c in COLUMNS if c.startswith("h0_")], median=True))
        lines.append(row(name, molecules, plain, median=True))
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
    for scheme in SCHEMES:
        if (path := root / f"{scheme}.result.json").exists():
            lines.append(f"| {scheme} | {1e3 * json.loads(path.read_text())['energy']:.1f} |")
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
        fitted = with_operators(with_energy_baseline(replace(recipe, folder=str(root))))  # once for all three
        learn_hamiltonians(fitted, root, labels)
        learn_energies(recipe, root)
    molecules = read_errors(folder_of(root, SHOWN))
    print("\n".join([*form_table(root), "", *element_table(molecules), "", *energy_table(root)]))


if __name__ == "__main__":
    main()
