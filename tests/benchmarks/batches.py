"""Energies and forces of many molecules: in batches, and one at a time by the calculator.

    python tests/benchmarks/batches.py [--model NAME_OR_PATH] [--device cpu] [--copies 10] [--batch LOAD ...]
                                       [--molecules NAME ...] [--json OUT]

The molecules are those of ASE's G2 collection that hold H, C, N, O, F only and are closed shells (or those
named), each rattled several times, all in one run; the calculator reads each geometry for the first time, as
with any list of different molecules.  On a CPU, times are processor times of one thread; on a GPU they are
elapsed times, and the calculator on one thread of the CPU is the reference of the differences.  With an
energy baseline, E0 is computed one molecule at a time in both, and is shown in a column of its own.
"""

from common import header, machine, one_thread, table, timed

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
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


def one_at_a_time(molecules: list[Atoms], calculator: HELMCalculator) -> list[tuple[float, Any]]:
    """Energy (eV) and forces (eV/Å) by ASE's interface."""
    found = []
    for atoms in molecules:
        forces = calculator.get_forces(atoms)
        found.append((calculator.get_potential_energy(atoms), forces))
    return found


def e0_seconds(molecules: list[Atoms], calculator: HELMCalculator, clock: Callable[[], float]) -> float:
    """Seconds of the energy baseline alone."""
    if not calculator.checkpoint.energy_baseline:
        return 0.0
    from helm_ase.qc.tight_binding import TightBinding

    compute = TightBinding(calculator.checkpoint.energy_baseline)
    return timed(lambda: [compute(a.numbers, a.positions, 0, 1) for a in molecules], clock)[1]


def device_name(device: str) -> str:
    """What the network runs on."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="*", default=[])
    parser.add_argument("--molecules", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    molecules = structures(options.molecules, options.copies)
    on_cpu = options.device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    calculator = HELMCalculator(model=options.model, device=options.device)
    one_at_a_time(molecules[:5], calculator)
    alone, seconds = timed(lambda: one_at_a_time(molecules, calculator), clock)
    e0 = e0_seconds(molecules, calculator, clock)
    per = 1e3 / len(molecules)
    rows = [["one at a time", f"{seconds * per:.2f}", f"{e0 * per:.2f}", "", "", ""]]
    results = []
    if not on_cpu:
        host = HELMCalculator(model=options.model, device="cpu")
        one_at_a_time(molecules[:5], host)
        alone, spent = timed(lambda: one_at_a_time(molecules, host), clock)
        rows.append(
            ["one at a time, CPU", f"{spent * per:.2f}", f"{e0 * per:.2f}", f"{seconds / spent:.2f}", "", ""]
        )
    for batch in ["auto", *options.batch]:
        predict = partial(predict_many, model=options.model, batch=batch, device=options.device)
        list(predict(molecules))  # kernels and memory are ready
        found, spent = timed(lambda predict=predict: list(predict(molecules)), clock)
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
            "Batches", model=calculator.checkpoint.name, device=device_name(options.device),
            molecules=len(molecules),
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
