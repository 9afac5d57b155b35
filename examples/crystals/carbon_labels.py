"""Label distorted graphene and diamond with PBE and pseudopotentials.

    python carbon_labels.py carbon.h5 --graphene 30 --diamond 20

Cells are strained by up to 6 % and atoms displaced at random.  Every fifth frame of a kind is for validation.
Frames that the file holds already are left alone, so that a run may be stopped and gone on with, or extended
later.  A frame takes 10 to 25 s on one core.
"""

import argparse
import time

import numpy as np
from ase.build import bulk, graphene

from helm_ase.labels.crystals import CrystalSource, write_crystals
from helm_ase.qc.crystal import crystal_level
from helm_ase.qc.crystal_labelling import CrystalLabelSettings, label_crystal
from helm_ase.representation.lattice import Lattice

STRAIN, DISPLACEMENT = 0.06, 0.05
"""Largest element of the strain; standard deviation of displacements, Å."""


def frame(kind, number):
    """The same structure for the same kind and number, whatever else is made."""
    random = np.random.default_rng([ord(kind[0]), number])
    atoms = graphene(a=2.46) if kind == "graphene" else bulk("C", "diamond", 3.57)
    strain = random.uniform(-STRAIN, STRAIN, (3, 3))
    strain = 0.5 * (strain + strain.T)
    if kind == "graphene":
        strain[2] = strain[:, 2] = 0
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.positions += random.normal(scale=DISPLACEMENT, size=atoms.positions.shape)
    return atoms


def names(options):
    """Kinds in turn, so that a run that is stopped has seen all of them."""
    counts = {"graphene": options.graphene, "diamond": options.diamond}
    order = [(number / counts[kind], kind, number) for kind in counts for number in range(counts[kind])]
    return [(kind, number) for _, kind, number in sorted(order)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("--graphene", type=int, default=30, metavar="N")
    parser.add_argument("--diamond", type=int, default=20, metavar="N")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no frame after so many")
    parser.add_argument("--cutoff", type=float, default=120.0, help="plane-wave cutoff, Hartree (120)")
    options = parser.parse_args()
    begin, settings = time.monotonic(), CrystalLabelSettings(crystal_level(plane_wave_cutoff=options.cutoff))
    try:
        known = {label.name for label in CrystalSource(options.labels)}
    except ValueError:
        known = set()
    for kind, number in names(options):
        name = f"{kind} {number}"
        if name in known or time.monotonic() - begin > options.seconds:
            continue
        atoms = frame(kind, number)
        split = "val" if number % 5 == 4 else "train"
        lattice = Lattice.of_atoms(atoms)
        label = label_crystal(name, atoms.numbers, atoms.positions, lattice, settings, split)
        write_crystals(options.labels, [label], settings.level, append=True)
        print(f"{name}: {label.energy:.3f} eV, {label.details['cpu_s']} s", flush=True)
