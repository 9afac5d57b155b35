"""How far the Hamiltonians that a model predicts usually are from self-consistency."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from ase import Atoms

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.uncertainty import SELF_CONSISTENCY
from helm_ase.errors import SCFError
from helm_ase.prediction.electronic import predict_electronic_structure
from helm_ase.prediction.refinement import assess
from helm_ase.qc.reliability import OF_HCNOF_2, Usual
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.labelled import LabelledMolecule

SHARE = 0.95
"""Share of the molecules that stay below what is called usual."""


def usual_of(checkpoint: Checkpoint) -> Usual:
    """What is usual for a model, from its error-bar file; for one of which it was not measured, what is for
    helm-hcnof-2."""
    facts = {} if checkpoint.uncertainty is None else checkpoint.uncertainty.facts
    found = facts.get(SELF_CONSISTENCY)
    if found is None:
        return OF_HCNOF_2
    return Usual(float(found["fock_residual"]), float(found["commutator_norm"]), checkpoint.name)


def usual_distance(checkpoint: Checkpoint, labels: Iterable[LabelledMolecule]) -> dict[str, Any]:
    """Measure |F[D(H)] − H| and the commutator on molecules that a model has not learnt from.

    Parameters
    ----------
    checkpoint
        Model of Hamiltonians.
    labels
        Only geometries, charges and multiplicities count; each costs a Fock matrix at the level of the model.

    Returns
    -------
    dict
        ``fock_residual`` and ``commutator_norm`` (Hartree), below which 19 of 20 molecules stay, and the
        number of ``molecules``: JSON values for the facts of an error bar, empty if there were none.
    """
    found = []
    for label in labels:
        atoms, state = Atoms(label.numbers, label.positions), ChargeState(label.charge, label.multiplicity)
        try:
            prediction = predict_electronic_structure(checkpoint.model, checkpoint, atoms, state)
            answer = assess(prediction)
        except SCFError:  # an H0 whose charges do not converge is no measure of the model
            continue
        found.append((answer.fock_residual, answer.commutator_norm))
    if not found:
        return {}
    residual, commutator = np.quantile(np.array(found), SHARE, axis=0)
    return {"fock_residual": float(residual), "commutator_norm": float(commutator), "molecules": len(found)}
