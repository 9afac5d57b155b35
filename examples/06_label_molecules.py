"""Make labels for your own molecules, look into the file, and turn it into training batches.

The same from the command line:

    helm-ase sample --smiles O --smiles CO --temperatures 300 -o structures.xyz
    helm-ase label structures.xyz -o labels.h5
    helm-ase data check labels.h5
"""

import argparse

import numpy as np

from helm_ase.cli import main as helm_ase
from helm_ase.dataset.batch import balanced_batches, make_loader
from helm_ase.dataset.dataset import open_dataset
from helm_ase.labels.formats import open_labels
from helm_ase.qc import Baseline

if __name__ == "__main__":  # worker processes import this file again
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="PBE/STO-3G instead of B3LYP/def2-SVP")
    options = parser.parse_args()
    level = ["--xc", "pbe", "--basis", "sto-3g", "--grid", "1"] if options.quick else []

    def run(*arguments: str) -> None:
        if helm_ase(arguments):  # it has said why
            raise SystemExit(1)

    labels = "quick-labels.h5" if options.quick else "labels.h5"
    smiles = [argument for s in ("O", "CO", "C=O") for argument in ("--smiles", s)]
    run("sample", *smiles, "--temperatures", "300", "-o", "structures.xyz", "--quiet", "--force")
    run("label", "structures.xyz", "-o", labels, "--quiet", *level)
    run("data", "check", labels)

    for label in open_labels(labels):
        print(f"{label.smiles:>5}: {label.energy:.3f} eV, {label.hamiltonian.shape[0]} orbitals")
        print(f"       {dict(label.details)}")

    data = open_dataset(labels, baseline=Baseline("sap"))
    # at most 40 atoms and pairs in a batch, so that all take about the same time
    batches = list(balanced_batches(data.loads, 40, np.random.default_rng(0)))
    for batch in make_loader(data, batches):
        print(f"{len(batch.energy)} molecules, targets {tuple(batch.correction.shape)}")
