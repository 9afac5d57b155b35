"""Environments of atoms in a crystal that did not occur in training."""

import math

from ase import Atoms

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.environments import remoteness
from helm_ase.representation.bonding import BondFault
from helm_ase.representation.lattice import Lattice

KEY = -1
"""Begin of the key of such faults, which no fault of a bond has."""
STEP = 1.25
"""Factor by which a distance grows until it is a new fault, of which one is warned again."""


def unknown_environments(atoms: Atoms, checkpoint: Checkpoint) -> list[BondFault]:
    """One fault if the atoms of a crystal are farther from those of training than any of validation; none for
    models without a record of environments.

    Parameters
    ----------
    atoms
        The crystal.
    checkpoint
        Checkpoint of the model.
    """
    far = remoteness(checkpoint, atoms.numbers, atoms.positions, Lattice.of_atoms(atoms))
    if far is None or checkpoint.uncertainty is None or far <= checkpoint.uncertainty.threshold:
        return []
    frames = checkpoint.uncertainty.facts.get("validation frames", "the validation")
    text = f"environments of atoms {far:.1f} times as far from those of training as any of {frames} frames"
    return [BondFault(text, False, (KEY, int(math.log(far) / math.log(STEP))))]
