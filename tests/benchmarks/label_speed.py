"""Labels by two grids beside labels by one: CPU time, and by how much they differ.

    python tests/benchmarks/label_speed.py STRUCTURES.xyz [...] [--count 30] [--rounds 1] [--json OUT]

A label is energy, forces, Fock matrix, dipole and charges at B3LYP/def2-SVP (density fitting, grid level 2,
SCF threshold 1e-9).  ``tight`` is PySCF's own way, every cycle on that grid; ``fast`` what ``helm-ase label``
does by itself.  The molecules are spread evenly over all structures given, ordered by size, so that small and
large ones are among them; both ways are run in turn on each, and with several rounds the shortest CPU time of
each counts.  Tolerances of the labels: H 5 µEh (mean over the elements of a matrix), energy 0.05 meV/atom,
forces 1 meV/Å.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from common import header, machine, one_thread, table

one_thread()

import numpy as np  # noqa: E402
from ase.build import molecule  # noqa: E402

from helm_ase.errors import HelmError  # noqa: E402
from helm_ase.labelling.structures import read_structures  # noqa: E402
from helm_ase.qc.labelling import LabelSettings, label_structure  # noqa: E402
from helm_ase.qc.level import pyscf_level, use_one_thread  # noqa: E402
from helm_ase.representation.structure import Structure  # noqa: E402

HEAD = ("molecule", "q", "2S+1", "atoms", "AOs", "tight s", "fast s", "ratio", "route", "cycles",
        "dH µEh", "dE meV/atom", "dF meV/Å", "max dF")  # fmt: skip


def timed(structure: Structure, settings: LabelSettings) -> tuple[Any, float]:
    """Label and CPU seconds."""
    start = time.process_time()
    label = label_structure(structure, settings)
    return label, time.process_time() - start


def compare(structure: Structure, rounds: int) -> dict[str, Any]:
    """Both ways on one molecule."""
    level = pyscf_level(grid_level=2)
    ways = [LabelSettings(level, tight=True), LabelSettings(level)]
    found = [[timed(structure, settings) for settings in ways] for _ in range(rounds)]
    (tight, _), (fast, _) = found[0]
    slow, quick = (min(times[k][1] for times in found) for k in (0, 1))
    count = len(structure.numbers)
    return {
        "molecule": structure.smiles or structure.name, "q": structure.charge, "2S+1": structure.multiplicity,
        "atoms": count, "AOs": tight.hamiltonian.shape[-1], "tight s": slow, "fast s": quick,
        "ratio": slow / quick, "route": fast.details["route"], "cycles": fast.details["cycles"],
        "dH µEh": 1e6 * float(np.abs(fast.hamiltonian - tight.hamiltonian).mean()),
        "dE meV/atom": 1e3 * abs(fast.energy - tight.energy) / count,
        "dF meV/Å": 1e3 * float(np.abs(fast.forces - tight.forces).mean()),
        "max dF": 1e3 * float(np.abs(fast.forces - tight.forces).max()),
    }  # fmt: skip


def spread(structures: list[Structure], count: int) -> list[Structure]:
    """Evenly over all sizes."""
    ordered = sorted(structures, key=lambda s: (int((s.numbers > 1).sum()), len(s.numbers), s.name))
    picks = np.unique(np.linspace(0, len(ordered) - 1, count).round().astype(int))
    return [ordered[k] for k in picks]


def row(found: dict[str, Any]) -> list[str]:
    """Of the table."""
    digits = {
        "tight s": 1,
        "fast s": 1,
        "ratio": 1,
        "dH µEh": 3,
        "dE meV/atom": 6,
        "dF meV/Å": 3,
        "max dF": 3,
    }
    return [f"{found[k]:.{digits[k]}f}" if k in digits else str(found[k])[:28] for k in HEAD]


def summary(results: list[dict[str, Any]]) -> str:
    """Sums, ratios and mean differences."""
    slow, quick = (sum(r[k] for r in results) for k in ("tight s", "fast s"))
    ratios = [r["ratio"] for r in results]
    means = {k: np.mean([r[k] for r in results]) for k in ("dH µEh", "dE meV/atom", "dF meV/Å")}
    return (
        f"{slow:.1f} s tight, {quick:.1f} s fast, ratio of the sums {slow / quick:.2f}, "
        f"median {np.median(ratios):.2f}, least {min(ratios):.2f}; mean over molecules: "
        + ", ".join(f"{k} {v:.5f}" for k, v in means.items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("structures", nargs="+", metavar="FILE")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", metavar="OUT")
    options = parser.parse_args()
    use_one_thread()
    water = molecule("H2O")
    compare(Structure("warm-up", water.numbers.astype(np.int64), water.positions), 1)
    results = []
    for structure in spread(read_structures(options.structures), options.count):
        try:
            results.append(compare(structure, options.rounds))
        except HelmError as error:  # of both ways: a structure without a label has no time either
            print(f"{structure.name}: {error}", flush=True)
            continue
        print("  ".join(row(results[-1])), flush=True)
    print(header("Labels by two grids and by one", **machine()), end="\n\n")
    print(table(HEAD, [row(r) for r in results]))
    print(f"{len(results)} labels: {summary(results)}")
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine(), "results": results}))


if __name__ == "__main__":
    main()
