"""Errors of a model on each labelled molecule that are reported during training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.dataset.sample import Sample
from helm_ase.dataset.targets import solve_occupied
from helm_ase.evaluation.inference import MAX_LOAD, answers
from helm_ase.nn import HELM
from helm_ase.units import HARTREE_IN_EV

GHOST = -0.05
"""A LUMO that is this far below the reference, in Hartree, counts as a ghost state."""


@dataclass(frozen=True)
class MoleculeErrors:
    """Absolute errors on one molecule."""

    name: str
    atoms: int
    hamiltonian: float
    """Mean over all matrix elements, µEh."""
    occupied: float
    """Mean over occupied orbital energies, eV."""
    homo: float
    """Error of the HOMO, eV."""
    lumo: float
    """Error of the LUMO, eV."""
    gap: float
    """Error of the HOMO–LUMO gap, eV."""
    lumo_shift: float
    """Predicted − reference LUMO, Eh; a ghost state is far below zero."""
    energy: float
    """eV per atom; NaN if it was not asked for or the label has none."""
    forces: float
    """Mean over components, eV/Å; NaN as for the energy."""


def evaluate(
    model: HELM, samples: Sequence[Sample], energy: bool = True, max_load: int = MAX_LOAD
) -> list[MoleculeErrors]:
    """Errors of a model, which is put into evaluation mode, on every sample."""
    model.eval()
    errors = []
    for answer in answers(model, samples, energy, max_load=max_load):
        sample = answer.sample
        correction = (
            np.zeros_like(sample.correction.numpy()) if answer.correction is None else answer.correction
        )
        d_energy = d_forces = float("nan")
        if answer.forces is not None:
            d_energy = error_of(answer.energy, sample.energy)
            d_forces = error_of(answer.forces, sample.forces.numpy())
        errors.append(matrix_errors(sample, correction, d_energy, d_forces))
    return errors


def error_of(predicted: NDArray[np.float64] | float, label: NDArray[np.floating] | float) -> float:
    """Mean absolute error; NaN without label, infinite if the prediction is not a number."""
    if not np.isfinite(label).all():
        return float("nan")
    error = float(np.abs(np.asarray(predicted) - label).mean())
    return error if np.isfinite(error) else float("inf")


def matrix_errors(
    sample: Sample, correction: NDArray[np.float64], energy_error: float = np.nan, force_error: float = np.nan
) -> MoleculeErrors:
    """Errors of H0 + correction, (s, A, A); zeros give those of the baseline.

    All are infinite if an element of the correction is not a number.  Where the label's matrix is in a larger
    basis, its orbital energies are compared, but there is no error of H: NaN; nor is there any of a label
    without H or of broken symmetry, energy and forces apart.
    """
    atoms = len(sample.graph.z)
    if not np.isfinite(correction).all():
        return MoleculeErrors(sample.name, atoms, *[float("inf")] * 8)
    if sample.energy_only:
        unknown = (float("nan"),) * 6
        return MoleculeErrors(sample.name, atoms, *unknown, abs(energy_error) / atoms, force_error)
    reference = sample.orbital_energies.numpy()
    predicted = sample.baseline + torch.from_numpy(correction)
    energies = solve_occupied(predicted, sample.overlap, sample.electrons).orbital_energies.numpy()
    occupied = [e[:n] - r[:n] for e, r, n in zip(energies, reference, sample.electrons, strict=True)]
    homo, lumo = (
        a - b
        for a, b in zip(
            frontier(energies, sample.electrons), frontier(reference, sample.electrons), strict=True
        )
    )
    return MoleculeErrors(
        name=sample.name,
        atoms=atoms,
        hamiltonian=float(np.abs(correction - sample.correction.numpy()).mean()) * 1e6,
        occupied=mean_absolute(np.concatenate(occupied)) * HARTREE_IN_EV,
        homo=abs(homo) * HARTREE_IN_EV,
        lumo=abs(lumo) * HARTREE_IN_EV,
        gap=abs(lumo - homo) * HARTREE_IN_EV,
        lumo_shift=lumo,
        energy=abs(energy_error) / atoms,
        forces=force_error,
    )


def mean_absolute(values: NDArray[np.float64]) -> float:
    """Mean of |x|; NaN if there is nothing to average, as for the occupied orbitals of a bare proton."""
    return float(np.abs(values).mean()) if values.size else float("nan")


def frontier(energies: NDArray[np.float64], electrons: Sequence[int]) -> tuple[float, float]:
    """HOMO and LUMO over all spins, Hartree; NaN where there is none, levels that are NaN being none."""
    homo = [row[n - 1] for row, n in zip(energies, electrons, strict=True) if n > 0]
    lumo = [row[n] for row, n in zip(energies, electrons, strict=True) if n < np.isfinite(row).sum()]
    return float(max(homo, default=np.nan)), float(min(lumo, default=np.nan))


def summarise(errors: Sequence[MoleculeErrors]) -> dict[str, float]:
    """Means over the molecules that have a quantity, the number of ghost LUMOs, and the molecule count."""
    names = ("hamiltonian", "occupied", "homo", "lumo", "gap", "energy")
    summary = {name: _mean_over_known(errors, name, [1] * len(errors)) for name in names}
    summary["forces"] = _mean_over_known(errors, "forces", [e.atoms for e in errors])
    summary["ghosts"] = float(sum(e.lumo_shift < GHOST for e in errors))
    summary["molecules"] = float(len(errors))
    return summary


def _mean_over_known(errors: Sequence[MoleculeErrors], name: str, weights: Sequence[int]) -> float:
    values = np.array([getattr(e, name) for e in errors])
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=np.array(weights)[known])) if known.any() else float("nan")
