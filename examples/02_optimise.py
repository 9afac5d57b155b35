"""Optimise a distorted molecule and look at its vibrations."""

import argparse

from ase.build import molecule
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from helm_ase import HELMCalculator

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="a smaller molecule")
options = parser.parse_args()

atoms = molecule("H2O" if options.quick else "CH3CHO")
atoms.rattle(0.05, seed=1)
atoms.calc = HELMCalculator()

BFGS(atoms).run(fmax=0.01, steps=200)
atoms.write("optimised.xyz")

vibrations = Vibrations(atoms, name="vibrations", delta=0.01)
vibrations.run()
vibrations.summary()
vibrations.clean()
