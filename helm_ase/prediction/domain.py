"""What a checkpoint can be asked about: elements, charges, geometries, and distances it has seen."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import ChargeError, ElementError, StructureError, UntrainedError
from helm_ase.representation.charge_state import ChargeState, check_parity
from helm_ase.representation.coverage import describe
from helm_ase.representation.geometry import check_geometry


class ExtrapolationWarning(UserWarning):
    """The geometry holds something the model has never seen."""


def check_kind(atoms: Atoms, checkpoint: Checkpoint) -> None:
    """Refuse what no geometry can mend: periodic systems and unknown elements.

    Raises
    ------
    StructureError, ElementError
        Naming what was found and what is allowed.
    """
    if atoms.pbc.any():
        raise StructureError(
            f"HELM describes isolated molecules, but pbc is {atoms.pbc.tolist()}: set atoms.pbc = False"
        )
    known = checkpoint.basis.elements
    unknown = sorted(set(atoms.numbers.tolist()) - set(known))
    if unknown:
        raise ElementError(
            f"model {checkpoint.name!r} has not seen {_symbols(unknown)}; it knows {_symbols(known)}"
        )


def check_molecule(atoms: Atoms, checkpoint: Checkpoint, state: ChargeState) -> None:
    """Refuse every molecule that the model cannot take.

    Raises
    ------
    StructureError, ElementError, ChargeError
        Naming what was found and what is allowed.
    """
    check_geometry(atoms.numbers.astype(np.int64), atoms.positions)
    check_kind(atoms, checkpoint)
    check_parity(checkpoint.basis.electrons(atoms.numbers, state.charge), state)
    settings = checkpoint.model.settings
    if state.charge not in settings.charges or state.multiplicity not in settings.multiplicities:
        raise ChargeError(
            f"model {checkpoint.name!r} has not seen charge {state.charge} with multiplicity "
            f"{state.multiplicity}; it knows charges {list(settings.charges)} and multiplicities "
            f"{list(settings.multiplicities)}: choose another model (helm-ase models)"
        )


def check_trained(checkpoint: Checkpoint, quantity: str) -> None:
    """Refuse what a checkpoint was never trained to predict.

    Raises
    ------
    UntrainedError
        Naming what it does predict.
    """
    if quantity not in checkpoint.predicts:
        raise UntrainedError(
            f"model {checkpoint.name!r} was not trained to predict the {quantity}, only "
            f"{', '.join(sorted(checkpoint.predicts))}: choose another model (helm-ase models)"
        )


def warn_about_extrapolation(
    atoms: Atoms, checkpoint: Checkpoint, already: set[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Warn of element pairs at distances never seen in training.

    Parameters
    ----------
    atoms, checkpoint
        Geometry, and the model that is about to be asked.
    already
        Element pairs that have been warned of.

    Returns
    -------
    set
        Element pairs that have now been warned of.
    """
    unseen = checkpoint.coverage.unseen(atoms.numbers, atoms.positions)
    new = {pair: found for pair, found in unseen.items() if pair not in already}
    if new:
        warnings.warn(
            f"model {checkpoint.name!r} never saw {describe(new)}; its answer there is extrapolation",
            ExtrapolationWarning,
            stacklevel=4,
        )
    return already | set(new)


class Uncertainty(NamedTuple):
    """Expected error of an energy."""

    energy: float
    """Of the molecule, eV."""
    per_atom: float
    """eV per atom."""
    threshold: float
    """Above so many eV per atom the answer is extrapolation."""


def warn_about_uncertainty(checkpoint: Checkpoint, features: Tensor, atoms: int) -> Uncertainty | None:
    """Error bar of one molecule, with a warning if it is above the model's threshold; None without one.

    Parameters
    ----------
    checkpoint
        Of the model.
    features
        Last hidden layer of the energy head, mean over atoms, (1, F).
    atoms
        How many there are.
    """
    if checkpoint.uncertainty is None:
        return None
    per_atom = float(checkpoint.uncertainty.per_atom(features, torch.tensor([atoms]))[0])
    threshold = checkpoint.uncertainty.threshold
    if per_atom > threshold:
        warnings.warn(
            f"model {checkpoint.name!r} expects an error of {1e3 * per_atom:.1f} meV per atom here; "
            f"above {1e3 * threshold:.1f} its answer is extrapolation",
            ExtrapolationWarning,
            stacklevel=4,
        )
    return Uncertainty(per_atom * atoms, per_atom, threshold)


def _symbols(numbers: "list[int] | tuple[int, ...]") -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)
