"""Train a small network on labelled carbon crystals and compare it with H0 alone.

    python carbon_train.py carbon.h5 carbon.safetensors --minutes 10

Prints the errors of the validation frames: matrix elements within the cutoff (µEh), levels on a mesh that is
not the labels' and Fermi level (meV).
"""

import argparse

from helm_ase.evaluation.crystals import crystal_errors, mean_errors
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
    parser.add_argument("--spectrum", type=float, default=0.2, help="weight of the loss (0.2)")
    parser.add_argument("--bands", type=float, default=0.0, help="weight of the loss (0)")
    options = parser.parse_args()
    weights = CrystalLossWeights(options.hamiltonian, options.spectrum, options.bands)
    settings = CrystalTraining("carbon", weights=weights, epochs=100_000, minutes=options.minutes)
    run = train_on_crystals(options.labels, options.model, settings, progress=True)
    width = run.checkpoint.level.smearing
    for kind in ("graphene", "diamond", ""):
        samples = [s for s in run.validation if s.name.startswith(kind)]
        for name, model in (("H0", None), ("model", run.checkpoint.model)):
            errors = mean_errors(crystal_errors(model, samples, width)) if samples else {}
            print(f"{kind or 'all'} ({len(samples)})", name, {k: round(v, 1) for k, v in errors.items()})
