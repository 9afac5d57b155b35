"""Recipe of the shipped checkpoint helm-hcnof-1: Hamiltonian first, then H, energy and forces together.

    python examples/train/helm_hcnof_1.py LABELS.h5 RUN_FOLDER [--start CHECKPOINT] [--workers 2]
                                          [--export CHECKPOINT_FOLDER]

On two cores of a laptop the two stages take 15 and 80 minutes.  Interrupted runs resume.  ``--export`` writes
the checkpoint and its line in the manifest when the run is over.
"""

import argparse
from pathlib import Path

from helm_ase.nn import BackboneSettings, HELMSettings
from helm_ase.training.export import export
from helm_ase.training.launch import Recipe, run
from helm_ase.training.losses import LossWeights
from helm_ase.training.trainer import Schedule

SETTINGS = HELMSettings(
    backbone=BackboneSettings(
        natural_channels=40, unnatural_channels=16, lmax=4, mmax_nodes=2, node_layers=2, edge_layers=2,
        cutoff=5.0, pair_cutoff=12.0,
    )
)  # fmt: skip
PRETRAIN = Schedule(
    minutes=15, epochs=60, learning_rate=2e-3, final_fraction=0.2, weights=LossWeights(spectrum=0.1)
)
JOINT = Schedule(
    minutes=80, epochs=200, learning_rate=2e-3, final_fraction=0.005,
    weights=LossWeights(hamiltonian=1.0, spectrum=0.1, energy=0.05, forces=0.5),
    late_weights=LossWeights(hamiltonian=1.0, spectrum=0.4, energy=0.5, forces=0.7),
)  # fmt: skip


NAME = "helm-hcnof-1"
DESCRIPTION = "H C N O F, neutral singlets, B3LYP/def2-SVP"


def recipe(data: str, folder: str, start: str | None = None, workers: int = 1) -> Recipe:
    return Recipe(data, folder, (PRETRAIN, JOINT), settings=SETTINGS, start=start, workers=workers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("folder")
    parser.add_argument("--start")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--export")
    options = parser.parse_args()
    training = recipe(options.data, options.folder, options.start, options.workers)
    run(training)
    if options.export:
        best = Path(options.folder) / str(len(training.stages) - 1) / "best.pt"
        print(export(training, best, NAME, options.export, DESCRIPTION).metrics)
