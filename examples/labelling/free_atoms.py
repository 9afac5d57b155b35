"""Labels of free atoms and atomic ions in their ground states.

    python free_atoms.py LABELS.h5 -o atoms.h5

LABELS.h5 names the level of theory.  A determinant of an open shell breaks the symmetry of the atom: its p
orbitals point somewhere, and its matrix is none that an equivariant model could predict.  Such labels are
marked as broken symmetry, so that training learns their energies only.
"""

import argparse
from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers

from helm_ase.labels.formats import open_labels
from helm_ase.labels.writer import LabelWriter
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.representation.structure import Structure

GROUND_STATES = {
    0: {2: "H B F Cl Br I", 3: "C O Si S Se", 4: "N P As"},
    1: {2: "C Si", 3: "N F P Cl Br I", 4: "O S"},
    -1: {1: "H F Cl Br I", 2: "O S Se", 4: "C"},
}
"""Charge → multiplicity → elements."""
CONTAMINATION = 0.3
"""Largest ⟨S²⟩ above S (S + 1); atoms have little."""


def main() -> None:
    """Label every atom and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    level = open_labels(options.labels).level
    settings = LabelSettings(level=level, max_spin_contamination=CONTAMINATION)
    with LabelWriter(options.output, level, precision="float32") as writer:
        for charge, states in GROUND_STATES.items():
            for multiplicity, symbols in states.items():
                for symbol in symbols.split():
                    atom = Structure(
                        numbers=np.array([atomic_numbers[symbol]]), positions=np.zeros((1, 3)),
                        charge=charge, multiplicity=multiplicity, details={"kind": "atom"}, split="train",
                        name=f"{symbol}-atom-{charge}-{multiplicity}",
                    )  # fmt: skip
                    label = label_structure(atom, settings)
                    broken = {"broken_symmetry": True} if multiplicity > 1 else {}
                    writer.add(replace(label, details=dict(label.details) | broken))
                    print(atom.name, f"{label.energy:.4f} eV", flush=True)


if __name__ == "__main__":
    main()
