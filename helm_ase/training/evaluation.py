"""Errors of a model on labelled molecules, per molecule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from helm_ase.data.batch import collate
from helm_ase.data.sample import Sample
from helm_ase.nn import HELM, trust_correction, trust_matrix
from helm_ase.units import HARTREE_IN_EV


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
    """eV."""
    lumo: float
    """eV."""
    gap: float
    """eV."""
    lumo_shift: float
    """Predicted − reference LUMO, Eh; a ghost state is far below zero."""
    energy: float
    """eV per atom; NaN if it was not asked for or the label has none."""
    forces: float
    """Mean over components, eV/Å; NaN as for the energy."""


@torch.no_grad()
def evaluate(
    model: HELM, samples: Sequence[Sample], energy: bool = True, batch: int = 8
) -> list[MoleculeErrors]:
    """Errors of a model on every sample."""
    model.eval()
    found = []
    for start in range(0, len(samples), batch):
        chunk = samples[start : start + batch]
        graph = collate(chunk).graph
        out = model(graph, energy=energy, forces=energy, hamiltonian=True)
        atoms = 0
        for k, sample in enumerate(chunk):
            size, n, spins = len(sample.overlap), len(sample.graph.z), len(sample.correction)
            correction = out.correction[k, :spins, :size, :size].double()
            if model.settings.trust_delta:
                correction = trust_correction(
                    correction, trust_matrix(sample.overlap, model.settings.trust_delta)
                )
            d_energy = (
                _error(out.energy[k : k + 1], torch.tensor([sample.energy], dtype=torch.float64))
                if energy
                else np.nan
            )
            d_forces = _error(out.forces[atoms : atoms + n], sample.forces) if energy else np.nan
            found.append(matrix_errors(sample, correction.numpy(), d_energy, d_forces))
            atoms += n
    return found


def _error(predicted: torch.Tensor, label: torch.Tensor) -> float:
    """Mean absolute error; NaN without label, infinite if the prediction is no number."""
    if not torch.isfinite(label).all():
        return float("nan")
    error = float((predicted - label).abs().mean())
    return error if np.isfinite(error) else float("inf")


def matrix_errors(
    sample: Sample, correction: NDArray[np.float64], energy_error: float = np.nan, force_error: float = np.nan
) -> MoleculeErrors:
    """Errors of H0 + correction, (s, A, A); zeros give those of the baseline."""
    overlap, reference = sample.overlap.numpy(), sample.orbital_energies.numpy()
    h0 = sample.baseline.numpy()
    energies = np.stack([scipy.linalg.eigh(h0 + c, overlap, eigvals_only=True) for c in correction])
    occupied = [(e - r)[:n] for e, r, n in zip(energies, reference, sample.electrons, strict=True)]
    homo, lumo = (
        a - b
        for a, b in zip(
            frontier(energies, sample.electrons), frontier(reference, sample.electrons), strict=True
        )
    )
    return MoleculeErrors(
        name=sample.name,
        atoms=len(sample.graph.z),
        hamiltonian=float(np.abs(correction - sample.correction.numpy()).mean()) * 1e6,
        occupied=float(np.abs(np.concatenate(occupied)).mean()) * HARTREE_IN_EV,
        homo=abs(homo) * HARTREE_IN_EV,
        lumo=abs(lumo) * HARTREE_IN_EV,
        gap=abs(lumo - homo) * HARTREE_IN_EV,
        lumo_shift=lumo,
        energy=abs(energy_error) / len(sample.graph.z),
        forces=force_error,
    )


def frontier(energies: NDArray[np.float64], electrons: Sequence[int]) -> tuple[float, float]:
    """HOMO and LUMO over all spins, Hartree; NaN where there is none."""
    homo = [row[n - 1] for row, n in zip(energies, electrons, strict=True) if n > 0]
    lumo = [row[n] for row, n in zip(energies, electrons, strict=True) if n < len(row)]
    return float(max(homo, default=np.nan)), float(min(lumo, default=np.nan))


def summarise(errors: Sequence[MoleculeErrors]) -> dict[str, float]:
    """Means over molecules, the number of ghost LUMOs, and the molecule count."""
    names = ("hamiltonian", "occupied", "homo", "lumo", "gap")
    summary = {name: float(np.mean([getattr(e, name) for e in errors])) for name in names}
    summary["energy"] = _mean_over_labelled(errors, "energy", [1] * len(errors))
    summary["forces"] = _mean_over_labelled(errors, "forces", [e.atoms for e in errors])
    summary["ghosts"] = float(sum(e.lumo_shift < -0.05 for e in errors))
    summary["molecules"] = float(len(errors))
    return summary


def _mean_over_labelled(errors: Sequence[MoleculeErrors], name: str, weights: Sequence[int]) -> float:
    values = np.array([getattr(e, name) for e in errors])
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=np.array(weights)[known])) if known.any() else float("nan")
