"""What fewer orders m on the node track cost in accuracy: equal time, one core, Hamiltonians only.

    python tests/benchmarks/node_orders.py LABELS.h5 FOLDER --mmax 2 [--minutes 7]
    python tests/benchmarks/node_orders.py LABELS.h5 FOLDER --mmax 4 [--minutes 7]

Trains the shipped architecture from the same seed with the recipe's first stage cut to ``--minutes`` of
wall-clock time, and prints the validation errors of the averaged weights and the number of epochs that fitted
in.  Run the two one after the other, or each on a core of its own.  H0 is kept in FOLDER/mmaxM/baseline.h5.
"""

from common import header, machine, one_thread, table

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402

from helm_ase.nn import BackboneSettings, HELMSettings  # noqa: E402
from helm_ase.training.launch import Recipe, run  # noqa: E402
from helm_ase.training.losses import LossWeights  # noqa: E402
from helm_ase.training.trainer import Schedule  # noqa: E402

SETTINGS = HELMSettings(
    backbone=BackboneSettings(
        natural_channels=40, unnatural_channels=16, node_layers=2, edge_layers=2, cutoff=5.0, pair_cutoff=12.0
    )
)


def main(data: str, folder: str, mmax: int, minutes: float) -> None:
    """Train and print."""
    torch.set_num_threads(1)
    settings = replace(SETTINGS, backbone=replace(SETTINGS.backbone, mmax_nodes=mmax))
    stage = Schedule(
        epochs=10_000,
        minutes=minutes,
        learning_rate=2e-3,
        validate_every=1,
        weights=LossWeights(spectrum=0.1),
    )
    place = Path(folder) / f"mmax{mmax}"
    run(Recipe(data, str(place), (stage,), settings=settings))
    records = [json.loads(line) for line in (place / "0/log.jsonl").read_text().splitlines()]
    best = min(records, key=lambda record: record["val_score"])
    names = ("hamiltonian", "occupied", "homo", "lumo", "gap", "ghosts")
    print(
        header(f"Node track with m up to {mmax}, {minutes:g} minutes", **machine(), epochs=len(records)), "\n"
    )
    print(table(["mmax", *names], [[mmax, *(f"{best['val_' + name]:.4g}" for name in names)]]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("folder")
    parser.add_argument("--mmax", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=7.0)
    main(**vars(parser.parse_args()))
