"""Predicted density as the initial guess of an SCF."""

from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.errors import HelmError
from helm_ase.qc.convergence import Guess
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.structure import Structure


def density_guess(structure: Structure, level: LevelOfTheory, model: str) -> Guess:
    """Function of a ``Mole`` that predicts a density, or returns None if the model knows no such molecules.

    Network and weights are loaded when it is called: most molecules never need it.
    """

    def guess(mole: Any) -> NDArray[np.float64] | None:
        try:
            return _predict(structure, level, model)
        except HelmError:  # without a guess, the label can still be computed
            return None

    return guess


def _predict(structure: Structure, level: LevelOfTheory, model: str) -> NDArray[np.float64] | None:
    from helm_ase.checkpoint import load_shared
    from helm_ase.prediction.electronic import predict_electronic_structure

    checkpoint = load_shared(model)
    known = checkpoint.knows.admits(structure.numbers, structure.charge, structure.multiplicity)
    if not known or checkpoint.basis.name.lower() != level.basis.lower():
        return None
    atoms = Atoms(structure.numbers, structure.positions)
    state = ChargeState(structure.charge, structure.multiplicity)
    predicted: Any = predict_electronic_structure(checkpoint.model, checkpoint, atoms, state).structure
    density = predicted.density_matrix if structure.multiplicity == 1 else predicted.spin_densities
    return np.asarray(density.numpy())
