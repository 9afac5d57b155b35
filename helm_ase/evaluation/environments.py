"""Record of the environments of atoms that a model of crystals was trained on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.environments import BONDS, atomic_features, bond_kinds
from helm_ase.checkpoint.uncertainty import EnergyUncertainty
from helm_ase.errors import SettingError
from helm_ase.evaluation.calibration import FEWEST, thinned, whitening
from helm_ase.representation.labelled_crystal import LabelledCrystal

AXES = 32
"""Principal axes of the features; with half of them lonsdaleite is hardly farther from diamond than
distorted diamond is, twice as many tell no more."""
LEAST = 1e-4
"""Variance of an axis, relative to the largest, below which it holds noise."""
SPACING = 0.7
"""As for molecules (:data:`helm_ase.evaluation.calibration.SPACING`)."""


def record_environments(
    checkpoint: Checkpoint, train: Sequence[LabelledCrystal], validation: Sequence[LabelledCrystal]
) -> EnergyUncertainty:
    """Record kinds of bonds in training and the distance from it of the farthest validation frame, which is
    the unit of those of new crystals.

    Parameters
    ----------
    checkpoint
        A model that predicts no energies, whose errors could be fitted.
    train, validation
        Crystals that it was trained on, and others of the same kinds.

    Raises
    ------
    SettingError
        If the model predicts energies, there are no training frames, or too few others.
    """
    if "energy" in checkpoint.predicts:
        raise SettingError(
            f"model {checkpoint.name!r} predicts energies of crystals: they have no error bar in this version"
        )
    if not train:
        raise SettingError("there are no training frames: check the name of the split")
    if len(validation) < FEWEST:
        raise SettingError(
            f"{len(validation)} validation frames are too few to say how far from training unseen ones are: "
            f"at least {FEWEST} are needed"
        )
    features = np.concatenate([_features(checkpoint, label) for label in train])
    axes = whitening(features, AXES, LEAST)
    white = features @ axes.T
    known = white[thinned(white, SPACING)]
    unit = EnergyUncertainty(
        checkpoint.sha256, torch.from_numpy(axes), 1.0, 0.0, 1.0, known=torch.from_numpy(known).half().float()
    )
    farthest = [float(unit.distances(torch.from_numpy(_features(checkpoint, x))).max()) for x in validation]
    facts = {
        "training frames": len(train), "training atoms": len(known), "validation frames": len(farthest),
        BONDS: sorted(set().union(*(bond_kinds(x.numbers, x.positions, x.lattice) for x in train))),
        "19 of 20": float(np.quantile(farthest, 0.95) / max(farthest)),
    }  # fmt: skip
    return replace(unit, scale=1 / max(farthest), facts=facts)


def _features(checkpoint: Checkpoint, label: LabelledCrystal) -> NDArray[np.float64]:
    return atomic_features(checkpoint.model, label.numbers, label.positions, label.lattice).numpy()
