"""How far labels depend on the orientation of a molecule, through PySCF's integration grid and SCF threshold.

    python label_noise.py LABELS.h5 [--molecules 20] [--rotations 1]

Random molecules of the file are turned at random, labelled again with the same settings, and their
Hamiltonians turned back.  What differs is noise, which no equivariant model can learn.
"""

import argparse

import numpy as np
from scipy.spatial.transform import Rotation

from helm_ase.labels.formats import open_labels
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.molecule import build_mole
from helm_ase.representation.structure import Structure
from helm_ase.units import HARTREE_IN_EV


def turned(label, rotation):
    """The molecule of a label, turned, without its answers."""
    return Structure(
        name=label.name, numbers=label.numbers, positions=rotation.apply(label.positions),
        charge=label.charge, multiplicity=label.multiplicity,
    )  # fmt: skip


def differences(label, settings, rotation):
    """New minus old: Hamiltonian (A, A), levels (A,), both Eh, and energy (Eh)."""
    again = label_structure(turned(label, rotation), settings)
    mole = build_mole(label.numbers, label.positions, settings.level.basis, label.charge, label.multiplicity)
    d = mole.ao_rotation_matrix(rotation.as_matrix())
    return (
        d @ again.hamiltonian @ d.T - label.hamiltonian,
        again.orbital_energies - label.orbital_energies,
        (again.energy - label.energy) / HARTREE_IN_EV,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("--molecules", type=int, default=20, metavar="N", help="drawn at random (20)")
    parser.add_argument("--rotations", type=int, default=1, metavar="N", help="of each molecule (1)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    with open_labels(options.labels) as labels:
        settings = LabelSettings(labels.level, forces=False)
        drawn = random.choice(len(labels), min(options.molecules, len(labels)), replace=False)
        found = [
            differences(labels[int(k)], settings, Rotation.random(random_state=random))
            for k in drawn
            for _ in range(options.rotations)
        ]
    for name, answers in zip(("Hamiltonian", "levels", "energy"), zip(*found, strict=True), strict=True):
        values = 1e6 * np.abs(np.concatenate([np.ravel(a) for a in answers]))
        print(f"{name:<12} mean {values.mean():8.4f}  largest {values.max():8.3f}  µEh")
