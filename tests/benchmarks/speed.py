"""CPU time of one evaluation on one thread, beside PySCF and GFN2-xTB, and how it grows with size.

    python tests/benchmarks/speed.py [--model NAME_OR_PATH] [--molecules ethanol benzene aspirin peptide]
                                     [--scf-up-to ATOMS] [--growth] [--architecture [--mmax 2]] [--json OUT]

No data file is needed: the geometries stand in molecules.py.  Everything is process-CPU time of one thread,
the minimum of several runs, all in one run of the script; only ratios within a run mean much.

Printed, in ms:

- E+F of the network, and of a step of the calculator with the energy baseline; the parts of the Hamiltonian:
  network with assembly (assembly also alone), overlap integrals and trust filter, H0, orbitals; "H without
  H0" is network + assembly + overlap + trust filter;
- PySCF's SCF and gradient at the level of theory of the labels for molecules of up to ``--scf-up-to`` atoms
  (default 21; 60 atoms take minutes), GFN2-xTB energy and gradient, and the ratios;
- with ``--growth``: E+F and H of n-alkanes, one fresh process each, exponents of a power law in the number
  of atoms, and peak memory;
- with ``--architecture``: the paper's sizes with random weights against the authors' code
  (see architecture.py); ``--mmax`` limits the orders m of the node track.
"""

from common import best, cpu_times, header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from molecules import NAMES, molecule  # noqa: E402
from scf import scf_seconds, xtb_energy_and_forces  # noqa: E402

import helm_ase.nn.model as network  # noqa: E402
from helm_ase import HELMCalculator  # noqa: E402
from helm_ase.checkpoint import Checkpoint, load_model  # noqa: E402
from helm_ase.electronic import ElectronicStructure  # noqa: E402
from helm_ase.nn import apply_factor  # noqa: E402
from helm_ase.prediction.electronic import make_graph, predict_energy  # noqa: E402
from helm_ase.qc.baseline import baseline_hamiltonian  # noqa: E402
from helm_ase.qc.molecule import build_mole, overlap  # noqa: E402
from helm_ase.qc.tight_binding import TightBinding  # noqa: E402
from helm_ase.representation.charge_state import ChargeState  # noqa: E402

ALKANES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)
NEUTRAL = ChargeState(0, 1)


class AssemblyClock:
    """CPU time that the network spends on assembling blocks, while the block is entered."""

    def __enter__(self) -> "AssemblyClock":
        self.plain, self.times = network.assemble, []
        network.assemble = self._timed
        return self

    def __exit__(self, *_: object) -> None:
        network.assemble = self.plain

    def _timed(self, *arguments: Any) -> torch.Tensor:
        start = time.process_time()
        dense = self.plain(*arguments)
        self.times.append(time.process_time() - start)
        return dense


def time_energy(checkpoint: Checkpoint, atoms: Atoms, repeats: int) -> float:
    """Energy and forces, ms."""
    return best(cpu_times(lambda: predict_energy(checkpoint.model, atoms, NEUTRAL, True), repeats))


def time_calculator(model: str | None, atoms: Atoms, repeats: int) -> float:
    """Energy and forces of a step of dynamics, energy baseline, error bar and verdict included, ms."""
    calc, moved = HELMCalculator(model), atoms.copy()

    def step() -> None:
        moved.positions[0] += 1e-3
        calc.get_property("forces", moved)

    return best(cpu_times(step, repeats))


@torch.no_grad()
def time_hamiltonian(checkpoint: Checkpoint, atoms: Atoms, repeats: int) -> dict[str, float]:
    """Parts of the Hamiltonian, ms each."""
    model, basis = checkpoint.model, checkpoint.basis
    mole = build_mole(atoms.numbers, atoms.positions, basis.name)
    s = torch.from_numpy(overlap(mole, basis).values)
    charge_method = None
    if checkpoint.baseline.charges:
        charge_method = TightBinding(checkpoint.energy_baseline.for_charges)

    def baseline() -> np.ndarray:
        """H0, the charges to which it responds included."""
        e0 = charge_method(atoms.numbers, atoms.positions, 0, 1) if charge_method else None
        charges = None if e0 is None else e0.charges
        return baseline_hamiltonian(mole, basis, checkpoint.level, checkpoint.baseline, charges).values

    def forward() -> torch.Tensor:
        return model(make_graph(model, atoms, NEUTRAL), energy=False, hamiltonian=True).correction[0].double()

    def trust() -> torch.Tensor:
        return apply_factor(correction, model.settings.output_factor(s))

    correction = forward()
    with AssemblyClock() as clock:
        parts = {"network + assembly": best(cpu_times(forward, repeats))}
    parts["assembly"] = best(clock.times)
    parts["overlap"] = best(cpu_times(lambda: overlap(mole, basis), repeats))
    parts["trust"] = best(cpu_times(trust, repeats)) if model.settings.trust_delta else 0.0
    h = trust() if model.settings.trust_delta else correction
    electrons = basis.electrons(atoms.numbers, 0)
    parts["H0"] = best(cpu_times(baseline, 2, warm=False))
    h0 = torch.from_numpy(baseline())
    parts["orbitals"] = best(cpu_times(lambda: ElectronicStructure.solve(h0 + h, s, electrons), repeats))
    parts["H without H0"] = parts["network + assembly"] + parts["overlap"] + parts["trust"]
    return parts


def time_references(checkpoint: Checkpoint, atoms: Atoms, with_scf: bool) -> dict[str, float]:
    """GFN2-xTB and, if asked, PySCF, ms."""
    times = {}
    try:
        times["xTB E+F"] = best(cpu_times(lambda: xtb_energy_and_forces(atoms), 5))
    except ImportError:
        print("tblite is not installed: no GFN2-xTB figures", file=sys.stderr)
    if with_scf:
        runs = [scf_seconds(atoms, checkpoint.level) for _ in range(2 if len(atoms) < 15 else 1)]
        times["SCF"] = 1e3 * min(run[0] for run in runs)
        times["gradient"] = 1e3 * min(run[1] for run in runs)
    return times


def compare(checkpoint: Checkpoint, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One record per molecule."""
    records = []
    for name in arguments.molecules:
        atoms = molecule(name)
        record: dict[str, Any] = {
            "molecule": name,
            "atoms": len(atoms),
            "AOs": checkpoint.basis.size(atoms.numbers),
        }
        record["E+F of the network"] = time_energy(checkpoint, atoms, arguments.repeats)
        record["E+F"] = time_calculator(arguments.model, atoms, arguments.repeats)
        record |= time_hamiltonian(checkpoint, atoms, arguments.repeats)
        record |= time_references(checkpoint, atoms, len(atoms) <= arguments.scf_up_to)
        if "SCF" in record:
            record["SCF / H without H0"] = record["SCF"] / record["H without H0"]
            record["SCF / H with H0"] = record["SCF"] / (record["H without H0"] + record["H0"])
            record["SCF + gradient / E+F"] = (record["SCF"] + record["gradient"]) / record["E+F"]
        print(f"{name} done", file=sys.stderr, flush=True)
        records.append(record)
    return records


def show_comparison(records: list[dict[str, Any]]) -> str:
    """Quantities down, molecules across."""
    names = list(dict.fromkeys(key for record in records for key in record if key != "molecule"))
    rows = []
    for name in names:
        rows.append([name, *(_number(record.get(name)) for record in records)])
    return table(["CPU ms (ratios: times)", *(record["molecule"] for record in records)], rows)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


# -- growth ------------------------------------------------------------------------------------------------


def child(name: str, what: str, model: str | None, repeats: int) -> dict[str, float]:
    """Time one alkane in this process, with its peak memory."""
    torch.set_num_threads(1)
    checkpoint, atoms = load_model(model), molecule(name)
    empty = peak_memory()
    with torch.no_grad():
        graph = make_graph(checkpoint.model, atoms, NEUTRAL)
        if what == "E+F":
            times = cpu_times(lambda: predict_energy(checkpoint.model, atoms, NEUTRAL, True), repeats)
        else:
            times = cpu_times(lambda: checkpoint.model(graph, energy=False, hamiltonian=True), repeats)
    return {"atoms": len(atoms), "ms": best(times), "peak": peak_memory(), "loaded": empty}


def peak_memory() -> float:
    """Peak resident memory of this process in MB.

    Not ``ru_maxrss``: on Linux a child inherits that of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def growth(arguments: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Measure every alkane in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {}
    for what in ("E+F", "H"):
        for n in ALKANES:
            command = [
                sys.executable,
                __file__,
                "--child",
                f"C{n}",
                what,
                "--repeats",
                str(arguments.repeats),
            ]
            command += ["--model", arguments.model] if arguments.model else []
            answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found.setdefault(what, []).append(json.loads(answer.splitlines()[-1]))
    return found


def exponent(records: list[dict[str, float]], smallest: int = 0) -> float:
    """Power of the number of atoms with which time grows, by least squares on logarithms."""
    chosen = [r for r in records if r["atoms"] >= smallest]
    return float(np.polyfit(np.log([r["atoms"] for r in chosen]), np.log([r["ms"] for r in chosen]), 1)[0])


def show_growth(found: dict[str, list[dict[str, float]]]) -> str:
    """Table of alkanes and exponents."""
    rows = []
    for energy, matrix in zip(found["E+F"], found["H"], strict=True):
        peaks = [f"{r['peak']:.0f} (+{r['peak'] - r['loaded']:.0f})" for r in (energy, matrix)]
        rows.append([energy["atoms"], _number(energy["ms"]), _number(matrix["ms"]), *peaks])
    head = [
        "atoms",
        "E+F / ms",
        "H (network) / ms",
        "peak E+F / MB (above loaded)",
        "peak H / MB (above loaded)",
    ]
    lines = ["", "### n-alkanes, one process each", "", table(head, rows), ""]
    for what, records in found.items():
        all_sizes, large = exponent(records), exponent(records, 26)
        lines.append(
            f"{what}: time ~ atoms^{all_sizes:.2f} over all sizes, atoms^{large:.2f} from 26 atoms on."
        )
    return "\n".join(lines)


# -- command line ------------------------------------------------------------------------------------------


def main(arguments: argparse.Namespace) -> None:
    """Measure and print what was asked for."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {"machine": machine()}
    if arguments.architecture:
        from architecture import measure, show

        print(header("Speed of the architecture, one thread", **results["machine"]), flush=True)
        results["architecture"] = measure(arguments.repeats, arguments.mmax)
        print(show(results["architecture"]), flush=True)
    else:
        checkpoint = load_model(arguments.model)
        facts = results["machine"] | {"model": checkpoint.name, "model_sha256": checkpoint.sha256[:16]}
        print(header("Speed, one thread", **facts), "\n", flush=True)
        results["molecules"] = compare(checkpoint, arguments)
        print(show_comparison(results["molecules"]), flush=True)
        if arguments.growth:
            results["growth"] = growth(arguments)
            print(show_growth(results["growth"]))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1))


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name or path of a checkpoint (default: the shipped one)")
    parser.add_argument(
        "--molecules", nargs="*", default=list(NAMES), help=f"of {', '.join(NAMES)}, C1, C2, …"
    )
    parser.add_argument("--scf-up-to", type=int, default=21, metavar="ATOMS", help="0: no SCF; 60: all")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each timing")
    parser.add_argument("--growth", action="store_true", help="also n-alkanes up to C20")
    parser.add_argument("--architecture", action="store_true", help="only the paper's sizes, random weights")
    parser.add_argument("--mmax", type=int, default=4, help="largest m on the node track of --architecture")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    if options.child:
        print(json.dumps(child(*options.child, options.model, options.repeats)))
    else:
        main(options)
