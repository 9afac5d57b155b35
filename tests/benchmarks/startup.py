"""Time to import the package and to make a calculator, in fresh processes.

    python tests/benchmarks/startup.py [--repeats 5] [--json OUT]

Needs no data.  Printed: CPU and wall time in ms (minimum over processes, files warm in the cache) of
``import helm_ase``, of ``from helm_ase import HELMCalculator``, and of ``HELMCalculator()`` after that;
whether the first already loads torch; and what a bare ``import torch`` takes, for comparison.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from common import THREADS, header, machine, table

PROGRAM = """
import json, sys, time
def clock(): return time.process_time(), time.perf_counter()
found, start = {{}}, clock()
for label, code in {steps!r}:
    before = clock()
    exec(code)
    after = clock()
    found[label] = [after[0] - before[0], after[1] - before[1], "torch" in sys.modules]
print(json.dumps(found))
"""

PROGRAMS = (
    (
        ("import helm_ase", "import helm_ase"),
        ("from helm_ase import HELMCalculator", "from helm_ase import HELMCalculator"),
        ("HELMCalculator()", "HELMCalculator()"),
    ),
    (("import torch (alone)", "import torch"),),
)


def run(steps: tuple[tuple[str, str], ...]) -> dict[str, list[float]]:
    """CPU seconds, wall seconds and "torch is loaded" after each step, in a new process."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    command = [sys.executable, "-c", PROGRAM.format(steps=steps)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(answer.stdout.splitlines()[-1])


def measure(repeats: int) -> dict[str, list[list[float]]]:
    """All runs of every step; the first run of each program only warms the file cache."""
    found: dict[str, list[list[float]]] = {}
    for steps in PROGRAMS:
        run(steps)
        for _ in range(repeats):
            for label, times in run(steps).items():
                found.setdefault(label, []).append(times)
    return found


def show(found: dict[str, list[list[float]]]) -> str:
    """Minimum over the runs."""
    rows = []
    for label, runs in found.items():
        cpu, wall = (1e3 * min(r[k] for r in runs) for k in (0, 1))
        rows.append([f"`{label}`", f"{cpu:.1f}", f"{wall:.1f}", "yes" if runs[0][2] else "no"])
    return table(["step", "CPU / ms", "wall / ms", "torch is loaded afterwards"], rows)


def main(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    found = measure(arguments.repeats)
    print(header("Start-up", **machine(), processes=arguments.repeats), "\n")
    print(show(found))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="write the results to this file")
    main(parser.parse_args())
