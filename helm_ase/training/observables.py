"""Losses on quantities that follow from the Hamiltonian, one molecule at a time, in float64.

Each molecule and spin is diagonalised once, those of one size together; every observable then has an exact
gradient of its own, also where orbital energies coincide (:mod:`helm_ase.electronic.differentiable`).  An
error is a sum over items and their number.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from helm_ase.dataset.targets import Targets
from helm_ase.electronic.bond_orders import mayer_bond_orders
from helm_ase.electronic.charges import mulliken_populations, sum_over_atoms
from helm_ase.electronic.differentiable import Eigensystem
from helm_ase.electronic.multipoles import electronic_dipole

Sum = tuple[Tensor, Tensor]
"""Σ over items, and how many they are; float64 scalars."""


class PredictedMolecule:
    """One molecule with the Hamiltonian H0 + ΔH.

    Parameters
    ----------
    correction
        ΔH after the trust filter, Hartree, (s, A, A) without padding.  A closed shell may have two, of which
        the mean counts.
    targets
        Integrals, and observables of the reference.
    """

    def __init__(self, correction: Tensor, targets: Targets) -> None:
        self.targets, x = targets, targets.orthogonaliser
        spins = len(targets.occupied)
        correction = correction.double()
        correction = correction if len(correction) == spins else correction.mean(0, keepdim=True)
        self.correction = correction.expand(spins, -1, -1)
        self.focks = x.T @ (targets.baseline + self.correction) @ x  # (s, M, M)
        self.electrons = 2 // spins  # in each occupied orbital

    @cached_property
    def solutions(self) -> list[Eigensystem]:
        """The problem of each spin in the orthonormal basis."""
        return Eigensystem.of_many(list(self.focks))

    @cached_property
    def projectors(self) -> list[Tensor]:
        """Projector on the occupied orbitals of each spin in the orthonormal basis, (M, M)."""
        pairs = zip(self.solutions, self.targets.occupied, strict=True)
        return [solution.projector(n) for solution, n in pairs]

    @cached_property
    def levels(self) -> list[Tensor]:
        """Orbital energies of each spin, ascending, Hartree, (M,)."""
        return [solution.levels() for solution in self.solutions]

    @cached_property
    def densities(self) -> Tensor:
        """Density matrix of each spin with one electron in each orbital, (s, A, A)."""
        x = self.targets.orthogonaliser
        return x @ torch.stack(self.projectors) @ x.T


def level_error(molecule: PredictedMolecule) -> Sum:
    """|Δε| over reference orbitals, each compared with the predicted orbital that most resembles it.

    Orbitals are paired one to one such that Σ |⟨reference|predicted⟩|² is largest, so that orbitals that have
    crossed are not taken for each other.  Virtual orbitals of a larger basis resemble none of a smaller one
    well: there occupied orbitals are paired with occupied ones.
    """
    t, errors = molecule.targets, []
    spins = zip(molecule.solutions, molecule.levels, t.projection, t.levels, t.occupied, strict=True)
    for solution, levels, projection, reference, n in spins:
        known = torch.isfinite(reference)
        likeness = (projection[known] @ t.orthogonaliser @ solution.vectors).square()  # (K, M)
        partner = torch.from_numpy(_partners(likeness, n if t.larger else 0)).to(levels.device)
        errors.append(levels[partner] - reference[known])
    error = torch.cat(errors)
    return error.abs().sum(), error.new_tensor(len(error))


def _partners(likeness: Tensor, apart: int = 0) -> NDArray[np.int64]:
    """Column of each row, (K,), such that they share most in all; the first ``apart`` among themselves."""
    table = torch.nan_to_num(likeness).cpu().numpy()
    parts = table[:apart, :apart], table[apart:, apart:]
    first, rest = (linear_sum_assignment(part, maximize=True)[1] for part in parts)
    return np.concatenate([first, rest + apart])


def gap_error(molecule: PredictedMolecule) -> Sum:
    """|Δ(LUMO − HOMO)| of each molecule that has both, over both spins."""
    pairs = list(zip(molecule.levels, molecule.targets.occupied, strict=True))
    homo = [e[n - 1] for e, n in pairs if n]
    lumo = [e[n] for e, n in pairs if n < len(e)]
    if not homo or not lumo:
        return _nothing(molecule)
    gap = torch.stack(lumo).min() - torch.stack(homo).max()
    error, known = _difference(gap, molecule.targets.gap)
    return error.abs(), known


def density_error(molecule: PredictedMolecule) -> Sum:
    """Root of Σ_pq ΔP_pq² per electron of each molecule, P in an orthonormal basis, no matter which."""
    t = molecule.targets
    electrons = sum(t.occupied)
    if not electrons:
        return _nothing(molecule)
    errors = []
    for projector, projection, n in zip(molecule.projectors, t.projection, t.occupied, strict=True):
        reference = projection[:n] @ t.orthogonaliser  # (n, M)
        errors.append((projector - reference.T @ reference).flatten())
    norm = torch.linalg.vector_norm(torch.cat(errors))
    return norm / electrons**0.5, torch.ones_like(norm)


def dipole_error(molecule: PredictedMolecule) -> Sum:
    """Length of the error of the dipole moment of each molecule."""
    t = molecule.targets
    dipole = electronic_dipole(molecule.electrons * molecule.densities.sum(0), t.position)
    error, known = _difference(dipole, t.dipole)
    return torch.linalg.vector_norm(error), known / 3


def polarizability_error(molecule: PredictedMolecule) -> Sum:
    """Root mean square error of the nine elements of each molecule's *uncoupled* polarizability.

    What it is compared with, coupled or uncoupled, ``targets.coupled`` says.
    """
    t, x = molecule.targets, molecule.targets.orthogonaliser
    position = x.T @ t.position @ x  # (3, M, M)
    pairs = zip(molecule.solutions, t.occupied, strict=True)
    spins = [s.uncoupled_polarizability(position, n, molecule.electrons) for s, n in pairs]
    error, known = _difference(torch.stack(spins).sum(0), t.polarizability)
    return torch.linalg.vector_norm(error) / 3, known / 9


def charge_error(molecule: PredictedMolecule) -> Sum:
    """|Δq| of Mulliken charges over atoms."""
    t = molecule.targets
    each = mulliken_populations(molecule.electrons * molecule.densities.sum(0), t.overlap)  # (A,)
    populations = sum_over_atoms(each, t.atom, len(t.populations))
    error, known = _difference(populations, t.populations)
    return error.abs().sum(), known


def bond_order_error(molecule: PredictedMolecule) -> Sum:
    """|ΔB| of Mayer bond orders, summed over pairs of atoms; the items are atoms."""
    t = molecule.targets
    densities = molecule.electrons * molecule.densities
    orders = mayer_bond_orders(densities, t.overlap, t.atom, len(t.populations))
    error, known = _difference(orders, t.bond_orders)
    return torch.triu(error, diagonal=1).abs().sum(), known / len(error)


def _difference(predicted: Tensor, target: Tensor) -> Sum:
    """Error, zero where there is no target, and the number of targets."""
    known = torch.isfinite(target)
    return predicted - torch.where(known, target, predicted.detach()), known.sum().to(predicted)


def _nothing(molecule: PredictedMolecule) -> Sum:
    zero = molecule.correction.new_zeros(())
    return zero, zero


OBSERVABLES: dict[str, tuple[Callable[[PredictedMolecule], Sum], float]] = {
    "levels": (level_error, 2e-3),
    "gap": (gap_error, 2e-3),
    "density": (density_error, 5e-3),
    "dipole": (dipole_error, 0.05),
    "polarizability": (polarizability_error, 0.2),
    "charges": (charge_error, 0.02),
    "bond_orders": (bond_order_error, 0.02),
}
"""Name of a term → function for its error of one molecule, and its unit, about the error of the model
helm-hcnof-1 outside of its training."""
OF_FUNCTIONS = ("density", "charges", "bond_orders")
"""Terms that can be compared only in one and the same basis."""


def observable_sums(
    correction: Tensor, targets: Sequence[Targets], wanted: Collection[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Totals, in units of each term, and numbers of items over a batch.

    Parameters
    ----------
    correction
        ΔH after the trust filter, Hartree, (B, s, A, A), padded.
    targets
        Targets of each molecule.
    wanted
        Names in :data:`OBSERVABLES`.
    """
    zero = correction.new_zeros((), dtype=torch.float64)
    sums = dict.fromkeys(wanted, (zero, zero))
    for molecule in _solved(correction, targets):
        for name in wanted:
            error, unit = OBSERVABLES[name]
            total, count = error(molecule)
            sums[name] = sums[name][0] + total / unit, sums[name][1] + count
    return sums


def _solved(correction: Tensor, targets: Sequence[Targets]) -> list[PredictedMolecule]:
    """Molecules of a batch; matrices of one size are diagonalised together."""
    sizes = [len(t.overlap) for t in targets]
    pairs = zip(correction, sizes, targets, strict=True)
    molecules = [PredictedMolecule(padded[:, :n, :n], t) for padded, n, t in pairs]
    solutions = iter(Eigensystem.of_many([fock for m in molecules for fock in m.focks]))
    for molecule in molecules:
        molecule.solutions = [next(solutions) for _ in molecule.focks]
    return molecules
