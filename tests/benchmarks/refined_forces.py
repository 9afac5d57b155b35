"""How far forces of ``refine(n)`` are from the slope of its energy: central differences of each coordinate.

    python tests/benchmarks/refined_forces.py H2O H2CO --steps 1 2 3 8

The last number of steps stands for a converged SCF: what is left there is the movement of the integration
grid with the atoms, which analytic gradients of PySCF leave out unless told otherwise.
"""

import argparse

import numpy as np
from ase.build import molecule

from helm_ase import HELMCalculator

RATTLE, STEP = 0.05, 0.005
"""Å: displacement of the atoms from rest, and of a coordinate for the differences."""


def slopes(calc, atoms, steps):
    """−dE/dx of the refined energies by central differences, eV/Å, {n: (N, 3)}."""
    found = {n: np.zeros((len(atoms), 3)) for n in steps}
    for k in np.ndindex(len(atoms), 3):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[k] += sign * STEP
            for n in steps:
                found[n][k] -= sign * calc.refine(n, atoms=moved).energy / (2 * STEP)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("molecules", nargs="+", help="names in ASE's G2 set")
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 2, 3, 8])
    parser.add_argument("--model")
    options = parser.parse_args()
    calc = HELMCalculator(model=options.model, dtype="float64")
    print("| molecule | SCF steps | root mean square, meV/Å | largest, meV/Å |\n| --- | --- | --- | --- |")
    for name in options.molecules:
        atoms = molecule(name)
        atoms.rattle(RATTLE, seed=1)
        forces = {n: calc.refine(n, forces=True, atoms=atoms).forces for n in options.steps}
        for n, slope in slopes(calc, atoms, options.steps).items():
            off = 1e3 * (forces[n] - slope)
            print(f"| {name} | {n} | {np.sqrt(np.mean(off**2)):.2f} | {np.abs(off).max():.2f} |", flush=True)


if __name__ == "__main__":
    main()
