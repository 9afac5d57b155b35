"""Train a small network on labelled carbon crystals.

    python carbon_train.py carbon.h5 carbon.safetensors --minutes 10

``carbon_evaluate.py`` says how good it is.
"""

import argparse

from helm_ase.training.crystal_losses import CrystalLossWeights
from helm_ase.training.crystals import CrystalTraining, train_on_crystals

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("model", metavar="MODEL.safetensors")
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time (10)")
    parser.add_argument("--hamiltonian", type=float, default=1.0, help="weight of the loss (1)")
    parser.add_argument("--spectrum", type=float, default=0.4, help="weight of the loss (0.4)")
    parser.add_argument("--bands", type=float, default=0.0, help="weight of the loss (0)")
    parser.add_argument("--energy", type=float, default=0.0, help="weight of the loss (0)")
    parser.add_argument(
        "--start", metavar="MODEL", help="go on from these weights, with their H0 and elements"
    )
    parser.add_argument("--name", default="carbon", help="of the checkpoint (carbon)")
    options = parser.parse_args()
    weights = CrystalLossWeights(options.hamiltonian, options.spectrum, options.bands, options.energy)
    settings = CrystalTraining(
        options.name, start=options.start, weights=weights, epochs=100_000, minutes=options.minutes
    )  # fmt: skip
    run = train_on_crystals(options.labels, options.model, settings, progress=True)
    print(f"{len(run.history)} epochs of {len(run.train)} frames; {options.model}")
