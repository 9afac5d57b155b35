"""Bonds and environments of atoms in a crystal that did not occur in training."""

import math

from ase import Atoms
from ase.data import chemical_symbols

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.environments import remoteness
from helm_ase.checkpoint.uncertainty import BONDS
from helm_ase.representation.bond_kinds import BondKind, bond_kinds
from helm_ase.representation.bonding import BondFault
from helm_ase.representation.lattice import Lattice

KEY = -1
"""Begin of the key of such faults, which no fault of a bond has."""
STEP = 1.25
"""Factor by which a distance grows until it is a new fault, of which one is warned again."""


def unknown_environments(atoms: Atoms, checkpoint: Checkpoint) -> list[BondFault]:
    """Kinds of bonds that training did not show, and atoms farther from those of training than any of
    validation; none for models without a record of environments.

    Parameters
    ----------
    atoms
        The crystal.
    checkpoint
        Checkpoint of the model.

    Raises
    ------
    PredictionError
        If the features of the atoms are not finite.
    """
    crystal = atoms.numbers, atoms.positions, Lattice.of_atoms(atoms)
    far = remoteness(checkpoint, *crystal)
    if far is None or checkpoint.uncertainty is None:
        return []
    facts = checkpoint.uncertainty.facts
    known = {BondKind(*kind) for kind in facts.get(BONDS, ())}
    faults = [_of_bond(kind) for kind in sorted(bond_kinds(*crystal) - known)] if known else []
    if far > checkpoint.uncertainty.threshold:
        text = (
            f"environments of atoms {far:.1f} times as far from those of training as any of their kind in "
            f"{facts.get('validation frames', 'all')} unseen frames"
        )
        faults.append(BondFault(text, False, (KEY, int(math.log(far) / math.log(STEP)))))
    return faults


def _of_bond(kind: BondKind) -> BondFault:
    one, other = (
        f"{chemical_symbols[z]} with {n} neighbour{'' if n == 1 else 's'}" if n else chemical_symbols[z]
        for z, n in (kind[:2], kind[2:])
    )
    text = f"{one} bonded to {other}" if kind.neighbours else f"{one} without bonds"
    return BondFault(f"{text}: never so in training", False, (KEY, *kind))
