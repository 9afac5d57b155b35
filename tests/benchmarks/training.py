"""Training steps per second on one thread, memory, and how the cost grows with atoms and with lmax.

    python tests/benchmarks/training.py [--steps 10] [--growth] [--json OUT]

No labels are needed: targets are zeros of the right shapes, weights are random, and a step is what training
does: forward, loss, backward, clipping, optimiser, averaged weights.  Times are process-CPU of one thread,
the median over steps; memory is the peak of a fresh process for each case.

- **ethanol**, def2-SVP: the shipped architecture, and one of the paper's size (lmax 4, three layers, all
  pairs) with as many parameters as the authors' code, 34.1 M, for which 375 ms and 0.9 GB were measured
  elsewhere on a core of 100 GFLOP/s (Hamiltonian only, forward and backward, without optimiser: the column
  ``forward + backward``);
- with ``--growth``: n-alkanes of 11 to 152 atoms in the shipped architecture, and ethanol in STO-3G with
  lmax 2 to 6, as exponents of power laws; the network's cutoffs make the first one tend to pairs, not atoms².
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from architecture import gemm_gflops  # noqa: E402
from molecules import molecule  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402

from helm_ase.dataset.batch import collate  # noqa: E402
from helm_ase.dataset.sample import Sample  # noqa: E402
from helm_ase.nn import HELM, BackboneSettings, HELMSettings  # noqa: E402
from helm_ase.qc.molecule import ao_basis  # noqa: E402
from helm_ase.representation.graph import AtomicGraph  # noqa: E402
from helm_ase.training.callbacks import GrowingDecay  # noqa: E402
from helm_ase.training.losses import LossWeights, loss_terms, term_value, total_loss  # noqa: E402
from helm_ase.training.optimisers import make_optimiser  # noqa: E402
from helm_ase.training.recipe import OptimiserSettings  # noqa: E402

SHIPPED = BackboneSettings(
    natural_channels=40, unnatural_channels=16, mmax_nodes=2, node_layers=2, edge_layers=2, cutoff=5.0
)
PAPER = BackboneSettings(
    natural_channels=124, unnatural_channels=42, lmax=4, mmax_nodes=4, node_layers=3, edge_layers=3,
    cutoff=12.0, gaussians=128, radial_hidden=128, node_ffn_factor=1, edge_ffn_factor=1,
)  # fmt: skip
LOSSES = {
    "H": LossWeights(hamiltonian=1.0, spectrum=0.1),
    "E + F": LossWeights(energy=0.3, forces=1.0),
    "H + E + F": LossWeights(hamiltonian=1.0, spectrum=0.1, energy=0.3, forces=0.5),
}
ALKANES = (3, 5, 8, 12, 20, 30, 50)
DEGREES = (2, 3, 4, 5, 6)


def empty_sample(atoms: Any, model: HELM) -> Sample:
    """Targets of the right shapes, all zero; orbitals are columns of the unit matrix."""
    graph = AtomicGraph.from_arrays(atoms.numbers, atoms.positions, model.cutoff)
    size = sum(model.basis.size_of(z) for z in atoms.numbers.tolist())
    occupied = int(atoms.numbers.sum()) // 2
    unit = torch.eye(size, dtype=torch.float64)
    return Sample(
        name="x", graph=graph, energy=0.0, forces=torch.zeros(len(atoms), 3),
        correction=torch.zeros(1, size, size), overlap=unit, baseline=unit,
        orbitals=unit[None, :, : occupied + 6].float(), orbital_energies=torch.zeros(1, size),
        electrons=(occupied,),
    )  # fmt: skip


def step_seconds(
    model: HELM, atoms: Any, weights: LossWeights, steps: int, name: str = "adamw"
) -> list[tuple[float, float]]:
    """Processor times of training steps, after two to warm up: until the gradient is there, and whole."""
    batch = collate([empty_sample(atoms, model)])
    optimiser = make_optimiser([(list(model.parameters()), 1.0)], OptimiserSettings(name))
    average = AveragedModel(model, use_buffers=False, multi_avg_fn=GrowingDecay(0.998))
    model.train()
    times = []
    for _ in range(steps + 2):
        start = time.process_time()
        out = model(batch.graph, weights.needs_energy, weights.needs_forces, weights.needs_hamiltonian)
        values = {k: term_value(k, *v) for k, v in loss_terms(out, batch, weights.wanted).items()}
        optimiser.zero_grad(set_to_none=True)
        total_loss(values, weights).backward()
        gradient = time.process_time() - start
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        average.update_parameters(model)
        times.append((gradient, time.process_time() - start))
    return times[2:]


def build(backbone: BackboneSettings, basis: str) -> HELM:
    torch.manual_seed(0)
    return HELM(ao_basis(basis, (1, 6, 7, 8, 9)), HELMSettings(backbone=backbone))


def one(case: str, steps: int) -> dict[str, Any]:
    """One case, in this process."""
    kind, _, value = case.partition(":")
    optimiser, weights = "adamw", LOSSES["H + E + F"]
    atoms, backbone, basis = molecule("ethanol"), SHIPPED, "def2-svp"
    if kind in ("shipped", "paper"):
        backbone, weights = (SHIPPED if kind == "shipped" else PAPER), LOSSES[value]
    elif kind == "muon":
        optimiser, weights = "muon", LOSSES[value]
    elif kind == "alkane":
        atoms = molecule(f"C{value}")
    elif kind == "lmax":
        basis = "sto-3g"
        backbone = BackboneSettings(
            natural_channels=40, unnatural_channels=16, lmax=int(value), mmax_nodes=int(value), node_layers=2,
            edge_layers=2, cutoff=5.0,
        )  # fmt: skip
    model = build(backbone, basis)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = step_seconds(model, atoms, weights, steps, optimiser)
    return {
        "case": case, "atoms": len(atoms), "parameters": sum(p.numel() for p in model.parameters()),
        "gradient_ms": 1e3 * statistics.median(g for g, _ in times),
        "ms": 1e3 * statistics.median(t for _, t in times), "best_ms": 1e3 * min(t for _, t in times),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "loaded_mb": loaded,
    }  # fmt: skip


def fresh(case: str, steps: int) -> dict[str, Any]:
    """One case in a process of its own, for its memory."""
    command = [sys.executable, __file__, "--one", case, "--steps", str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def exponent(x: list[float], y: list[float]) -> float:
    """Of a power law, by least squares in logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def main(options: argparse.Namespace) -> dict[str, Any]:
    cases = [f"shipped:{k}" for k in LOSSES] + ["muon:H + E + F", "paper:H"]
    gflops = gemm_gflops((2048, 2048, 2048))
    found = [fresh(case, options.steps) for case in cases]
    print(header("Training steps", **machine(), steps=options.steps, float32_gemm=f"{gflops:.0f} GFLOP/s"))
    rows = [
        [r["case"], f"{r['parameters'] / 1e6:.1f}", f"{r['gradient_ms']:.0f}", f"{r['ms']:.0f}",
         f"{1e3 / r['ms']:.1f}", f"{r['loaded_mb']:.0f} / {r['peak_mb']:.0f}"]
        for r in found
    ]  # fmt: skip
    columns = ["parameters / M", "forward + backward, ms", "step, ms", "steps/s", "MB loaded / peak"]
    print("\n" + table(["ethanol", *columns], rows))
    report: dict[str, Any] = {"gflops": gflops, "ethanol": found}
    if options.growth:
        report["alkanes"] = [fresh(f"alkane:{n}", max(3, options.steps // 2)) for n in ALKANES]
        report["lmax"] = [fresh(f"lmax:{n}", options.steps) for n in DEGREES]
        sizes = [r["atoms"] for r in report["alkanes"]]
        for key, label, x in (("alkanes", "atoms", sizes), ("lmax", "lmax + 1", [n + 1 for n in DEGREES])):
            rows = [[r["case"], r["atoms"], f"{r['ms']:.0f}", f"{r['peak_mb']:.0f}"] for r in report[key]]
            print("\n" + table([key, "atoms", "ms", "MB peak"], rows))
            power = exponent(x, [r["ms"] for r in report[key]])
            tail = exponent(x[-4:], [r["ms"] for r in report[key]][-4:])
            report[f"{key}_exponent"], report[f"{key}_exponent_tail"] = power, tail
            print(f"\ntime ~ ({label})^{power:.2f}; over the last four points ^{tail:.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(report))
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        torch.set_num_threads(1)
        print(json.dumps(one(chosen.one, chosen.steps)))
    else:
        main(chosen)
