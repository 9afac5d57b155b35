"""How far the Hamiltonians that a model predicts usually are from self-consistency."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from ase import Atoms

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.uncertainty import SELF_CONSISTENCY
from helm_ase.errors import HelmError
from helm_ase.prediction.electronic import predict_electronic_structure
from helm_ase.prediction.refinement import assess
from helm_ase.qc.reliability import OF_HCNOF_2, Usual
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.structure import Structure

SHARE = 0.95
"""Share of the molecules that stay below what is called usual."""
FEWEST = 20
"""Smallest number of molecules from which that can be said."""


def usual_of(checkpoint: Checkpoint) -> Usual:
    """What is usual for a model, from its error-bar file; for one of which it was not measured, what is for
    helm-hcnof-2."""
    facts = {} if checkpoint.uncertainty is None else checkpoint.uncertainty.facts
    found = facts.get(SELF_CONSISTENCY)
    if found is None:
        return OF_HCNOF_2
    return Usual(float(found["fock_residual"]), float(found["commutator_norm"]), checkpoint.name)


def usual_distance(
    checkpoint: Checkpoint, structures: Iterable[Structure]
) -> tuple[dict[str, Any], list[HelmError]]:
    """Measure |F[D(H)] − H| and the commutator on molecules that a model has not learnt from.

    Parameters
    ----------
    checkpoint
        Model of Hamiltonians.
    structures
        The molecules; each costs a Fock matrix at the level of the model.

    Returns
    -------
    tuple
        ``fock_residual`` and ``commutator_norm`` (Hartree), below which 19 of 20 molecules stay, and the
        number of ``molecules``: JSON values for the facts of an error bar, empty if fewer than 20 could be
        computed or they are all converged; and why the others could not.
    """
    found, failures = [], []
    for structure in structures:
        atoms = Atoms(structure.numbers, structure.positions)
        state = ChargeState(structure.charge, structure.multiplicity)
        try:
            answer = assess(predict_electronic_structure(checkpoint.model, checkpoint, atoms, state))
        except HelmError as error:  # one molecule, or a level that the PySCF installed here does not have
            failures.append(error)
        else:
            found.append((answer.fock_residual, answer.commutator_norm))
    if len(found) < FEWEST:
        return {}, failures
    residual, commutator = np.quantile(np.array(found), SHARE, axis=0)
    if not (residual > 0 and commutator > 0):
        return {}, failures
    facts = {"fock_residual": float(residual), "commutator_norm": float(commutator), "molecules": len(found)}
    return facts, failures
