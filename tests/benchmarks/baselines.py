"""How near each baseline H0 comes to converged Hamiltonians of unseen molecules, and what it costs.

    python tests/benchmarks/baselines.py LABELS.h5 [--split val] [--molecules 0] [--sizes 200] [--json OUT]
    python tests/benchmarks/baselines.py LABELS.h5 --model CHECKPOINT [--split val]

``fitted`` operators are fitted to the split ``train`` of the file, to as many labels as SIZES say (0: all).
With ``--model`` it is the H0 of a checkpoint instead, by charge and spin, beside the same without its
exchange splitting.  Means over the molecules of the split; times are process-CPU of one thread and do not
include the fit, nor GFN2-xTB.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from scipy.linalg import eigvalsh  # noqa: E402

from helm_ase.checkpoint import load_model  # noqa: E402
from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.qc.baseline import baseline_of_spins  # noqa: E402
from helm_ase.qc.level import Baseline, LevelOfTheory  # noqa: E402
from helm_ase.qc.molecule import basis_of, build_mole  # noqa: E402
from helm_ase.qc.tight_binding import TightBinding  # noqa: E402
from helm_ase.representation import AOMatrix  # noqa: E402
from helm_ase.representation.labelled import LabelledMolecule  # noqa: E402
from helm_ase.training.fitted_baseline import fit_operators  # noqa: E402
from helm_ase.training.recipe import DataSettings  # noqa: E402
from helm_ase.units import HARTREE_IN_EV  # noqa: E402

COLUMNS = ("H, mEh", "largest, mEh", "occupied, mEh", "gap, eV", "seconds")


def errors(
    label: LabelledMolecule, level: LevelOfTheory, baseline: Baseline, charges: TightBinding | None
) -> list[float]:
    """In the order of the columns; orbital energies and gap over both spins."""
    mole = build_mole(label.numbers, label.positions, level.basis, label.charge, label.multiplicity)
    basis, state = basis_of(mole), (label.charge, label.multiplicity)
    e0 = None if charges is None else charges(label.numbers, label.positions, *state)
    start = time.process_time()
    h0 = baseline_of_spins(mole, basis, level, baseline, e0)
    seconds = time.process_time() - start
    reference = label.hamiltonian.reshape(-1, mole.nao, mole.nao)
    h0 = np.stack([AOMatrix(h, label.numbers, basis).reorder("pyscf").values
                   for h in np.broadcast_to(h0, reference.shape)])  # fmt: skip
    s, occupied = mole.intor("int1e_ovlp"), mole.nelec[: len(reference)]
    found, wanted = ([eigvalsh(h, s) for h in matrices] for matrices in (h0, reference))
    levels = [1e3 * np.abs(f - w)[:n] for f, w, n in zip(found, wanted, occupied, strict=True)]
    gap = abs(gap_of(found, occupied) - gap_of(wanted, occupied)) * HARTREE_IN_EV
    difference = 1e3 * np.abs(h0 - reference)
    return [difference.mean(), difference.max(), np.concatenate(levels).mean(), gap, seconds]


def gap_of(levels: list[Any], occupied: tuple[int, ...]) -> float:
    """LUMO − HOMO over both spins, Hartree."""
    lumo = min(e[n] for e, n in zip(levels, occupied, strict=True))
    return float(lumo - max(e[n - 1] for e, n in zip(levels, occupied, strict=True) if n))


def kind_of(label: LabelledMolecule) -> str:
    """Charge and spin in words."""
    charge = {0: "neutral", 1: "cation", -1: "anion"}[int(np.sign(label.charge))]
    return charge if label.multiplicity == 1 else f"{charge}, open shell"


def of_model(path: str, labels: list[LabelledMolecule], level: LevelOfTheory) -> dict[str, list[float]]:
    """Mean errors of the H0 of a checkpoint by kind, and of open shells without its exchange splitting."""
    checkpoint = load_model(path)
    with_spins, e0 = checkpoint.baseline, checkpoint.energy_baseline
    charges = TightBinding(e0.for_charges, with_spins.spins) if e0 else None
    plain = tuple(replace(o, exchange=None) for o in with_spins.operators)
    found = {}
    for kind in sorted({kind_of(label) for label in labels}):
        own = [label for label in labels if kind_of(label) == kind]
        baselines = {f"{kind} ({len(own)})": with_spins}
        if with_spins.spins and own[0].multiplicity > 1:
            baselines[f"{kind}, spins alike"] = replace(with_spins, operators=plain, spins=False)
        for name, baseline in baselines.items():
            found[name] = np.mean([errors(label, level, baseline, charges) for label in own], 0).tolist()
    return found


def fitted(options: argparse.Namespace, labels: list[LabelledMolecule]) -> dict[str, list[float]]:
    """Mean errors of every kind of baseline over closed shells."""
    source = open_labels(options.labels)
    baselines = {"sap": Baseline("sap"), "minao": Baseline("minao")}
    for size in options.sizes:
        data = DataSettings(train=(options.labels,), level=source.level)
        operators = fit_operators(data, size or len(source))
        baselines[f"fitted to {size or 'all'}"] = Baseline("fitted", operators=operators)
    return {
        name: np.mean([errors(label, source.level, baseline, None) for label in labels], 0).tolist()
        for name, baseline in baselines.items()
    }


def main(options: argparse.Namespace) -> dict[str, Any]:
    source = open_labels(options.labels)
    chosen = [k for k in range(len(source)) if source.split_of(k) == options.split]
    labels = [source[k] for k in chosen[: options.molecules or None]]
    labels = [label for label in labels if label.determines_hamiltonian]
    if not options.model:
        labels = [label for label in labels if label.multiplicity == 1]
    found = of_model(options.model, labels, source.level) if options.model else fitted(options, labels)
    print(header("Baselines", **machine(), molecules=len(labels)))
    rows = [[name, *(f"{x:.3g}" for x in row)] for name, row in found.items()]
    print("\n" + table(["H0", *COLUMNS], rows))
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("--split", default="val")
    parser.add_argument("--molecules", type=int, default=0, help="first so many (0: all)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[200])
    parser.add_argument("--model", help="a checkpoint whose own H0 is judged")
    parser.add_argument("--json")
    main(parser.parse_args())
