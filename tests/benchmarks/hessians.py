"""Hessians on one thread: the network differentiated twice, beside central differences of its forces.

    python tests/benchmarks/hessians.py [--model NAME_OR_PATH] [--molecules H2CO CH3COCH3 ...] [--json OUT]

Processor time of one thread, all in one run, second of two runs.  Deviations are the largest element of the
difference in units of the largest of the Hessian: of both from central differences in float64 with a step of
1e-4 Å, and of float32 from float64.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import molecule  # noqa: E402

from helm_ase import HELMCalculator  # noqa: E402

MOLECULES = (
    "H2O", "NH3", "CH4", "HCN", "H2CO", "CH3OH", "HCOOH", "CH3CN", "CH3COCH3", "C6H6",
)  # fmt: skip
USUAL_STEP, FINE_STEP = 0.01, 1e-4
"""Å: ASE's default for vibrations, and one that leaves no trace."""


def differences(calculator: HELMCalculator, atoms: Atoms, step: float) -> Any:
    """Central differences of forces, eV/Å², (3N, 3N)."""
    rows = []
    for coordinate in range(3 * len(atoms)):
        sides = []
        for shift in (step, -step):
            twin = atoms.copy()
            twin.positions.flat[coordinate] += shift
            sides.append(calculator.get_forces(twin).ravel())
        rows.append((sides[1] - sides[0]) / (2 * step))
    return np.array(rows)


def timed(calculator: HELMCalculator, atoms: Atoms) -> tuple[Any, float]:
    """Hessian and CPU seconds."""
    calculator.get_hessian(atoms)
    start = time.process_time()
    found = calculator.get_hessian(atoms)
    return found, time.process_time() - start


def measure(name: str, single: HELMCalculator, double: HELMCalculator) -> dict[str, Any]:
    """All figures of one molecule."""
    atoms = molecule(name)
    hessian, seconds = timed(single, atoms)
    exact, seconds_double = timed(double, atoms)
    start = time.process_time()
    usual = differences(single, atoms, USUAL_STEP)
    spent = time.process_time() - start
    fine, size = differences(double, atoms, FINE_STEP), abs(exact).max()
    return {
        "molecule": name, "atoms": len(atoms), "s": seconds, "s, float64": seconds_double,
        "s, differences": spent, "faster": spent / seconds,
        "from fine differences": abs(exact - fine).max() / size,
        "float32": abs(hessian - exact).max() / size,
        "differences of 0.01 Å": abs(usual - exact).max() / size,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--molecules", nargs="*", default=MOLECULES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    single, double = (
        HELMCalculator(model=options.model, device="cpu", dtype=d) for d in ("float32", "float64")
    )
    results = [measure(name, single, double) for name in options.molecules]
    print(header("Hessians", model=single.checkpoint.name, **machine()))
    cells = [[f"{v:.2g}" if isinstance(v, float) else v for v in row.values()] for row in results]
    print("\n" + table(list(results[0]), cells))
    if options.json:
        options.json.write_text(json.dumps({"molecules": results}, default=float))


if __name__ == "__main__":
    main()
