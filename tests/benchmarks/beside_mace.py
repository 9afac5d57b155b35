"""Energies and forces beside MACE-OFF-small's architecture, one thread, both in one run.

    python tests/benchmarks/beside_mace.py --mace-python ENVIRONMENT/bin/python [--model NAME_OR_PATH]
                                           [--molecules ethanol benzene ...] [--rounds 15] [--json OUT]

``mace-torch`` wants libraries of its own, so it runs in an environment that holds it, made once by
``python -m venv ENVIRONMENT`` and ``ENVIRONMENT/bin/pip install mace-torch "torch>=2.8,<2.14"``.  Its weights
are random; what is timed depends on the architecture alone: 96 scalar channels, two layers, 4.5 Å, spherical
harmonics up to degree 3, products of three, ten elements.  Both run in float32, each in a process that lives
through the run, and take turns, so that what else the machine does disturbs both alike.  Processor time,
minimum over the rounds: "network" with the graph of the molecule made before, "from atoms" with that.
"""

from common import best, header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from molecules import NAMES, molecule  # noqa: E402

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17, 35, 53)
WHAT = ("network", "from atoms")


# -- the two of them: molecules → functions to be timed --------------------------------------------------


def ours(model: str | None) -> tuple[Callable[[Any], dict[str, Callable[[], Any]]], int]:
    """This package."""
    from helm_ase.checkpoint import load_model
    from helm_ase.prediction.electronic import make_graph, predict_energy
    from helm_ase.representation.charge_state import ChargeState

    network, neutral = load_model(model).model, ChargeState(0, 1)

    def prepare(atoms: Any) -> dict[str, Callable[[], Any]]:
        graph = make_graph(network, atoms, neutral, network.settings.backbone.cutoff)
        return {
            "network": lambda: network(graph, forces=True),
            "from atoms": lambda: predict_energy(network, atoms, neutral, True),
        }

    return prepare, sum(p.numel() for p in network.parameters())


def theirs() -> tuple[Callable[[Any], dict[str, Callable[[], Any]]], int]:
    """MACE with random weights."""
    from mace import data, modules  # isort: skip  # first: it lets e3nn load its own constants
    import numpy as np
    from e3nn import o3
    from mace.tools import AtomicNumberTable, torch_geometric

    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    network = modules.ScaleShiftMACE(
        r_max=4.5, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block,
        interaction_cls_first=block, num_interactions=2, num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps("96x0e"), MLP_irreps=o3.Irreps("16x0e"), gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(ELEMENTS)), avg_num_neighbors=12.0, atomic_numbers=list(ELEMENTS),
        correlation=3, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
    for parameter in network.parameters():
        parameter.requires_grad = False
    numbers = AtomicNumberTable(list(ELEMENTS))

    def graph(atoms: Any) -> dict[str, Any]:
        configuration = data.config_from_atoms(atoms)
        one = data.AtomicData.from_config(configuration, z_table=numbers, cutoff=4.5)
        loader = torch_geometric.dataloader.DataLoader([one], batch_size=1)
        batch: dict[str, Any] = next(iter(loader)).to_dict()
        return batch

    def prepare(atoms: Any) -> dict[str, Callable[[], Any]]:
        ready = graph(atoms)
        return {"network": lambda: network(ready), "from atoms": lambda: network(graph(atoms))}

    return prepare, sum(p.numel() for p in network.parameters())


def serve(who: str, model: str | None, names: list[str]) -> None:
    """Child process: for every line that comes in, time every molecule once and answer with CPU seconds."""
    torch.set_num_threads(1)
    prepare, parameters = ours(model) if who == "ours" else theirs()
    work = {name: prepare(molecule(name)) for name in names}
    for functions in work.values():
        for function in functions.values():
            function()
            function()
    print(json.dumps(parameters), flush=True)
    for _ in sys.stdin:
        times = {}
        for name, functions in work.items():
            for what, function in functions.items():
                start = time.process_time()
                function()
                times[f"{name} {what}"] = time.process_time() - start
        print(json.dumps(times), flush=True)


# -- the run ---------------------------------------------------------------------------------------------


class Competitor:
    """A child process that times molecules when it is told to."""

    def __init__(self, python: str, who: str, options: argparse.Namespace) -> None:
        command = [python, __file__, "--child", who, "--molecules", *options.molecules]
        command += ["--model", options.model] if options.model else []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.parameters = self._answer()
        self.times: dict[str, list[float]] = {}

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        while line and not line.startswith(("{", *"0123456789")):
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended without an answer")
        return json.loads(line)

    def take_turn(self) -> None:
        """One round."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        for key, seconds in self._answer().items():
            self.times.setdefault(key, []).append(seconds)

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mace-python", help="interpreter of an environment with mace-torch")
    parser.add_argument("--model")
    parser.add_argument("--molecules", nargs="*", default=list(NAMES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve(options.child, options.model, options.molecules)
        return
    sides = {"ours": Competitor(sys.executable, "ours", options)}
    if options.mace_python:
        sides["MACE"] = Competitor(options.mace_python, "theirs", options)
    for _ in range(options.rounds):
        for side in sides.values():
            side.take_turn()
    facts = {f"parameters of {name}": side.parameters for name, side in sides.items()}
    print(header("E + F beside MACE-OFF-small's architecture, one thread", **machine(), **facts), "\n")
    head = ["CPU ms", "atoms", *(f"{name}, {what}" for what in WHAT for name in sides)]
    rows = []
    for name in options.molecules:
        times = [f"{best(side.times[f'{name} {what}']):.1f}" for what in WHAT for side in sides.values()]
        rows.append([name, len(molecule(name)), *times])
    print(table(head, rows))
    for side in sides.values():
        side.end()
    if options.json:
        options.json.write_text(json.dumps({name: side.times for name, side in sides.items()}))


if __name__ == "__main__":
    main()
