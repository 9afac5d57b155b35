"""The network at the paper's sizes against the authors' code; run by ``speed.py --architecture``.

Random weights, def2-SVP, 96 natural + 32 unnatural = 128 channels, lmax = mmax = 4, three node and three
edge layers, all pairs of atoms in both tracks, as in the paper.  The authors' figures were measured
elsewhere, on a core whose float32 matrix product reached 100 GFLOP/s; here they are scaled by
100 / (GFLOP/s of this run), so that the ratio compares code and not machines.
"""

from collections.abc import Callable
from typing import Any

import torch
from common import cpu_times, spread, table
from molecules import molecule

from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.graph import AtomicGraph

ELEMENTS = (1, 6, 7, 8, 9)
CASES = ("ethanol", "benzene", "aspirin")
TASKS = ("H forward", "H forward + backward", "E forward", "E + F")
AUTHORS = {
    "ethanol": (118.0, 375.0, 72.0, 158.0),
    "benzene": (196.0, 628.0, 123.0, 277.0),
    "aspirin": (652.0, 1919.0, 392.0, 840.0),
}
"""CPU ms of the authors' code for TASKS, one thread at AUTHORS_GFLOPS."""
AUTHORS_GFLOPS = 100.0
SHAPES = ((2048, 2048, 2048), (420, 1280, 768))
GOAL, AIM = 1.5, 2.5


def build(mmax: int) -> HELM:
    """Network of the paper's size with random weights."""
    backbone = BackboneSettings(
        natural_channels=96, unnatural_channels=32, lmax=4, mmax_nodes=mmax, node_layers=3, edge_layers=3,
        cutoff=12.0, pair_cutoff=12.0, gaussians=128, radial_hidden=128, node_ffn_factor=1, edge_ffn_factor=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return HELM(ao_basis("def2-svp", ELEMENTS), HELMSettings(backbone=backbone))


def gemm_gflops(shape: tuple[int, int, int], repeats: int = 5) -> float:
    """Speed of a float32 matrix product (m, k) @ (k, n)."""
    m, k, n = shape
    a, b = torch.randn(m, k), torch.randn(k, n)
    calls = max(1, int(2e10 / (2 * m * k * n)))

    def work() -> None:
        for _ in range(calls):
            a @ b

    return 2e-9 * m * k * n * calls / min(cpu_times(work, repeats))


def tasks(model: HELM, graph: AtomicGraph) -> dict[str, Callable[[], Any]]:
    """The four timed tasks; weights ask for gradients only where they are trained."""
    target = torch.zeros(())

    def forward() -> None:
        model.eval().requires_grad_(False)
        with torch.no_grad():
            model(graph, energy=False, hamiltonian=True)

    def train() -> None:
        model.train().requires_grad_(True)
        model.zero_grad(set_to_none=True)
        (model(graph, energy=False, hamiltonian=True).correction - target).abs().mean().backward()

    def energy() -> None:
        model.eval().requires_grad_(False)
        with torch.no_grad():
            model(graph, energy=True)

    def forces() -> None:
        model.eval().requires_grad_(False)
        model(graph, energy=True, forces=True)

    return dict(zip(TASKS, (forward, train, energy, forces), strict=True))


def measure(repeats: int, mmax: int) -> dict[str, Any]:
    """Times of all cases, with the speed of matrix products before and after."""
    model = build(mmax)
    gflops = {shape: [gemm_gflops(shape)] for shape in SHAPES}
    times = {}
    for name in CASES:
        atoms = molecule(name)
        graph = AtomicGraph.from_arrays(atoms.numbers, atoms.positions, model.cutoff)
        times[name] = {task: cpu_times(work, repeats) for task, work in tasks(model, graph).items()}
    for shape, found in gflops.items():
        found.append(gemm_gflops(shape))
    return {
        "mmax_nodes": mmax,
        "parameters": sum(p.numel() for p in model.parameters()),
        "gflops": {"x".join(map(str, shape)): found for shape, found in gflops.items()},
        "seconds": times,
    }


def show(found: dict[str, Any]) -> str:
    """Table with the authors' figures scaled to this machine."""
    speed = max(found["gflops"]["x".join(map(str, SHAPES[0]))])
    rows, below = [], []
    for name, times in found["seconds"].items():
        for task, theirs in zip(TASKS, AUTHORS[name], strict=True):
            scaled = theirs * AUTHORS_GFLOPS / speed
            ratio = scaled / (1e3 * min(times[task]))
            rows.append([name, task, spread(times[task]), f"{scaled:.0f}", f"{ratio:.2f}"])
            below += [f"{name} {task}"] if ratio < GOAL else []
    head = ["molecule", "task", "ours, min / median ms", "authors' code, scaled ms", "theirs / ours"]
    products = "; ".join(f"{k}: {min(v):.0f}-{max(v):.0f}" for k, v in found["gflops"].items())
    return "\n".join([
        f"- node track mmax: {found['mmax_nodes']}; parameters: {found['parameters'] / 1e6:.1f} M",
        f"- float32 matrix products before and after, GFLOP/s: {products} (scaled by {speed:.0f})", "",
        table(head, rows), "",
        f"Goal {GOAL}, aim {AIM}; below the goal: {', '.join(below) or 'none'}.",
    ])  # fmt: skip
