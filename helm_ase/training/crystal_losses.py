"""Losses for crystals: elements of ΔH(T), bands at k points that are drawn at random in every step, energies,
forces and stress."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from helm_ase.dataset.crystals import CrystalSample
from helm_ase.electronic.band_levels import levels, solve
from helm_ase.electronic.bloch import bloch_sum
from helm_ase.errors import SettingError
from helm_ase.nn import Prediction
from helm_ase.representation.overlap import OVERLAP_THRESHOLD

HAMILTONIAN_UNIT, BAND_UNIT = 3e-4, 2e-3
"""Hartree."""
ENERGY_UNIT, FORCE_UNIT, STRESS_UNIT = 0.01, 0.1, 0.01
"""eV per atom, eV/Å, eV/Å³."""


@dataclass(frozen=True)
class CrystalLossWeights:
    """Weight of each term, after division by the unit given for it."""

    hamiltonian: float = 1.0
    """Mean absolute element of ΔH(T) over atoms and pairs within the cutoff, unit 300 µEh."""
    spectrum: float = 0.2
    """Mean absolute element of C† ΔH(k) C over occupied and the lowest virtual orbitals of the label, plus
    that of its diagonal, at random k, unit 2 mEh."""
    bands: float = 0.0
    """Absolute error of the same levels after diagonalisation, at random k, unit 2 mEh; with the other two
    zero, a model learns from band energies alone."""
    energy: float = 0.0
    """Absolute error of the free energy per atom, unit 10 meV."""
    forces: float = 0.0
    """Length of the error of a force, mean over atoms, unit 100 meV/Å."""
    stress: float = 0.0
    """Mean absolute error of the components of the stress, unit 10 meV/Å³."""

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) >= 0:
                raise SettingError(f"loss weight {f.name}={getattr(self, f.name)}: weights are 0 or more")
        if not any(getattr(self, f.name) > 0 for f in fields(self)):
            raise SettingError("every weight of the loss is zero")

    @property
    def needs_hamiltonian(self) -> bool:
        """Whether the edge track is needed."""
        return self.hamiltonian + self.spectrum + self.bands > 0

    @property
    def needs_energy(self) -> bool:
        """Whether the energy head is needed."""
        return self.energy + self.forces + self.stress > 0


def crystal_loss_terms(
    prediction: Prediction,
    samples: Sequence[CrystalSample],
    weights: CrystalLossWeights,
    kpts: Sequence[Tensor],
    virtuals: int,
) -> dict[str, Tensor]:
    """Means over the crystals of a batch, float64, in units of each term.

    Parameters
    ----------
    prediction
        Prediction of the joined graphs, in the order of the samples.
    samples
        Crystals of the batch.
    weights
        Which terms are wanted.
    kpts
        Points of each crystal for the terms of bands, fractional, (K, 3) each.
    virtuals
        Unoccupied bands that count.
    """
    terms: dict[str, list[Tensor]] = {}
    blocks = blocks_of(prediction, samples) if prediction.correction is not None else [None] * len(samples)
    for sample, k, predicted in zip(samples, kpts, blocks, strict=True):
        if predicted is None:
            continue
        if weights.hamiltonian:
            error = (predicted - sample.correction.to(predicted.device))[sample.within.to(predicted.device)]
            terms.setdefault("hamiltonian", []).append(error.abs().mean() / HAMILTONIAN_UNIT)
        if weights.spectrum or weights.bands:
            errors = _band_errors(predicted, sample, k, virtuals, weights)
            for name, value in errors.items():
                terms.setdefault(name, []).append(value / BAND_UNIT)
    if weights.energy and prediction.energy is not None:
        terms["energy"] = _energy_errors(prediction.energy, samples)
    if weights.forces and prediction.forces is not None:
        forces = torch.cat([s.forces for s in samples])
        terms["forces"] = _known_errors(prediction.forces, forces, FORCE_UNIT)
    if weights.stress and prediction.stress is not None:
        stress = torch.stack([s.stress for s in samples])
        terms["stress"] = _known_errors(prediction.stress, stress, STRESS_UNIT)
    return {name: torch.stack(values).mean() for name, values in terms.items()}


def blocks_of(prediction: Prediction, samples: Sequence[Any]) -> list[Tensor]:
    """ΔH(T) of every crystal, (n_T, A, A) each, float64.

    Parameters
    ----------
    prediction
        Prediction of the joined graphs, in the order of the samples.
    samples
        Samples with a ``graph`` and an ``overlap``.
    """
    assert prediction.correction is not None
    counts = [len(s.graph.translation) for s in samples]
    padded = prediction.correction[:, 0].double().split(counts)
    return [p[:, : s.overlap.size, : s.overlap.size] for p, s in zip(padded, samples, strict=True)]


def _band_errors(
    predicted: Tensor, sample: CrystalSample, kpts: Tensor, virtuals: int, weights: CrystalLossWeights
) -> dict[str, Tensor]:
    h, s, rest = (x.to(predicted.device) for x in sample.reference(kpts))
    error = bloch_sum(sample.graph.translation.to(predicted.device), predicted, kpts.to(predicted)) - rest
    with torch.no_grad():
        energies, orbitals = solve(h, s, OVERLAP_THRESHOLD)
    counted = min(sample.electrons // 2 + virtuals, h.shape[1])
    errors = {}
    if weights.spectrum:
        c = orbitals[:, :, :counted]
        inner = c.mH @ error @ c  # (K, M, M)
        errors["spectrum"] = inner.abs().mean() + inner.diagonal(dim1=1, dim2=2).abs().mean()
    if weights.bands:
        difference = levels(h + error, s)[:, :counted] - energies[:, :counted]
        errors["bands"] = difference[torch.isfinite(difference)].abs().mean()
    return errors


def _energy_errors(energy: Tensor, samples: Sequence[CrystalSample]) -> list[Tensor]:
    reference = torch.tensor([s.energy for s in samples], dtype=torch.float64, device=energy.device)
    atoms = torch.tensor([len(s.graph.z) for s in samples], device=energy.device)
    known = torch.isfinite(reference)
    error = (energy - reference)[known].abs() / atoms[known] / ENERGY_UNIT
    return list(error) if len(error) else [energy.sum() * 0]


def _known_errors(predicted: Tensor, labels: Tensor, unit: float) -> list[Tensor]:
    """Mean over what labels know: lengths of errors of forces, (N, 3), or errors of stress, (B, 3, 3)."""
    labels = labels.to(predicted.device)
    known = torch.isfinite(labels).flatten(1).all(1)
    difference = (predicted.double() - labels)[known]
    if not len(difference):
        return [predicted.double().sum() * 0]
    sizes = torch.linalg.vector_norm(difference, dim=1) if difference.dim() == 2 else difference.abs()
    return [sizes.mean() / unit]


def weighted_sum(terms: dict[str, Tensor], weights: CrystalLossWeights) -> Tensor:
    """Loss of a batch from its terms."""
    return torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
