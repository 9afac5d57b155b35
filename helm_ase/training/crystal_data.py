"""Labels of crystals as samples, with their H0, and what a network takes over from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from helm_ase.checkpoint import Checkpoint
from helm_ase.dataset.crystals import CrystalSample, fit_crystal_operators, make_crystal_sample
from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.crystals import CrystalSource
from helm_ase.nn import HELM
from helm_ase.qc.crystal import crystal_basis
from helm_ase.representation import AOBasis
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.level import LevelOfTheory
from helm_ase.training.crystal_losses import CrystalLossWeights


@dataclass(frozen=True)
class CrystalData:
    """Labels of a file as samples, with the H0 that is fitted to those that are trained on."""

    level: LevelOfTheory
    basis: AOBasis
    """Shells of all elements in the file."""
    operators: tuple[AtomicOperator, ...]
    """Operators of H0."""
    labels: list[LabelledCrystal]
    """Labels of the split ``train``."""
    train: list[CrystalSample]
    validation: list[CrystalSample]
    cutoff: float
    """Largest distance of a pair in the samples, Å."""


def prepare_crystals(path: str | Path, cutoff: float, start: Checkpoint | None = None) -> CrystalData:
    """Fit H0 to the labels that are trained on and make samples of all; several trainings may share them.

    Parameters
    ----------
    path
        Labelled crystals.
    cutoff
        Largest distance of a pair, Å: the one of the network.
    start
        Checkpoint whose H0 and elements are taken; H0 is fitted anew if the labels have others as well.

    Raises
    ------
    DatasetError
        If the file has no entries to train on, another level of theory, new elements without all old ones, or
        elements to validate with that nothing is trained on.
    """
    source = CrystalSource(path)
    labels: list[LabelledCrystal] = [source[k] for k in range(len(source))]
    parts = {name: [x for x in labels if x.split == name] for name in ("train", "val")}
    if not parts["train"]:
        raise DatasetError(f"{path} has no entries of the split 'train'")
    elements, others = (sorted({z for x in part for z in x.numbers.tolist()}) for part in parts.values())
    known = set() if start is None else set(start.basis.elements)
    if start is not None and source.level.physical != start.level.physical:
        raise DatasetError(f"{path} has another level of theory than {start.name!r}")
    if start is not None and set(elements) <= known:
        operators, basis = start.baseline.operators, start.basis
    elif missing := known - set(elements):
        raise DatasetError(f"{path} has new elements but not {missing}: H0 is fitted anew, which needs them")
    else:
        operators = fit_crystal_operators(parts["train"], source.level)
        basis = crystal_basis(source.level, elements)
    if unknown := set(others) - set(basis.elements):
        raise DatasetError(f"{path} has elements in its split 'val' that no training label has: {unknown}")
    train, validation = (
        [make_crystal_sample(x, source.level, basis, operators, cutoff) for x in parts[name]]
        for name in ("train", "val")
    )
    return CrystalData(source.level, basis, operators, parts["train"], train, validation, cutoff)


def set_references(model: HELM, samples: Sequence[CrystalSample], start: HELM | None = None) -> None:
    """Energy references of the elements, and the scale of what remains, from labels with energies.

    Parameters
    ----------
    model
        Network to set them in.
    samples
        Training set.
    start
        Network whose scale and whose references its elements keep; those of others are what is left.
    """
    known = [s for s in samples if np.isfinite(s.energy)]
    if not known:
        return
    elements = model.basis.elements
    counts = np.array([[(s.graph.z == z).sum() for z in elements] for s in known], dtype=float)
    energies = np.array([s.energy for s in known])
    references = np.zeros(len(elements))
    old = () if start is None else start.basis.elements
    if start is not None:
        references[[elements.index(z) for z in old]] = start.energy_reference.cpu().numpy()
    free = np.array([z not in old for z in elements])
    references[free] = np.linalg.lstsq(counts[:, free], energies - counts @ references, rcond=None)[0]
    model.energy_reference.copy_(torch.from_numpy(references))
    if start is not None:
        model.energy_scale.copy_(start.energy_scale)
        return
    rest = (energies - counts @ references) / counts.sum(1)
    model.energy_scale.fill_(max(float(np.sqrt((rest**2).mean())), 1e-3))


def check_answers(samples: Sequence[CrystalSample], weights: CrystalLossWeights) -> None:
    """Refuse losses for which no label has what they compare with.

    Raises
    ------
    SettingError
        Naming the loss.
    """
    known: dict[str, Callable[[CrystalSample], bool]] = {
        "energy": lambda s: bool(np.isfinite(s.energy)),
        "forces": lambda s: bool(torch.isfinite(s.forces).all()),
        "stress": lambda s: bool(torch.isfinite(s.stress).all()),
    }
    for name, has in known.items():
        if getattr(weights, name) > 0 and not any(map(has, samples)):
            raise SettingError(f"no training label has {name}: set the weight of {name!r} to 0")
