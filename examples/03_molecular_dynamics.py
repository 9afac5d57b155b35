"""Constant-energy molecular dynamics, and a plot of how well the energy is conserved."""

import argparse

import numpy as np
from ase import units
from ase.build import molecule
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from matplotlib.figure import Figure

from helm_ase import HELMCalculator

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="50 steps instead of 2000")
options = parser.parse_args()

atoms = molecule("CH3OH")
atoms.calc = HELMCalculator()
BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
thermalize_momenta(atoms, 300, rng=np.random.default_rng(0))
Stationary(atoms)

time, total, potential = [], [], []
dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
for step, _ in enumerate(dynamics.irun(50 if options.quick else 2000)):
    time.append(step * 0.5e-3)  # ps
    total.append(atoms.get_total_energy() * 1000 / len(atoms))  # meV/atom
    potential.append(atoms.get_potential_energy() * 1000 / len(atoms))

drift = np.polyfit(time, total, 1)[0]
print(f"drift of the total energy: {drift:.3f} meV/atom/ps")

figure = Figure(figsize=(6, 3.5), layout="constrained")
axes = figure.add_subplot(xlabel="time (ps)", ylabel="energy − start (meV/atom)")
axes.plot(time, np.array(potential) - potential[0], lw=0.8, label="potential")
axes.plot(time, np.array(total) - total[0], lw=1.5, label="total")
axes.legend()
figure.savefig("energy_conservation.png", dpi=150)
