"""Error bar of a model's energies, from its training set, with a scale fitted to its validation set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import spearmanr

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.uncertainty import EnergyUncertainty
from helm_ase.errors import SettingError
from helm_ase.evaluation.inference import MAX_LOAD
from helm_ase.qc.tight_binding import TightBinding
from helm_ase.representation.graph import AtomicGraph, batch_graphs
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.units import HARTREE_IN_EV

RIDGES = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Values of the ridge parameter s that are tried, relative to the mean of the diagonal of C."""
LARGE, SMALL = 10e-3, 3e-3
"""Errors in eV/atom above which an error bar should exceed its threshold, and below which it should not."""
KNOWN = 0.9
"""Fraction of the training molecules whose error bars are below the threshold."""
FEWEST = 20
"""Smallest number of validation molecules from which an error bar can be calibrated."""


@dataclass(frozen=True)
class EnergyErrors:
    """Features and energy errors of M molecules."""

    features: NDArray[np.float64]
    """(M, F)."""
    errors: NDArray[np.float64]
    """Predicted − label, eV/atom, (M,)."""
    atoms: NDArray[np.int64]
    """Number of atoms of each molecule, (M,)."""


def collect(checkpoint: Checkpoint, labels: Iterable[LabelledMolecule]) -> EnergyErrors:
    """Features and errors of all labels with an energy; no Hamiltonian and no H0 are computed."""
    baseline = TightBinding(checkpoint.energy_baseline) if checkpoint.energy_baseline else None
    features: list[NDArray[np.float64]] = []
    errors: list[float] = []
    atoms: list[int] = []
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
        load += int(graph.num_nodes) + graph.pair_index.shape[1]
        if load > MAX_LOAD:
            _answer(checkpoint, baseline, waiting, features, errors)
            waiting, load = [], 0
    if waiting:
        _answer(checkpoint, baseline, waiting, features, errors)
    return EnergyErrors(np.array(features), np.array(errors), np.array(atoms))


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
    features.extend(out.energy_features.cpu().double().numpy())
    for (label, _), energy in zip(waiting, out.energy.tolist(), strict=True):
        if baseline is not None:
            e0 = baseline(label.numbers, label.positions, label.charge, label.multiplicity).energy
            energy += e0 * HARTREE_IN_EV
        errors.append((energy - float(label.energy or 0.0)) / len(label.numbers))


def calibrate(checkpoint: Checkpoint, train: EnergyErrors, validation: EnergyErrors) -> EnergyUncertainty:
    """Fit an error bar to one half of the validation set, and test it on the other half.

    Its threshold is the value below which the error bars of nine of ten training molecules lie.

    Parameters
    ----------
    checkpoint
        The model.
    train
        Molecules of its training set; only the features count.
    validation
        Molecules that it has not learnt from.

    Raises
    ------
    SettingError
        If there are too few validation molecules.
    """
    if len(validation.errors) < FEWEST:
        raise SettingError(
            f"{len(validation.errors)} validation molecules with energies are too few for an error bar; at "
            f"least {FEWEST} are needed"
        )
    v = validation
    fitted, tried = (EnergyErrors(v.features[k::2], v.errors[k::2], v.atoms[k::2]) for k in (0, 1))
    moments = train.features.T @ train.features / len(train.features)
    best: tuple[float, EnergyUncertainty] | None = None
    for ridge in RIDGES:
        whitening = _whitening(moments, ridge)
        scale, floor, loss = _scale_and_floor(_rigidity(whitening, fitted), fitted.errors)
        if best is None or loss < best[0]:
            made = torch.from_numpy(whitening)
            best = loss, EnergyUncertainty(checkpoint.sha256, made, scale, floor, float("inf"))
    assert best is not None
    threshold = float(np.quantile(bars(best[1], train), KNOWN))
    facts = {"training molecules": len(train.errors)} | {
        f"{name} half": judge(bars(best[1], half), half.errors, threshold)
        for name, half in (("calibration", fitted), ("other", tried))
    }
    b = best[1]
    return EnergyUncertainty(b.model_sha256, b.whitening, b.scale, b.floor, threshold, facts)


def bars(uncertainty: EnergyUncertainty, molecules: EnergyErrors) -> NDArray[np.float64]:
    """Error bars of molecules, eV/atom, (M,)."""
    features, atoms = torch.from_numpy(molecules.features), torch.from_numpy(molecules.atoms)
    return np.asarray(uncertainty.per_atom(features, atoms).numpy())


def judge(bar: NDArray[np.float64], errors: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """Quality of an error bar on some molecules: rank correlation, and how many are flagged; JSON."""
    size, flagged = np.abs(errors), bar > threshold
    large, small = size > LARGE, size < SMALL
    rho = spearmanr(bar, size).statistic if len(size) > 2 else float("nan")
    return {
        "molecules": len(size),
        "spearman": round(float(rho), 3),
        "large": int(large.sum()),
        "large flagged": int((large & flagged).sum()),
        "small": int(small.sum()),
        "small flagged": int((small & flagged).sum()),
        "mean error, meV/atom": round(1e3 * float(size.mean()), 3),
    }


def _whitening(moments: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """W with WᵀW = (C + s)⁻¹."""
    shifted = moments + ridge * np.trace(moments) / len(moments) * np.eye(len(moments))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(shifted)))


def _rigidity(whitening: NDArray[np.float64], molecules: EnergyErrors) -> NDArray[np.float64]:
    return np.asarray(np.square(molecules.features @ whitening.T).sum(1) * molecules.atoms)


def _scale_and_floor(
    rigidity: NDArray[np.float64], errors: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Maximum-likelihood values of a and b for Laplace-distributed errors, and the mean negative
    log-likelihood."""
    size = np.abs(errors).clip(min=1e-6)

    def loss(x: NDArray[np.float64]) -> float:
        width = np.sqrt(np.exp(2 * x[0]) * rigidity + np.exp(2 * x[1]))
        return float(np.mean(np.log(width) + np.sqrt(2) * size / width))

    start = np.log([np.sqrt(np.mean(size**2) / rigidity.mean()), np.median(size)])
    optimum = minimize(loss, start, method="Nelder-Mead")
    return float(np.exp(optimum.x[0])), float(np.exp(optimum.x[1])), float(optimum.fun)
