"""Errors on the molecules of well_known.smi, which no model is trained on, one line each.

    python tests/benchmarks/well_known.py LABELS.h5 [LABELS.h5 …] [--models NAME_OR_PATH …]
                                          [--json OUT] [--markdown OUT]

Of every model, and of the former default where it can answer:

- E, meV/atom: total energy of the model − that of the label, signed; nothing is fitted or shifted;
- F, meV/Å: mean length of the error of the force on an atom, and mean absolute error of its components;
- H, µEh: mean absolute error of the elements of the matrix; gap, eV: signed, of the levels of both matrices
  over all spins; ghosts: LUMOs more than 0.05 Eh below the reference.

GFN2-xTB has other zeros of energy, so only its forces stand beside.  Means are over molecules, those of E and
gap of absolute values.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
from methods import Model, Xtb, add_outputs, check_level, models_of, publish, structure_of  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from helm_ase.evaluation.errors import GHOST, frontier  # noqa: E402
from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.representation import LabelledMolecule  # noqa: E402
from helm_ase.sampling import from_smiles  # noqa: E402
from helm_ase.units import HARTREE_IN_EV  # noqa: E402

NAMES = Path(__file__).with_name("well_known.smi")
COLUMNS = {
    "energy": ("E meV/atom", "+.2f"), "force_length": ("F length", ".1f"), "force": ("F component", ".1f"),
    "hamiltonian": ("H µEh", ".0f"), "gap": ("gap eV", "+.3f"),
}  # fmt: skip
"""Field of a row → heading and format."""


def read_names() -> dict[str, str]:
    """Canonical SMILES → name."""
    lines = [line.split("\t") for line in NAMES.read_text().splitlines() if not line.startswith("#")]
    return {from_smiles(smiles).smiles: name for smiles, name in lines}


def read_labels(paths: Sequence[str], model: Model) -> list[LabelledMolecule]:
    """All labels of all files."""
    labels = []
    for path in paths:
        with open_labels(path) as source:
            check_level(source, model)
            labels += list(source)
    return labels


def force_errors(predicted: NDArray[np.float64] | None, label: LabelledMolecule) -> dict[str, float]:
    """Mean length of the error and mean absolute component, meV/Å."""
    if predicted is None or label.forces is None:
        return {"force_length": np.nan, "force": np.nan}
    error = 1e3 * (predicted - label.forces)
    return {
        "force_length": float(np.linalg.norm(error, axis=1).mean()),
        "force": float(np.abs(error).mean()),
    }


def matrix_errors(model: Model, label: LabelledMolecule) -> dict[str, float]:
    """Errors of the matrix and of its gap; NaN without a prediction."""
    structure = model.electronic_structure(structure_of(label))
    if structure is None:
        return {"hamiltonian": np.nan, "gap": np.nan, "ghost": np.nan}
    size = label.hamiltonian.shape[-1]
    overlap, reference = structure.overlap.numpy(), label.hamiltonian.reshape(-1, size, size)
    levels = np.stack([scipy.linalg.eigh(h, overlap, eigvals_only=True) for h in reference])
    (homo, lumo), ours = frontier(levels, structure.occupied), (structure.homo, structure.lumo)
    error = np.abs(structure.hamiltonian.numpy() - reference).mean()
    return {
        "hamiltonian": 1e6 * float(error),
        "gap": float((ours[1] - ours[0]) - (lumo - homo)) * HARTREE_IN_EV,
        "ghost": float(ours[1] - lumo < GHOST),
    }


def errors_of(model: Model | Xtb, label: LabelledMolecule) -> dict[str, float]:
    """All errors of one method on one molecule."""
    structure = structure_of(label)
    forces = force_errors(model.forces(structure), label)
    if isinstance(model, Xtb):
        return forces
    energy = model.energy(structure)
    missing = energy is None or label.energy is None
    error = np.nan if missing else 1e3 * (energy - label.energy) / len(label.numbers)
    return {"energy": error, **forces, **matrix_errors(model, label)}


def summary(rows: Sequence[dict[str, Any]], method: str) -> dict[str, float]:
    """Means of absolute errors over the molecules that a method answers, and their number."""
    fields = [k for k in rows[0][method] if k != "ghost"]
    values = {k: np.abs([r[method][k] for r in rows]) for k in fields}
    known = {k: v[np.isfinite(v)] for k, v in values.items()}
    means = {k: float(v.mean()) if len(v) else np.nan for k, v in known.items()}
    ghosts = float(np.nansum([r[method].get("ghost", np.nan) for r in rows]))
    return means | {"answered": int(np.isfinite(values["force"]).sum()), "ghosts": ghosts}


def cell(value: float, form: str) -> str:
    """A number, or nothing in place of NaN."""
    return f"{value:{form}}" if np.isfinite(value) else ""


def method_table(rows: Sequence[dict[str, Any]], method: str) -> str:
    """A line for each molecule and the means."""
    fields = {k: v for k, v in COLUMNS.items() if k in rows[0][method]}
    lines = []
    for row in rows:
        found = row[method]
        cells = [cell(found[k], form) for k, (_, form) in fields.items()]
        lines.append([row["name"], row["atoms"], *cells])
    means = summary(rows, method)
    cells = [cell(means[k], form.lstrip("+")) for k, (_, form) in fields.items()]
    lines.append([f"**mean of {means['answered']}**", "", *cells])
    note = f", {means['ghosts']:.0f} ghost LUMOs" if "gap" in fields else ""
    head = ["molecule", "atoms", *(title for title, _ in fields.values())]
    return f"### {method}{note}\n\n" + table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", nargs="+")
    parser.add_argument(
        "--models", nargs="+", help="names or paths of checkpoints (default: the shipped one)"
    )
    add_outputs(parser)
    options = parser.parse_args()
    methods = [*models_of(options.models), Xtb()]
    names, rows = read_names(), []
    for label in read_labels(options.labels, methods[0]):
        facts = {"name": names.get(label.smiles, label.name), "atoms": len(label.numbers)}
        rows.append(facts | {method.name: errors_of(method, label) for method in methods})
    totals = {method.name: summary(rows, method.name) for method in methods}
    facts = machine() | {f"{m.name}_sha256": m.identity[:16] for m in methods[:-1]} | {"molecules": len(rows)}
    tables = [method_table(rows, method.name) for method in methods]
    report = "\n\n".join([header("Well-known molecules", **facts), *tables])
    publish(report, {"means": totals, "molecules": rows}, options)


if __name__ == "__main__":
    main()
