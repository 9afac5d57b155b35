"""Time and memory of crystals from 2 to some hundred atoms on one thread, each size in a process of its own.

    python tests/benchmarks/crystal_sizes.py MODEL [--cells 1 2 4 7 10] [--kind graphene|diamond] [--json OUT]

n × n cells of graphene, or n × n × n primitive cells of diamond, whose atoms are displaced by 0.03 Å.
Processor time, each once: the network's ΔH(T), everything that H(T) and S(T) take (H0 included), and all
levels at one k point.  Memory is the peak of the whole process, libraries and model included.  Also printed:
elements of H(T) that are kept, per atom, and the power of the number of atoms between the two largest sizes.
"""

from common import header, machine, one_thread, table, timed

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk, graphene  # noqa: E402
from speed import exponent, peak_memory  # noqa: E402

from helm_ase import HELMCalculator  # noqa: E402
from helm_ase.prediction.crystals import graph_of  # noqa: E402

KPT = [[0.11, 0.07, 0.0]]


def crystal(kind: str, n: int) -> Atoms:
    """n × n cells of graphene or n × n × n of diamond, distorted."""
    atoms = graphene(a=2.46, size=(n, n, 1)) if kind == "graphene" else bulk("C", "diamond", 3.57) * (n, n, n)
    atoms.positions += np.random.default_rng(0).normal(scale=0.03, size=atoms.positions.shape)
    return atoms


def measured(model: str, kind: str, n: int) -> dict[str, float]:
    """Times (s) and memory (MB) of one size."""
    atoms = crystal(kind, n)
    calc = HELMCalculator(model=model)
    atoms.calc = calc
    network = calc.checkpoint.model
    with torch.no_grad():
        _, correction = timed(lambda: network(graph_of(network, atoms), energy=False, hamiltonian=True))
    h, whole = timed(calc.get_real_space_hamiltonian)
    matrices, summed = timed(lambda: calc.get_bloch_matrices(KPT))
    _, solved = timed(lambda: np.linalg.eigvalsh(np.linalg.solve(*matrices[::-1])[0]))
    return {
        "atoms": len(atoms), "network": correction, "H": whole, "level": summed + solved,
        "memory": peak_memory(), "kept": float(np.count_nonzero(h.values)) / len(atoms),
    }  # fmt: skip


def report_of(found: list[dict[str, float]]) -> str:
    """One line a size, and exponents."""
    head = ["atoms", "ΔH(T), s", "H(T) and S(T), s", "levels at a k point, s", "peak MB", "elements per atom"]
    rows = [
        [f"{x['atoms']:.0f}", *(f"{x[k]:.2f}" for k in ("network", "H", "level")), f"{x['memory']:.0f}",
         f"{x['kept']:.0f}"] for x in found
    ]  # fmt: skip
    if len(found) > 1:
        last = [[{"atoms": x["atoms"], "ms": x[k]} for x in found[-2:]] for k in ("network", "H", "level")]
        powers = [exponent(x) for x in last]
        rows.append(["power of the atoms", *(f"{p:.2f}" for p in powers), "", ""])
    return table(head, rows)


def main(options: argparse.Namespace) -> list[dict[str, float]]:
    found = []
    for n in options.cells:
        with get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(measured, (options.model, options.kind, n)))
    print(header(f"Sizes of {options.kind}", **machine()) + "\n\n" + report_of(found))
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="checkpoint of a model of carbon crystals")
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 2, 4, 7, 10], help="n")
    parser.add_argument("--kind", choices=["graphene", "diamond"], default="graphene")
    parser.add_argument("--json")
    main(parser.parse_args())
