"""Losses: each term a number of order one when it is as large as its floor."""

from dataclasses import dataclass

import torch
from torch import Tensor

from helm_ase.data.batch import TrainingBatch
from helm_ase.nn import Prediction, trust_correction


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term, after division by the unit given for it."""

    hamiltonian: float = 1.0
    """Mean absolute element of ΔH, unit 300 µEh."""
    spectrum: float = 0.0
    """Mean absolute element of Cᵀ ΔH C over reference orbitals, plus that of its diagonal, unit 2 mEh."""
    energy: float = 0.0
    """Absolute energy error per atom, unit 10 meV."""
    forces: float = 0.0
    """Length of the force error, unit 100 meV/Å."""

    @property
    def needs_hamiltonian(self) -> bool:
        """Whether the edge track is needed."""
        return self.hamiltonian > 0 or self.spectrum > 0

    @property
    def needs_forces(self) -> bool:
        """Whether energies or forces are needed."""
        return self.energy > 0 or self.forces > 0


def loss_terms(prediction: Prediction, batch: TrainingBatch) -> dict[str, Tensor]:
    """Unweighted terms by the names of :class:`LossWeights`, each a mean over molecules."""
    terms = {}
    if prediction.correction is not None:
        error = correction_error(prediction.correction, batch)  # (B, s, A, A)
        elements = batch.ao_count.to(error)[:, None] ** 2
        terms["hamiltonian"] = (error.abs().sum((2, 3)) / elements).mean() / 3e-4
        orbital = batch.orbitals.transpose(2, 3) @ error @ batch.orbitals  # (B, s, M, M)
        count = batch.orbital_count.to(error)
        spread = orbital.abs().sum((2, 3)) / count**2
        levels = torch.diagonal(orbital, dim1=2, dim2=3).abs().sum(2) / count
        terms["spectrum"] = (spread + levels).mean() / 2e-3
    if prediction.energy is not None:
        atoms = torch.bincount(batch.graph.batch).to(torch.float64)
        terms["energy"] = _mean_over_known(prediction.energy - batch.energy, batch.energy, atoms) / 0.01
    if prediction.forces is not None:
        known = torch.isfinite(batch.forces[:, 0])
        error = torch.linalg.vector_norm((prediction.forces - batch.forces)[known], dim=1)
        terms["forces"] = error.sum() / max(len(error), 1) / 0.1
    return terms


def _mean_over_known(error: Tensor, label: Tensor, atoms: Tensor) -> Tensor:
    """Mean absolute error per atom over the molecules that have a label, 0 if none has."""
    known = torch.isfinite(label)
    return (error.abs() / atoms)[known].sum() / max(int(known.sum()), 1)


def correction_error(correction: Tensor, batch: TrainingBatch) -> Tensor:
    """Error of ΔH after the trust filter; (B, s, A, A), zero in the padding.

    A model with two spin channels is compared with the one matrix of closed shells in both.
    """
    if batch.trust is not None:
        correction = trust_correction(correction, batch.trust[:, None])
    return correction - batch.correction


def total_loss(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Weighted sum of the terms."""
    return torch.stack([getattr(weights, name) * value.double() for name, value in terms.items()]).sum()
