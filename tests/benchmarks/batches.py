"""Energies and forces of many molecules on one thread: in batches, and one at a time by the calculator.

    python tests/benchmarks/batches.py [--model NAME_OR_PATH] [--copies 10] [--batch LOAD ...]
                                       [--molecules NAME ...] [--json OUT]

The molecules are those of ASE's G2 collection that hold H, C, N, O, F only and are closed shells (or those
named), each rattled several times.  Processor time of one thread, all in one run; the calculator reads each
geometry for the first time, as with any list of different molecules.  With an energy baseline, E0 is computed
one molecule at a time in both, and is shown in a column of its own.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import molecule  # noqa: E402
from ase.collections import g2  # noqa: E402

from helm_ase import HELMCalculator, predict_many  # noqa: E402

KNOWN = {1, 6, 7, 8, 9}


def structures(names: list[str], copies: int) -> list[Atoms]:
    """Rattled molecules, in an order that mixes sizes."""
    found = [molecule(name) for name in names or g2.names]
    closed = [
        a for a in found if set(a.numbers) <= KNOWN and not a.numbers.sum() % 2
        and not a.get_initial_magnetic_moments().any()
    ]  # fmt: skip
    rattled = []
    for k in range(copies):
        for n, atoms in enumerate(closed):
            twin = atoms.copy()
            twin.rattle(0.03, seed=1000 * k + n)
            rattled.append(twin)
    order = np.random.default_rng(0).permutation(len(rattled))
    return [rattled[k] for k in order]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def one_at_a_time(molecules: list[Atoms], calculator: HELMCalculator) -> list[tuple[float, Any]]:
    """Energy (eV) and forces (eV/Å) by ASE's interface."""
    found = []
    for atoms in molecules:
        forces = calculator.get_forces(atoms)
        found.append((calculator.get_potential_energy(atoms), forces))
    return found


def e0_seconds(molecules: list[Atoms], calculator: HELMCalculator) -> float:
    """CPU seconds of the energy baseline alone."""
    if not calculator.checkpoint.energy_baseline:
        return 0.0
    from helm_ase.qc.tight_binding import TightBinding

    compute = TightBinding(calculator.checkpoint.energy_baseline)
    return timed(lambda: [compute(a.numbers, a.positions, 0, 1) for a in molecules])[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="*", default=[])
    parser.add_argument("--molecules", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    molecules = structures(options.molecules, options.copies)
    calculator = HELMCalculator(model=options.model, device="cpu")
    one_at_a_time(molecules[:5], calculator)
    list(predict_many(molecules[:20], model=options.model, device="cpu"))
    alone, seconds = timed(lambda: one_at_a_time(molecules, calculator))
    e0 = e0_seconds(molecules, calculator)
    per = 1e3 / len(molecules)
    rows = [["one at a time", f"{seconds * per:.2f}", f"{e0 * per:.2f}", "", "", ""]]
    results = []
    for batch in ["auto", *options.batch]:
        found, spent = timed(
            lambda batch=batch: list(predict_many(molecules, model=options.model, batch=batch, device="cpu"))
        )
        energy = max(abs(a.energy - e) for a, (e, _) in zip(found, alone, strict=True))
        force = max(float(abs(a.forces - f).max()) for a, (_, f) in zip(found, alone, strict=True))
        ratios = seconds / spent, (seconds - e0) / (spent - e0)
        rows.append(
            [f"batch={batch}", f"{spent * per:.2f}", f"{e0 * per:.2f}", f"{ratios[0]:.2f} ({ratios[1]:.2f})",
             f"{energy:.1e}", f"{force:.1e}"]
        )  # fmt: skip
        results.append({"batch": batch, "ms": spent * per, "speed-up": ratios[0], "without E0": ratios[1],
                        "energy": energy, "force": force})  # fmt: skip
    sizes = [len(a) for a in molecules]
    print(
        header(
            "Batches", model=calculator.checkpoint.name, molecules=len(molecules),
            atoms=f"{min(sizes)} to {max(sizes)}, mean {np.mean(sizes):.1f}", **machine(),
        )
    )  # fmt: skip
    head = ["", "ms each", "of that E0", "faster (without E0)", "largest difference of E / eV", "of F / eV/Å"]
    print("\n" + table(head, rows))
    if options.json:
        options.json.write_text(
            json.dumps({"one at a time": seconds * per, "E0": e0 * per, "batches": results})
        )


if __name__ == "__main__":
    main()
