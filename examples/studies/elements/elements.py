"""Study 7: Hamiltonians across the periodic table, beside H0 alone, on molecules that were not trained on.

    python elements.py LABELS.h5 RUNS [--minutes 60] [--report-only]

``LABELS.h5`` comes from ``molecules.py``, ``helm-ase sample`` and ``helm-ase label``.  One model is trained
on the Hamiltonians of the split ``train`` and judged on ``val``: mean absolute errors of H (µEh), occupied
levels and gap (eV), and LUMOs that fall far too low ("ghosts"), element by element and in all.  A molecule
counts for the element under which ``molecules.py`` lists it.  One core; --minutes are those of its processor.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from molecules import known_molecules

from helm_ase.cli import main as helm_ase
from helm_ase.training.configuration import read_recipe
from helm_ase.training.run import train

HERE = Path(__file__).parent
COLUMNS = {
    "h0_hamiltonian_uEh": "H, H0", "hamiltonian_uEh": "H, model",
    "h0_occupied_eV": "occupied, H0", "occupied_eV": "occupied, model",
    "h0_gap_eV": "gap, H0", "gap_eV": "gap, model",
}  # fmt: skip


def row(name: str, molecules: list[dict[str, str]]) -> str:
    """Means of the columns over some molecules."""
    means = [np.nanmean([abs(float(m[c] or "nan")) for m in molecules]) for c in COLUMNS]
    ghosts = sum(m["ghost"] == "1" for m in molecules)
    numbers = [f"{x:.0f}" if c.endswith("uEh") else f"{x:.3f}" for c, x in zip(COLUMNS, means, strict=True)]
    return f"| {name} | {len(molecules)} | {' | '.join(numbers)} | {ghosts} |"


def report(path: Path) -> str:
    """Table from the file of molecules that ``helm-ase evaluate`` writes."""
    known, groups = known_molecules(), defaultdict(list)
    with path.open(encoding="utf8") as file:
        for molecule in csv.DictReader(file):
            _, element = known[molecule["formula"], int(molecule["charge"])]
            groups[element].append(molecule)
    head = f"| element | frames | {' | '.join(COLUMNS.values())} | ghosts |"
    lines = [head, "| --- " * (len(COLUMNS) + 3) + "|"]
    lines += [row(chemical_symbols[z], groups[z]) for z in sorted(groups)]
    return "\n".join([*lines, row("all", [m for some in groups.values() for m in some])])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("folder", metavar="RUNS")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    root, labels = Path(options.folder).resolve(), Path(options.labels).resolve()
    if not options.report_only:
        settings = [f"data.train=[{labels}]", f"data.cache={root}", f"folder={root / 'run'}"]
        train(read_recipe(HERE / "recipe.yaml", [*settings, f"stages.0.minutes={options.minutes}"]))
        model = str(root / "run" / "elements.safetensors")
        asked = ["evaluate", model, str(labels), "--split", "val", "-o", str(root / "errors"), "--quiet"]
        if helm_ase([*asked, "--no-energy-from-h", "--no-plots"]):
            raise SystemExit("the evaluation failed")
    print(report(root / "errors" / "molecules.csv"))


if __name__ == "__main__":
    main()
