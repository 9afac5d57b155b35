"""Error bar of a model's energies, from its training set, with a scale fitted to its validation set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.uncertainty import EnergyUncertainty
from helm_ase.errors import SettingError
from helm_ase.evaluation.inference import MAX_LOAD
from helm_ase.qc.tight_binding import TightBinding
from helm_ase.representation.graph import AtomicGraph, batch_graphs
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.units import HARTREE_IN_EV

AXES = 16
"""Principal axes of the features in which distances from the training set are measured; more do not help."""
SPACING = 0.7
"""Distance, in standard deviations of an axis, within which an atom of the training set stands for others."""
LARGE, SMALL = 10e-3, 3e-3
"""Errors in eV/atom above which an error bar should exceed its threshold, and below which it should not."""
FALSE_ALARMS = 0.18
"""Share of the small errors whose error bars are above the threshold."""
FEW = 5
"""Small errors from which on there is such a share."""
RIDGE = 1e-4
"""s of the metric of molecules, relative to the mean of the diagonal of C."""
FEWEST = 20
"""Smallest number of validation molecules from which an error bar can be calibrated."""


@dataclass(frozen=True)
class EnergyErrors:
    """Features and energy errors of M molecules."""

    features: NDArray[np.float64]
    """Last hidden layer of the energy head for the atoms of all molecules, one after another, (N, F)."""
    errors: NDArray[np.float64]
    """Predicted − label, eV/atom, (M,)."""
    atoms: NDArray[np.int64]
    """Number of atoms of each molecule, (M,)."""
    states: NDArray[np.int64]
    """Charge and multiplicity of each, (M, 2)."""


def collect(checkpoint: Checkpoint, labels: Iterable[LabelledMolecule]) -> EnergyErrors:
    """Features and errors of all labels with an energy; no Hamiltonian and no H0 are computed.

    Parameters
    ----------
    checkpoint
        The model.
    labels
        Labelled molecules at its level of theory.
    """
    baseline = TightBinding(checkpoint.energy_baseline) if checkpoint.energy_baseline else None
    features: list[NDArray[np.float64]] = []
    errors: list[float] = []
    atoms: list[int] = []
    states: list[tuple[int, int]] = []
    waiting: list[tuple[LabelledMolecule, AtomicGraph]] = []
    load = 0
    for label in labels:
        if label.energy is None:
            continue
        graph = AtomicGraph.from_arrays(
            label.numbers, label.positions, checkpoint.model.cutoff, label.charge, label.multiplicity
        )
        waiting.append((label, graph))
        atoms.append(len(label.numbers))
        states.append((label.charge, label.multiplicity))
        load += int(graph.num_nodes) + graph.pair_index.shape[1]
        if load > MAX_LOAD:
            _answer(checkpoint, baseline, waiting, features, errors)
            waiting, load = [], 0
    if waiting:
        _answer(checkpoint, baseline, waiting, features, errors)
    joined = np.concatenate(features) if features else np.zeros((0, 0))
    of_molecules = np.array(states, dtype=np.int64).reshape(-1, 2)
    return EnergyErrors(joined, np.array(errors), np.array(atoms, dtype=np.int64), of_molecules)


def _answer(
    checkpoint: Checkpoint, baseline: TightBinding | None,
    waiting: Sequence[tuple[LabelledMolecule, AtomicGraph]], features: list[NDArray[np.float64]],
    errors: list[float],
) -> None:  # fmt: skip
    """Predict a batch and append what follows from it."""
    batch = batch_graphs([graph for _, graph in waiting]).to(checkpoint.model.energy_reference.device)
    with torch.inference_mode(False), torch.no_grad():
        out = checkpoint.model(batch, energy=True)
    assert out.energy is not None
    assert out.energy_features is not None
    features.append(out.energy_features.cpu().double().numpy())
    for (label, _), energy in zip(waiting, out.energy.tolist(), strict=True):
        if baseline is not None:
            e0 = baseline(label.numbers, label.positions, label.charge, label.multiplicity).energy
            energy += e0 * HARTREE_IN_EV
        errors.append((energy - float(label.energy or 0.0)) / len(label.numbers))


def calibrate(checkpoint: Checkpoint, train: EnergyErrors, validation: EnergyErrors) -> EnergyUncertainty:
    """Fit an error bar to one half of the validation set, and test it on the other half.

    Its threshold is what nearly one in five molecules with small errors exceeds, on the same half.

    Parameters
    ----------
    checkpoint
        The model.
    train
        Molecules of its training set; of their errors it is known what was not learnt.
    validation
        Molecules that it has not learnt from.

    Raises
    ------
    SettingError
        If there are no training molecules or too few validation molecules.
    """
    if not len(train.atoms):
        raise SettingError("there are no training molecules with energies: check the name of the split")
    if len(validation.errors) < FEWEST:
        raise SettingError(
            f"{len(validation.errors)} validation molecules with energies are too few for an error bar; at "
            f"least {FEWEST} are needed"
        )
    fitted, tried = (every_second(validation, first) for first in (0, 1))
    axes = whitening(train.features, AXES)
    white = train.features @ axes.T
    kept, residuals = _known(white, train)
    made = EnergyUncertainty(
        checkpoint.sha256, torch.from_numpy(axes), 1.0, 0.0, float("inf"),
        known=torch.from_numpy(white[kept]).half().float(),
        residuals=torch.from_numpy(residuals).float(),
        known_states=torch.from_numpy(np.repeat(train.states, train.atoms, axis=0)[kept]).to(torch.int8),
        metric=torch.from_numpy(_metric(train)),
    )  # fmt: skip
    given = tuple(map(torch.from_numpy, (fitted.features, fitted.atoms, fitted.states)))
    scale, floor = _scale_and_floor(
        made.novelty(*given[:2]).numpy(), made.misfit(*given).numpy(), fitted.errors
    )
    made = replace(made, scale=scale, floor=floor)
    threshold = _threshold(bars(made, fitted), fitted.errors)
    facts = {"training molecules": len(train.errors), "training atoms": len(kept)} | {
        f"{name} half": judge(bars(made, half), half.errors, threshold)
        for name, half in (("calibration", fitted), ("other", tried))
    }
    return replace(made, threshold=threshold, facts=facts)


def thinned(points: NDArray[np.float64], spacing: float) -> list[int]:
    """Rows of as many of the points, (T, D), that every other is closer than the spacing to one of them."""
    tree, free, kept = cKDTree(points), np.ones(len(points), dtype=bool), []
    for k, point in enumerate(points):
        if free[k]:
            kept.append(k)
            free[tree.query_ball_point(point, spacing)] = False
    return kept


def _known(white: NDArray[np.float64], train: EnergyErrors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Atoms that stand for all of their state, (T,), and the median error, eV/atom, of the training molecules
    whose atoms of this state are nearest to each, (T,)."""
    states, sizes = (np.repeat(x, train.atoms, axis=0) for x in (train.states, np.abs(train.errors)))
    chosen, residuals = [], []
    for state in np.unique(states, axis=0):
        rows = np.flatnonzero((states == state).all(1))
        own = rows[thinned(white[rows], SPACING)]
        group = cKDTree(white[own]).query(white[rows])[1]
        order = np.argsort(group, kind="stable")
        parts = np.split(sizes[rows][order], np.flatnonzero(np.diff(group[order])) + 1)
        chosen.append(own)
        residuals.append([np.median(part) for part in parts])
    return np.concatenate(chosen), np.concatenate(residuals)


def every_second(molecules: EnergyErrors, first: int) -> EnergyErrors:
    """Every second molecule, from the given one on."""
    chosen = np.arange(len(molecules.atoms)) % 2 == first
    rows = np.repeat(chosen, molecules.atoms)
    return EnergyErrors(
        molecules.features[rows], molecules.errors[chosen], molecules.atoms[chosen], molecules.states[chosen]
    )


def bars(uncertainty: EnergyUncertainty, molecules: EnergyErrors) -> NDArray[np.float64]:
    """Error bars of molecules, eV/atom, (M,)."""
    given = map(torch.from_numpy, (molecules.features, molecules.atoms, molecules.states))
    return np.asarray(uncertainty.per_atom(*given).numpy())


def judge(bar: NDArray[np.float64], errors: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """Quality of an error bar on some molecules: rank correlation, and how many are flagged; JSON."""
    size, flagged = np.abs(errors), bar > threshold
    large, small = size > LARGE, size < SMALL
    varies = len(size) > 2 and np.ptp(bar) > 0 and np.ptp(size) > 0
    rho = spearmanr(bar, size).statistic if varies else 0.0
    return {
        "molecules": len(size),
        "spearman": round(float(rho), 3),
        "large": int(large.sum()),
        "large flagged": int((large & flagged).sum()),
        "small": int(small.sum()),
        "small flagged": int((small & flagged).sum()),
        "mean error, meV/atom": round(1e3 * float(size.mean()), 3),
    }


def whitening(features: NDArray[np.float64], count: int, least: float = 1e-12) -> NDArray[np.float64]:
    """W: so many leading principal axes of features, (N, F), each over its standard deviation; (D, F).

    Axes with less than a share ``least`` of the largest variance are left out, so that there may be fewer
    than ``count`` of them, or none.
    """
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(features, rowvar=False, bias=True)))
    leading = np.flatnonzero(variances > least * variances[-1])[-count:]
    return np.asarray(axes[:, leading].T / np.sqrt(variances[leading, None]))


def _threshold(bar: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """Error bar that a given share of the small errors exceeds; the smallest bar if there are hardly any."""
    small = bar[np.abs(errors) < SMALL]
    return float(np.quantile(small, 1 - FALSE_ALARMS) if len(small) >= FEW else bar.min())


def _metric(molecules: EnergyErrors) -> NDArray[np.float64]:
    """V with VᵀV = (C + s)⁻¹ for the mean features of molecules, (F, F)."""
    first = np.cumsum(molecules.atoms) - molecules.atoms
    means = np.add.reduceat(molecules.features, first) / molecules.atoms[:, None]
    moments = means.T @ means / len(means)
    ridge = RIDGE * np.trace(moments) / len(moments)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(moments + ridge * np.eye(len(moments)))))


def _scale_and_floor(
    novelty: NDArray[np.float64], misfit: NDArray[np.float64], errors: NDArray[np.float64]
) -> tuple[float, float]:
    """Scale a with the largest likelihood for Laplace-distributed errors, and floor b: the root mean square
    error of the quarter of the molecules with the smallest novelty, from their mean absolute error."""
    size = np.abs(errors).clip(min=1e-6)
    floor = float(np.sqrt(2) * np.mean(size[novelty <= np.quantile(novelty, 0.25)]))

    def loss(log_scale: float) -> float:
        width = np.sqrt(np.exp(2 * log_scale) * novelty + misfit + floor**2)
        return float(np.mean(np.log(width) + np.sqrt(2) * size / width))

    middle = np.log(np.sqrt(np.mean(size**2) / max(novelty.mean(), 1e-12)))
    optimum = minimize_scalar(loss, bounds=(middle - 10, middle + 10), method="bounded")
    return float(np.exp(optimum.x)), floor
