"""Bands and Fermi level of perfect graphene and diamond from a model that carbon_train.py has made.

python carbon_bands.py carbon.safetensors bands.png
"""

import argparse

import matplotlib
import numpy as np
from ase.build import bulk, graphene

from helm_ase import HELMCalculator

matplotlib.use("Agg")
import matplotlib.pyplot as plt

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.safetensors")
    parser.add_argument("picture", metavar="BANDS.png")
    options = parser.parse_args()
    crystals = {"graphene": (graphene(a=2.46), "GMKG"), "diamond": (bulk("C", "diamond", 3.57), "LGXUKG")}
    figure, axes = plt.subplots(1, 2, figsize=(10, 5))
    for (name, (atoms, corners)), place in zip(crystals.items(), axes, strict=True):
        atoms.calc = HELMCalculator(model=options.model, dtype="float64")
        bands = atoms.calc.band_structure(corners, npoints=120)
        bands.subtract_reference().plot(ax=place, emin=-22, emax=12)
        place.set_title(name)
        occupied = bands.energies[0][:, :4].max(), bands.energies[0][:, 4:].min()
        print(
            f"{name}: Fermi level {bands.reference:.2f} eV, gap along the path {np.diff(occupied)[0]:.3f} eV"
        )
    figure.savefig(options.picture, dpi=120)
