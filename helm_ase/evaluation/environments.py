"""Record of the bonds and environments of atoms that a model of crystals was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.environments import atomic_features, distances_by_kind, in_units
from helm_ase.checkpoint.uncertainty import BONDS, UNITS, EnergyUncertainty
from helm_ase.errors import SettingError
from helm_ase.evaluation.calibration import FEWEST, thinned, whitening
from helm_ase.representation.bond_kinds import AtomKind, BondKind, bond_kinds
from helm_ase.representation.lattice import Lattice

AXES = 32
"""Principal axes of the features; with half of them lonsdaleite is hardly farther from diamond than
distorted diamond is, twice as many tell no more."""
LEAST = 1e-4
"""Variance of an axis, relative to the largest, below which it holds noise."""
SPACING = 0.7
"""As for molecules (:data:`helm_ase.evaluation.calibration.SPACING`)."""
THRESHOLD = 1.05
"""Distance, in units of the largest in validation, above which a crystal is extrapolation; so
much more than one that digits which are rounded do not decide."""


class Frame(NamedTuple):
    """A crystal as far as its environments are concerned."""

    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    lattice: Lattice


def record_environments(
    checkpoint: Checkpoint, train: Sequence[Frame], validation: Sequence[Frame]
) -> EnergyUncertainty:
    """Record kinds of bonds in training and the largest distance from it of each kind of atom in validation,
    which is the unit of those of new crystals.

    How many ordinary frames are flagged is counted on one half of the validation frames, with the units that
    the other half gives.

    Parameters
    ----------
    checkpoint
        A model of crystals that predicts no energies, whose errors could be fitted.
    train, validation
        Crystals that it was trained on, and others of the same kinds.

    Raises
    ------
    SettingError
        If the model predicts energies or knows no crystals, there are no training frames, or such as are all
        alike, or too few others.
    """
    _check(checkpoint, train, validation)
    features = np.concatenate([_features(checkpoint, frame) for frame in train])
    axes = whitening(features, AXES, LEAST)
    if not len(axes):
        raise SettingError("the atoms of all training frames are alike: nothing can be told by them")
    white = features @ axes.T
    known = torch.from_numpy(white[thinned(white, SPACING)]).half().float()
    record = EnergyUncertainty(checkpoint.sha256, torch.from_numpy(axes), 1.0, 0.0, THRESHOLD, known=known)
    found = [distances_by_kind(record, checkpoint.model, *frame) for frame in validation]
    bonds = frozenset[BondKind]().union(*(bond_kinds(*frame) for frame in train))
    units = _units(found)
    if not all(unit > 0 for unit in units.values()):
        raise SettingError("validation frames are training frames: take unseen ones")
    facts: dict[str, Any] = {
        "training frames": len(train), "validation frames": len(validation), BONDS: sorted(bonds),
        UNITS: [[*kind, unit] for kind, unit in sorted(units.items())],
        "other half": _judged(found, [bool(bond_kinds(*frame) - bonds) for frame in validation]),
    }  # fmt: skip
    return replace(record, facts=facts)


def _units(found: Sequence[Mapping[AtomKind, float]]) -> dict[AtomKind, float]:
    """Largest distance of each kind of atom over frames."""
    units: dict[AtomKind, float] = {}
    for frame in found:
        for kind, distance in frame.items():
            units[kind] = max(distance, units.get(kind, 0.0))
    return units


def _check(checkpoint: Checkpoint, train: Sequence[Frame], validation: Sequence[Frame]) -> None:
    if not any(checkpoint.dimensions):
        raise SettingError(f"model {checkpoint.name!r} knows molecules, and these labels are of crystals")
    if "energy" in checkpoint.predicts:
        raise SettingError(
            f"model {checkpoint.name!r} predicts energies of crystals, which have no error bar in this "
            f"version; environments are recorded for models of Hamiltonians alone"
        )
    if not train:
        raise SettingError("there are no training frames: check the name of the split")
    if len(validation) < FEWEST:
        raise SettingError(
            f"{len(validation)} validation frames are too few to say how far from training unseen ones are: "
            f"at least {FEWEST} are needed"
        )


def _judged(found: Sequence[Mapping[AtomKind, float]], new_bonds: Sequence[bool]) -> dict[str, int]:
    """Every second frame by the units of the others: how many there are, and how many would be flagged."""
    units, others = _units(found[::2]), found[1::2]
    far = sum(in_units(frame, units) > THRESHOLD for frame in others)
    return {"frames": len(others), "far": far, "new bonds": sum(new_bonds[1::2])}


def _features(checkpoint: Checkpoint, frame: Frame) -> NDArray[np.float64]:
    return atomic_features(checkpoint.model, *frame).numpy()
