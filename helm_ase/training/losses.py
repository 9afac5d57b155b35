"""Losses: each term is divided by a unit, such that it is of order one for a well-trained model.

A term consists of a sum over items and their number, so that processes that share a batch can add both and
divide afterwards.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from helm_ase.dataset.batch import TrainingBatch
from helm_ase.errors import SettingError
from helm_ase.nn import Prediction, apply_factor
from helm_ase.training.observables import OBSERVABLES, OF_FUNCTIONS, observable_sums

SMALLEST_SQUARE = 1e-30
"""Mean square below which the root is taken as constant: its slope at zero is infinite."""


class Term(NamedTuple):
    """Term of the loss for a batch, before averaging."""

    total: Tensor
    """Sum over items, in the unit of the term; float64 scalar."""
    count: Tensor  # type: ignore[assignment]  # tuples have a method of this name
    """Number of items; float64 scalar without gradient."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term, after division by the unit given for it."""

    hamiltonian: float = 0.0
    """Weight of the mean absolute error of the elements of ΔH in a molecule, averaged over molecules, in
    units of 300 µEh."""
    hamiltonian_square: float = 0.0
    """Weight of the root mean square error plus the mean square error of ΔH over all elements of the batch,
    as in the paper, in units of 300 µEh and (300 µEh)²."""
    lowdin: float = 0.0
    """Weight of the mean absolute error of the elements of S^(−½) ΔH S^(−½) in a molecule, averaged over
    molecules, in units of 1 mEh."""
    spectrum: float = 0.0
    """Weight of the mean absolute error of the elements of Cᵀ ΔH C, with C the orbitals of the label, plus
    that of its diagonal, which is the error of orbital energies to first order, in units of 2 mEh."""
    levels: float = 0.0
    """Weight of the absolute error of orbital energies after diagonalisation, averaged over occupied and the
    lowest virtual orbitals, in units of 2 mEh."""
    gap: float = 0.0
    """Weight of the absolute error of the HOMO–LUMO gap, averaged over molecules, in units of 2 mEh."""
    density: float = 0.0
    """Weight of the Frobenius norm of the error of the density matrix in an orthonormal basis, divided by the
    root of the number of electrons, averaged over molecules, in units of 0.005."""
    dipole: float = 0.0
    """Weight of the length of the error of the dipole moment, averaged over molecules, in units of 0.05
    e·a0."""
    polarizability: float = 0.0
    """Weight of the root mean square error of the elements of the uncoupled polarizability, averaged over
    molecules, in units of 0.2 a0³. The uncoupled polarizability ignores the response of the potential and is
    about a third larger than the physical one."""
    charges: float = 0.0
    """Weight of the absolute error of Mulliken charges, averaged over atoms, in units of 0.02 e."""
    bond_orders: float = 0.0
    """Weight of the absolute error of Mayer bond orders, summed over pairs of atoms and divided by the number
    of atoms, in units of 0.02."""
    energy: float = 0.0
    """Weight of the absolute error of the energy per atom, averaged over molecules, in units of 10 meV."""
    forces: float = 0.0
    """Weight of the length of the error of a force, averaged over atoms, in units of 100 meV/Å."""

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) >= 0:
                raise SettingError(f"loss weight {f.name}={getattr(self, f.name)}: weights are 0 or more")

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the terms with a weight above zero."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) > 0)

    @property
    def needs_hamiltonian(self) -> bool:
        """Whether the edge track is needed."""
        return bool(set(self.wanted) - {"energy", "forces"})

    @property
    def needs_observables(self) -> bool:
        """Whether the data set must be opened with ``observables=True``."""
        return bool(set(self.wanted) & {"lowdin", *OBSERVABLES})

    @property
    def needs_energy(self) -> bool:
        """Whether the energy head is needed."""
        return self.energy > 0 or self.forces > 0

    @property
    def needs_forces(self) -> bool:
        """Whether forces are needed."""
        return self.forces > 0


def loss_terms(prediction: Prediction, batch: TrainingBatch, wanted: Collection[str]) -> dict[str, Term]:
    """Compute the terms asked for, by the names of :class:`LossWeights`.

    Raises
    ------
    SettingError
        If there is no such term, or prediction or data lack what it needs.
    """
    check_terms(wanted, batch)
    terms: dict[str, Term] = {}
    matrices = [name for name in wanted if name in MATRIX_TERMS]
    observables = [name for name in wanted if name in OBSERVABLES]
    if matrices or observables:
        if prediction.correction is None:
            raise SettingError(f"{', '.join(matrices + observables)} need ΔH, which was not predicted")
        with torch.autocast(prediction.correction.device.type, enabled=False):
            correction = correction_of(prediction.correction, batch)  # (B, s, A, A)
            if batch.matrix_known is not None:
                correction = correction[batch.matrix_known]
            part = batch.of_known_matrices()
            terms |= {name: MATRIX_TERMS[name](correction - part.correction, part) for name in matrices}
            if observables and part.targets is not None:
                sums = observable_sums(correction, part.targets, observables)
                terms |= {name: Term(*values) for name, values in sums.items()}
    if "energy" in wanted:
        terms["energy"] = _energy(prediction, batch)
    if "forces" in wanted:
        terms["forces"] = _forces(prediction, batch)
    return terms


def check_terms(wanted: Collection[str], batch: TrainingBatch) -> None:
    """Refuse terms that do not exist or that the data cannot give.

    Raises
    ------
    SettingError
        With the reason.
    """
    known = [f.name for f in fields(LossWeights)]
    if unknown := set(wanted) - set(known):
        raise SettingError(f"unknown loss terms {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    matrices = [k for k in known if k in wanted and k in (*MATRIX_TERMS, *OF_FUNCTIONS)]
    if matrices and not batch.has_matrix:
        raise SettingError(
            f"{', '.join(matrices)} compare matrices or shares of atoms, which are not the same thing in the "
            "labels' basis and in the model's smaller one: use levels, gap, dipole, polarizability"
        )
    if batch.targets is None and (lacking := set(wanted) & {"lowdin", *OBSERVABLES}):
        raise SettingError(f"{', '.join(sorted(lacking))} need a data set opened with observables=True")


def term_value(name: str, total: Tensor, count: Tensor) -> Tensor:
    """Mean over items; for ``hamiltonian_square`` root of the mean plus the mean."""
    mean = total / count.clamp(min=1)
    return mean.clamp(min=SMALLEST_SQUARE).sqrt() + mean if name == "hamiltonian_square" else mean


def total_loss(values: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Weighted sum of the values of the terms."""
    return torch.stack([getattr(weights, name) * value.double() for name, value in values.items()]).sum()


def correction_of(output: Tensor, batch: TrainingBatch) -> Tensor:
    """ΔH from the network's output, (B, s, A, A), at least in single precision."""
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    factor = batch.output_factor
    return apply_factor(output, None if factor is None else factor[:, None].to(output))


def correction_error(output: Tensor, batch: TrainingBatch) -> Tensor:
    """Error of the ΔH that follows from the network's output; (B, s, A, A), zero in the padding.

    A model with two spin channels is compared with the one matrix of closed shells in both.
    """
    return correction_of(output, batch) - batch.correction


def _hamiltonian(error: Tensor, batch: TrainingBatch) -> Term:
    per_spin = error.abs().sum((2, 3), dtype=torch.float64) / batch.ao_count.double()[:, None] ** 2
    return Term(per_spin.mean(1).sum() / 3e-4, _number(len(error), error))


def _hamiltonian_square(error: Tensor, batch: TrainingBatch) -> Term:
    """Mean over spin channels, so that a closed shell weighs the same in both kinds of batch."""
    per_spin = (error / 3e-4).square().sum((2, 3), dtype=torch.float64)
    return Term(per_spin.mean(1).sum(), (batch.ao_count.double() ** 2).sum())


def _lowdin(error: Tensor, batch: TrainingBatch) -> Term:
    total = error.new_zeros((), dtype=torch.float64)
    for padded, targets in zip(error.double(), batch.targets or (), strict=True):
        size, x = len(targets.overlap), targets.orthogonaliser
        root = x @ torch.nn.functional.normalize(x, dim=0).T  # S^(−½)
        total = total + (root @ padded[:, :size, :size] @ root).abs().mean()
    return Term(total / 1e-3, _number(len(error), error))


def _spectrum(error: Tensor, batch: TrainingBatch) -> Term:
    orbitals = batch.orbitals.to(error)
    orbital = (orbitals.transpose(2, 3) @ error @ orbitals).double()  # (B, s, M, M)
    count = batch.orbital_count.double().clamp(min=1)
    spread = orbital.abs().sum((2, 3)) / count**2
    levels = torch.diagonal(orbital, dim1=2, dim2=3).abs().sum(2) / count
    return Term((spread + levels).mean(1).sum() / 2e-3, _number(len(error), error))


MATRIX_TERMS: dict[str, Callable[[Tensor, TrainingBatch], Term]] = {
    "hamiltonian": _hamiltonian,
    "hamiltonian_square": _hamiltonian_square,
    "lowdin": _lowdin,
    "spectrum": _spectrum,
}
"""Terms that follow from the error of ΔH."""


def _energy(prediction: Prediction, batch: TrainingBatch) -> Term:
    if prediction.energy is None:
        raise SettingError("the loss term energy needs energies, which were not predicted")
    known = torch.isfinite(batch.energy)
    atoms = torch.bincount(batch.graph.batch, minlength=len(known)).double()
    error = (prediction.energy.double() - batch.energy).abs() / atoms
    return Term(error[known].sum() / 0.01, known.sum().double())


def _forces(prediction: Prediction, batch: TrainingBatch) -> Term:
    if prediction.forces is None:
        raise SettingError("the loss term forces needs forces, which were not predicted")
    known = torch.isfinite(batch.forces).all(1)
    error = torch.linalg.vector_norm((prediction.forces.double() - batch.forces)[known], dim=1)
    return Term(error.sum() / 0.1, known.sum().double())


def _number(count: int, like: Tensor) -> Tensor:
    return torch.tensor(float(count), dtype=torch.float64, device=like.device)
