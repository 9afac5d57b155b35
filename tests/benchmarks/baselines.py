"""How near each baseline H0 comes to converged Hamiltonians of unseen molecules, and what it costs.

    python tests/benchmarks/baselines.py LABELS.h5 [--split val] [--molecules 0] [--sizes 200] [--json OUT]

``fitted`` operators are fitted to the split ``train`` of the file, to as many labels as SIZES say (0: all).
Means over the molecules of the split; times are process-CPU of one thread and do not include the fit.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from scipy.linalg import eigvalsh  # noqa: E402

from helm_ase.labels.formats import open_labels  # noqa: E402
from helm_ase.qc.baseline import baseline_hamiltonian  # noqa: E402
from helm_ase.qc.level import Baseline, LevelOfTheory  # noqa: E402
from helm_ase.qc.molecule import basis_of, build_mole  # noqa: E402
from helm_ase.representation.labelled import LabelledMolecule  # noqa: E402
from helm_ase.training.fitted_baseline import fit_operators  # noqa: E402
from helm_ase.training.recipe import DataSettings  # noqa: E402
from helm_ase.units import HARTREE_IN_EV  # noqa: E402

COLUMNS = ("H, mEh", "largest, mEh", "occupied, mEh", "gap, eV", "seconds")


def errors(label: LabelledMolecule, level: LevelOfTheory, baseline: Baseline) -> list[float]:
    """In the order of the columns."""
    mole = build_mole(label.numbers, label.positions, level.basis, label.charge, label.multiplicity)
    start = time.process_time()
    h0 = baseline_hamiltonian(mole, basis_of(mole), level, baseline).reorder("pyscf").values
    seconds = time.process_time() - start
    s, n = mole.intor("int1e_ovlp"), mole.nelectron // 2
    found, wanted = eigvalsh(h0, s), eigvalsh(label.hamiltonian, s)
    gap = abs(found[n] - found[n - 1] - wanted[n] + wanted[n - 1]) * HARTREE_IN_EV
    difference = 1e3 * np.abs(h0 - label.hamiltonian)
    occupied = 1e3 * np.abs(found - wanted)[:n].mean()
    return [difference.mean(), difference.max(), occupied, gap, seconds]


def main(options: argparse.Namespace) -> dict[str, Any]:
    source = open_labels(options.labels)
    chosen = [k for k in range(len(source)) if source.split_of(k) == options.split]
    labels = [source[k] for k in chosen[: options.molecules or None]]
    labels = [label for label in labels if label.multiplicity == 1]  # one matrix, one gap
    baselines = {"sap": Baseline("sap"), "minao": Baseline("minao")}
    for size in options.sizes:
        data = DataSettings(train=(options.labels,), level=source.level)
        operators = fit_operators(data, size or len(source))
        baselines[f"fitted to {size or 'all'}"] = Baseline("fitted", operators=operators)
    found = {
        name: np.mean([errors(label, source.level, baseline) for label in labels], 0).tolist()
        for name, baseline in baselines.items()
    }
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
    parser.add_argument("--json")
    main(parser.parse_args())
