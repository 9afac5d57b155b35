"""Statistics of a training set by element, computed in one pass with bounded memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.dataset.sample import Sample


@dataclass(frozen=True)
class ElementStatistics:
    """Sums over a data set; rows belong to ``elements``."""

    elements: tuple[int, ...]
    """Atomic numbers, ascending."""
    molecules: int
    atoms: NDArray[np.int64]
    """Atoms of each element."""
    pairs: NDArray[np.int64]
    """Pairs of each two elements within the cutoff, upper triangle filled, (n, n)."""
    reference_energies: NDArray[np.float64]
    """eV per atom, the least-squares share of the total energies; zero without energies."""
    state_energies: Mapping[tuple[int, int], float]
    """(Charge, multiplicity) other than (0, 1) → eV per molecule, from the same fit."""
    energy_scale: float
    """Root mean square of what remains, eV per atom; NaN without energies."""
    force_scale: NDArray[np.float64]
    """Root mean square force component on each element, eV/Å; NaN without forces."""


def element_statistics(samples: Iterable[Sample], elements: tuple[int, ...]) -> ElementStatistics:
    """Collect the statistics of samples.

    Parameters
    ----------
    samples
        Read one after the other and not kept.
    elements
        Atomic numbers that may occur; an element that never does has a reference energy of zero.
    """
    n = len(elements)
    row = torch.full((max(elements) + 1,), -1)
    row[list(elements)] = torch.arange(n)
    atoms, pairs = np.zeros(n, np.int64), np.zeros((n, n), np.int64)
    forces, forced = np.zeros(n), np.zeros(n)
    compositions, states, energies, molecules = [], [], [], 0
    for sample in samples:
        molecules += 1
        index = row[sample.graph.z]
        counts = torch.bincount(index, minlength=n).numpy()
        atoms += counts
        first, second = np.sort(index[sample.graph.pair_index].numpy(), axis=0)
        np.add.at(pairs, (first, second), 1)
        if np.isfinite(sample.energy):
            compositions.append(counts.astype(np.float64))
            states.append((int(sample.graph.charge), int(sample.graph.multiplicity)))
            energies.append(sample.energy)
        known = torch.isfinite(sample.forces).all(1)
        np.add.at(forces, index[known].numpy(), sample.forces[known].double().square().mean(1).numpy())
        forced += torch.bincount(index[known], minlength=n).numpy()
    reference, of_states, scale = _fit_references(compositions, states, energies, n)
    with np.errstate(invalid="ignore"):
        force_scale = np.sqrt(forces / np.where(forced > 0, forced, np.nan))
    return ElementStatistics(elements, molecules, atoms, pairs, reference, of_states, scale, force_scale)


def _fit_references(
    compositions: list[NDArray[np.float64]], states: list[tuple[int, int]], energies: list[float],
    elements: int,
) -> tuple[NDArray[np.float64], dict[tuple[int, int], float], float]:  # fmt: skip
    """Energies of elements and states by least squares; the rest, eV per atom."""
    if not energies:
        return np.zeros(elements), {}, float("nan")
    counts, values = np.stack(compositions), np.array(energies)
    special = sorted(set(states) - {(0, 1)}) if (0, 1) in states else []
    columns = np.array([[state == s for s in special] for state in states]).reshape(len(states), -1)
    matrix = np.concatenate([counts, columns], axis=1)
    references, *_ = np.linalg.lstsq(matrix, values, rcond=None)
    rest = (values - matrix @ references) / counts.sum(1)
    of_states = dict(zip(special, references[elements:].tolist(), strict=True))
    return references[:elements], of_states, float(np.sqrt((rest**2).mean()))
