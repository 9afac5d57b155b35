"""Labels of free atoms and atomic ions in their ground states.

    python free_atoms.py LABELS.h5 -o atoms.h5

LABELS.h5 names the level of theory.  A determinant of a p shell that is neither half full nor full breaks the
symmetry of the atom: its orbitals point somewhere, and its matrix is none that an equivariant model could
predict.  Such labels are marked as broken symmetry, so that training learns their energies only.  An atom
whose SCF calculation fails is left out and named.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from ase.data import atomic_numbers

from helm_ase.errors import SCFError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.writer import LabelWriter
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.representation import LabelledMolecule
from helm_ase.representation.structure import Structure

GROUND_STATES = {
    0: {2: "H B F Cl Br I", 3: "C O Si S Se", 4: "N P As"},
    1: {2: "C Si", 3: "N F P Cl Br I", 4: "O S"},
    -1: {1: "H F Cl Br I", 2: "O S Se", 4: "C"},
}
"""Charge → multiplicity → elements."""
HALF_FULL = 4
"""Multiplicity of a half-filled p shell."""
CONTAMINATION = 0.3
"""Largest ⟨S²⟩ above S (S + 1); atoms have little."""


def ground_states() -> Iterator[Structure]:
    """Every atom and ion of the table."""
    for charge, states in GROUND_STATES.items():
        for multiplicity, symbols in states.items():
            for symbol in symbols.split():
                number, details = atomic_numbers[symbol], {"kind": "atom"}
                yield Structure(
                    f"{symbol}-atom-{charge}-{multiplicity}", np.array([number]), np.zeros((1, 3)), charge,
                    multiplicity, split="train", details=details,
                )  # fmt: skip


def marked(label: LabelledMolecule) -> LabelledMolecule:
    """The label, marked as broken symmetry unless the atom is spherical."""
    if label.multiplicity in (1, HALF_FULL) or label.numbers[0] == 1:
        return label
    return replace(label, details=dict(label.details) | {"broken_symmetry": True})


def main() -> None:
    """Label every atom and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    level = open_labels(options.labels).level
    settings = LabelSettings(level=level, max_spin_contamination=CONTAMINATION)
    with LabelWriter(options.output, level, precision="float32") as writer:
        for atom in ground_states():
            try:
                label = label_structure(atom, settings)
            except SCFError as error:
                print(f"left out: {atom.name}: {error}")
                continue
            writer.add(marked(label))
            print(atom.name, f"{label.energy:.4f} eV", flush=True)


if __name__ == "__main__":
    main()
