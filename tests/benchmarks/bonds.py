"""Broken bonds: what the model says, what its verdict is, and how often the record of bonds flags molecules.

    python tests/benchmarks/bonds.py [--uks] [--labels LABELS.h5]

Energies are relative to the first length of each molecule.  ``--uks`` adds unrestricted B3LYP/def2-SVP with
the symmetry of the spins broken.  ``--labels`` judges molecules of the split ``val`` by the record of the
model, and those of ``train``, a tenth at a time, by a record made from the other nine tenths.
"""

import argparse
import warnings

import numpy as np
from ase import Atoms
from ase.build import molecule

from helm_ase import HELMCalculator
from helm_ase.representation.bonding import BondCoverage
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.connectivity import molecule_hash
from helm_ase.units import HARTREE_IN_EV

CASES = {
    "F2": (1.40, 1.8, 2.28), "H2O2": (1.45, 1.8, 2.4), "H2O": (0.97, 1.4, 2.4), "H2": (0.75, 0.4, 3.0),
    "HF": (0.92, 1.3, 3.0), "N2": (1.1, 1.3, 3.0), "CO": (1.13, 1.3, 3.0), "C2H6": (1.53, 2.0, 2.6),
}  # fmt: skip
"""Molecule → lengths of the bond between its first two atoms, Å; the first near equilibrium."""
FOLDS = 10


def stretched(name, length):
    atoms = molecule(name)
    axis = atoms.positions[1] - atoms.positions[0]
    far = atoms.get_distances(1, range(len(atoms))) < atoms.get_distances(0, range(len(atoms)))
    atoms.positions[far] += axis / np.linalg.norm(axis) * (length - np.linalg.norm(axis))
    return atoms


def uks(atoms):
    """Energy of the lowest unrestricted solution, eV, followed from the closed shell along instabilities."""
    from pyscf import dft, gto

    geometry = [(s, tuple(map(float, r))) for s, r in zip(atoms.symbols, atoms.positions, strict=True)]
    mole = gto.M(atom=geometry, basis="def2-svp", verbose=0)
    field = dft.UKS(mole, xc="b3lyp").density_fit()
    field.kernel()
    for _ in range(5):
        orbitals, _, stable, _ = field.stability(return_status=True)
        if stable:
            break
        field = field.newton()
        field.kernel(dm0=field.make_rdm1(orbitals, field.mo_occ))
    return field.e_tot * HARTREE_IN_EV


def flagged(record, molecules):
    """Numbers of molecules, of those with a fault, and of those called broken."""
    faults = [record.faults(*each) for each in molecules]
    return len(faults), sum(map(bool, faults)), sum(any(f.broken for f in each) for each in faults)


def judge_labels(checkpoint, path):
    from helm_ase.evaluation.selection import known_labels
    from helm_ase.labels.formats import open_labels

    def geometries(split):
        for label in known_labels(checkpoint, [open_labels(path)], split):
            yield label.numbers, label.positions, ChargeState(label.charge, label.multiplicity)

    print("validation: {}, flagged {}, broken {}".format(*flagged(checkpoint.bonding, geometries("val"))))
    train = list(geometries("train"))
    fold = [int(molecule_hash(numbers, positions), 16) % FOLDS for numbers, positions, _ in train]
    total = np.zeros(3, dtype=int)
    for k in range(FOLDS):
        rest = BondCoverage.collect(each for each, place in zip(train, fold, strict=True) if place != k)
        total += flagged(rest, [each for each, place in zip(train, fold, strict=True) if place == k])
    print("training, each tenth by the others: {}, flagged {}, broken {}".format(*total))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--uks", action="store_true")
    parser.add_argument("--labels")
    options = parser.parse_args()
    calc = HELMCalculator(model=options.model)
    warnings.simplefilter("ignore")
    print("| molecule | Å | model, eV | UKS, eV | verdict |\n|---|---|---|---|---|")
    for name, lengths in CASES.items():
        structures = [Atoms(name, [[0, 0, 0], [0, 0, x]]) if len(molecule(name)) == 2 else stretched(name, x)
                      for x in lengths]  # fmt: skip
        energies = np.array([calc.get_potential_energy(atoms) for atoms in structures])
        reference = np.array([uks(atoms) for atoms in structures]) if options.uks else energies * np.nan
        for k, atoms in enumerate(structures):
            own, true = energies[k] - energies[0], reference[k] - reference[0]
            print(f"| {name} | {lengths[k]} | {own:+.2f} | {true:+.2f} | {calc.get_verdict(atoms).trust} |")
    if options.labels:
        judge_labels(calc.checkpoint, options.labels)


if __name__ == "__main__":
    main()
