"""Errors of a checkpoint, of its baseline and of GFN2-xTB on molecules that were kept out of training.

    python tests/benchmarks/validation.py LABELS.h5 [--model NAME_OR_PATH] [--xtb] [--cache FOLDER]
                                          [--json OUT] [--markdown OUT]

LABELS.h5 holds labelled molecules in any format that ``helm_ase.labels`` reads, with the splits ``train``
and ``val``.  Only ``val`` is judged; ``train`` serves to fit per-element energies.

Printed: mean, median, 95th percentile and maximum over the molecules of ``val`` of

- H, occupied levels, HOMO, LUMO and gap of the checkpoint, and of the baseline H0 alone; the levels are
  those of the predicted matrix, no self-consistent field is run;
- the number of ghost LUMOs: more than 0.05 Eh below the reference;
- energies and forces of the checkpoint, of GFN2-xTB (``--xtb``, needs tblite) and of a sum of per-element
  energies.  Methods share no zero of energy, so the rows marked "refitted" add per-element energies fitted
  to (reference - method) on ``train`` by least squares, the same way for each.

H0 takes about a second per molecule; ``--cache`` keeps it.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from helm_ase.checkpoint import Checkpoint, load_model  # noqa: E402
from helm_ase.checkpoint.format import file_sha256  # noqa: E402
from helm_ase.dataset.dataset import open_dataset  # noqa: E402
from helm_ase.evaluation.errors import MoleculeErrors, evaluate, matrix_errors  # noqa: E402
from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.nn import HELM  # noqa: E402
from helm_ase.representation import LabelledMolecule  # noqa: E402
from helm_ase.representation.graph import AtomicGraph, batch_graphs  # noqa: E402
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM  # noqa: E402

GHOST = -0.05
"""Eh; a LUMO predicted lower than this against the reference is a ghost."""

LEVELS = {
    "hamiltonian": "H / µEh", "occupied": "occupied levels / eV", "homo": "HOMO / eV", "lumo": "LUMO / eV",
    "gap": "gap / eV",
}  # fmt: skip

Predictor = Callable[
    [Sequence[LabelledMolecule], bool], tuple[NDArray[np.float64], list[NDArray[np.float64]]]
]
"""(molecules, forces wanted) → energies (eV), forces (eV/Å; empty list if not wanted)."""


@dataclass(frozen=True)
class Row:
    """One quantity of one method."""

    method: str
    quantity: str
    values: NDArray[np.float64]
    """One absolute error per molecule."""
    weights: NDArray[np.float64] | None = None
    """Weights of the mean; None: all molecules alike."""

    def statistics(self) -> dict[str, float]:
        """Mean, median, 95th percentile, maximum."""
        return {
            "mean": float(np.average(self.values, weights=self.weights)),
            "median": float(np.median(self.values)),
            "p95": float(np.percentile(self.values, 95)),
            "max": float(self.values.max()),
        }


def helm_predictor(model: HELM) -> Predictor:
    """Energies and forces of a network, in batches."""

    def predict(
        molecules: Sequence[LabelledMolecule], forces: bool
    ) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        energies: list[float] = []
        found: list[NDArray[np.float64]] = []
        for start in range(0, len(molecules), 16):
            chunk = molecules[start : start + 16]
            graph = batch_graphs(
                [AtomicGraph.from_arrays(m.numbers, m.positions, model.cutoff) for m in chunk]
            )
            with torch.no_grad():
                out = model(graph, energy=True, forces=forces)
            energies += out.energy.tolist()
            if forces:
                found += [f.numpy() for f in out.forces.split([len(m.numbers) for m in chunk])]
        return np.array(energies), found

    return predict


def xtb_predict(
    molecules: Sequence[LabelledMolecule], forces: bool
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Energies and forces of GFN2-xTB."""
    from ase.units import Bohr
    from tblite.interface import Calculator

    energies, found = [], []
    for molecule in molecules:
        calculator = Calculator("GFN2-xTB", molecule.numbers, molecule.positions / Bohr)
        calculator.set("verbosity", 0)
        result = calculator.singlepoint()
        energies.append(float(result.get("energy")) * HARTREE_IN_EV)
        if forces:
            found.append(-np.asarray(result.get("gradient")) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM)
    return np.array(energies), found


def no_prediction(
    molecules: Sequence[LabelledMolecule], forces: bool
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Nothing: after the fit, a sum of per-element energies; zero forces show the size of the true ones."""
    return np.zeros(len(molecules)), [np.zeros_like(m.forces) for m in molecules] if forces else []


def composition(molecules: Sequence[LabelledMolecule], elements: Sequence[int]) -> NDArray[np.float64]:
    """Atoms of each element, shape (molecules, elements)."""
    return np.array([[(m.numbers == z).sum() for z in elements] for m in molecules], dtype=float)


def energy_rows(
    method: str,
    predict: Predictor,
    train: Sequence[LabelledMolecule],
    val: Sequence[LabelledMolecule],
    as_it_is: bool,
) -> list[Row]:
    """Energy errors as they are (if meaningful) and refitted, and force errors."""
    elements = sorted({int(z) for m in (*train, *val) for z in m.numbers})
    atoms = np.array([len(m.numbers) for m in val], dtype=float)
    energies, forces = predict(val, True)
    error = energies - np.array([m.energy for m in val])
    residual = np.array([m.energy for m in train]) - predict(train, False)[0]
    shifts, *_ = np.linalg.lstsq(composition(train, elements), residual, rcond=None)
    refitted = error + composition(val, elements) @ shifts
    rows = [Row(method, "energy / meV/atom", 1e3 * np.abs(error) / atoms)] if as_it_is else []
    rows.append(Row(method, "energy, refitted / meV/atom", 1e3 * np.abs(refitted) / atoms))
    components = np.array([np.abs(f - m.forces).mean() for f, m in zip(forces, val, strict=True)])
    rows.append(Row(method, "forces / meV/Å", 1e3 * components, atoms))
    return rows


def level_rows(method: str, errors: Sequence[MoleculeErrors]) -> list[Row]:
    """Errors of the matrix and its levels."""
    return [
        Row(method, label, np.array([getattr(e, name) for e in errors])) for name, label in LEVELS.items()
    ]


def ghosts(errors: Sequence[MoleculeErrors]) -> int:
    """Number of ghost LUMOs."""
    return sum(e.lumo_shift < GHOST for e in errors)


def compare_levels(
    checkpoint: Checkpoint, data: str, cache: Path, limit: int | None
) -> tuple[list[Row], dict[str, int]]:
    """Rows and ghosts of the checkpoint and of its H0."""
    model = checkpoint.model
    samples = open_dataset(
        data, "val", checkpoint.level, limit, baseline=checkpoint.baseline, cutoff=model.cutoff, cache=cache,
        energy_baseline=checkpoint.energy_baseline,
    )  # fmt: skip
    errors = {
        checkpoint.name: evaluate(model, samples, energy=False),
        "H0 alone": [matrix_errors(s, np.zeros(s.correction.shape)) for s in samples],
    }
    rows = [row for method, found in errors.items() for row in level_rows(method, found)]
    return rows, {method: ghosts(found) for method, found in errors.items()}


def render(rows: Sequence[Row], found: dict[str, int], facts: dict[str, Any]) -> str:
    """Markdown report."""
    lines = []
    for row in rows:
        numbers = [f"{value:.4g}" for value in row.statistics().values()]
        lines.append([row.quantity, row.method, *numbers])
    lines.sort(key=lambda line: [r.quantity for r in rows].index(line[0]))
    note = ", ".join(f"{method}: {n}" for method, n in found.items())
    return "\n".join([
        header("Errors on unseen molecules", **facts), "",
        table(["quantity (absolute error)", "method", "mean", "median", "95 %", "max"], lines), "",
        f"Ghost LUMOs (more than {-GHOST} Eh too low): {note}.",
        "Each figure is over molecules; the mean of the forces is over all components of all molecules.",
    ])  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    """Compute, print, write."""
    torch.set_num_threads(1)
    checkpoint = load_model(arguments.model)
    labels = list(open_labels(arguments.data))
    train = [label for label in labels if label.split == "train"]
    val = [label for label in labels if label.split == "val"][: arguments.limit]
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(arguments.cache or folder)
        rows, found = compare_levels(checkpoint, arguments.data, cache, arguments.limit)
    rows += energy_rows(checkpoint.name, helm_predictor(checkpoint.model), train, val, as_it_is=True)
    if arguments.xtb:
        rows += energy_rows("GFN2-xTB", xtb_predict, train, val, as_it_is=False)
    rows += energy_rows("per-element energies, zero forces", no_prediction, train, val, as_it_is=False)
    facts = machine() | {
        "model": checkpoint.name, "model_sha256": checkpoint.sha256[:16], "baseline": checkpoint.baseline,
        "data": Path(arguments.data).name, "data_sha256": file_sha256(arguments.data)[:16],
        "split": "val", "molecules": len(val), "molecules_of_the_fit": len(train),
    }  # fmt: skip
    report = render(rows, found, facts)
    print(report)
    if arguments.markdown:
        Path(arguments.markdown).write_text(report + "\n")
    if arguments.json:
        results = [{"method": r.method, "quantity": r.quantity, **r.statistics()} for r in rows]
        facts = {key: str(value) for key, value in facts.items()}
        Path(arguments.json).write_text(
            json.dumps({"facts": facts, "results": results, "ghosts": found}, indent=1)
        )


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="HDF5 file of labels")
    parser.add_argument("--model", help="name or path of a checkpoint (default: the shipped one)")
    parser.add_argument("--xtb", action="store_true", help="also GFN2-xTB")
    parser.add_argument("--cache", help="folder that keeps H0 (default: thrown away)")
    parser.add_argument("--limit", type=int, help="only so many molecules of val")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--markdown", help="write the report to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse())
