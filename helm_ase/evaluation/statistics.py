"""Statistics over molecules: the numbers in the tables of an assessment."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from helm_ase.evaluation.assessment import HamiltonianErrors, MoleculeReport
from helm_ase.units import HARTREE_IN_EV

SIZE_CLASSES = (1, 5, 9, 13, 17, 25, 41, 81)
"""Smallest number of atoms in each class of sizes."""


@dataclass(frozen=True)
class Quantity:
    """One line of the table; its numbers are those of :attr:`unit`."""

    title: str
    unit: str
    of: Callable[[MoleculeReport, HamiltonianErrors], float]
    """Signed error on a molecule, or a similarity."""
    per_atom: bool = False
    """Whether the mean is over atoms, i.e. over all force components alike."""
    of_matrix: bool = True
    """Whether H0 alone has it as well."""
    similarity: bool = False
    """Whether 1 is perfect and the sign means nothing."""


QUANTITIES: Mapping[str, Quantity] = {
    "hamiltonian": Quantity("H, mean absolute element", "µEh", lambda m, j: j.errors.hamiltonian),
    "hamiltonian_rms": Quantity("H, root mean square", "µEh", lambda m, j: j.errors.hamiltonian_rms),
    "occupied": Quantity("occupied levels", "eV", lambda m, j: j.errors.occupied),
    "homo": Quantity("HOMO", "eV", lambda m, j: j.errors.homo),
    "lumo": Quantity("LUMO", "eV", lambda m, j: j.errors.lumo),
    "gap": Quantity("gap", "eV", lambda m, j: j.errors.gap),
    "wavefunction": Quantity("ψ, overlap of orbitals", "%", lambda m, j: 100 * j.errors.wavefunction,
                             similarity=True),
    "cosine": Quantity("ψ, cosine of coefficients", "%", lambda m, j: 100 * j.errors.cosine, similarity=True),
    "subspace": Quantity("ψ, occupied space", "%", lambda m, j: 100 * j.errors.subspace, similarity=True),
    "density": Quantity("density matrix, mean element", "1e-6", lambda m, j: 1e6 * j.errors.density),
    "misplaced": Quantity("misplaced electrons", "me", lambda m, j: 1e3 * j.errors.misplaced),
    "dipole": Quantity("dipole", "me·Å", lambda m, j: 1e3 * j.errors.dipole),
    "charges": Quantity("Mulliken charges", "me", lambda m, j: 1e3 * j.errors.charges),
    "energy_from_h": Quantity("energy from H", "meV/atom", lambda m, j: 1e3 * j.energy_from_h / m.atoms),
    "energy_from_h_molecule": Quantity("energy from H", "meV/molecule", lambda m, j: 1e3 * j.energy_from_h),
    "energy": Quantity("energy", "meV/atom", lambda m, j: 1e3 * m.energy / m.atoms, of_matrix=False),
    "energy_molecule": Quantity("energy", "meV/molecule", lambda m, j: 1e3 * m.energy, of_matrix=False),
    "forces": Quantity("forces", "meV/Å", lambda m, j: 1e3 * m.forces, per_atom=True, of_matrix=False),
}  # fmt: skip
"""Name → what is tabulated, in the order of the table."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of absolute errors (or similarities) over molecules."""

    molecules: int
    """Number of molecules that have the quantity; if there are none, all other numbers are NaN."""
    mean: float
    median: float
    tail: float
    """95th percentile of an error, 5th of a similarity."""
    worst: float
    bias: float
    """Mean signed error; NaN for a similarity."""


def values(name: str, reports: Iterable[MoleculeReport], baseline: bool = False) -> NDArray[np.float64]:
    """A quantity on every molecule, signed; NaN where there is none."""
    of = QUANTITIES[name].of
    return np.array([of(r, r.baseline if baseline else r.model) for r in reports], dtype=np.float64)


def statistics(name: str, reports: Sequence[MoleculeReport], baseline: bool = False) -> Statistics:
    """Statistics of a quantity of the model, or of H0 alone."""
    quantity, signed = QUANTITIES[name], values(name, reports, baseline)
    known = ~np.isnan(signed)
    if not known.any():
        return Statistics(0, *[float("nan")] * 5)
    atoms = np.array([r.atoms for r in reports], dtype=np.float64)[known]
    signed = signed[known]
    size = np.abs(signed)
    return Statistics(
        molecules=int(known.sum()),
        mean=float(np.average(size, weights=atoms if quantity.per_atom else None)),
        median=float(np.median(size)),
        tail=float(np.percentile(size, 5 if quantity.similarity else 95)),
        worst=float(size.min() if quantity.similarity else size.max()),
        bias=float("nan") if quantity.similarity else float(signed.mean()),
    )


def ghosts(reports: Iterable[MoleculeReport], baseline: bool = False) -> int:
    """Number of molecules with a LUMO far too low."""
    return sum((r.baseline if baseline else r.model).errors.ghost for r in reports)


@dataclass(frozen=True)
class SCFSummary:
    """SCF cycles from the predicted density against those from ``minao``."""

    molecules: int
    """On which both converged."""
    ratio: float
    ratio_std: float
    """Over molecules, of a sample (n − 1); NaN for a single one."""
    cycles: float
    """Mean."""
    cycles_minao: float
    """Mean."""
    largest_difference: float
    """Between the two energies, eV: anything but rounding means another state."""


def scf_summary(reports: Iterable[MoleculeReport]) -> SCFSummary | None:
    """Summary of the SCF comparisons; None if there are none."""
    comparisons = [r.scf for r in reports if r.scf is not None]
    if not comparisons:
        return None
    ratios = np.array([s.ratio for s in comparisons])
    return SCFSummary(
        len(comparisons),
        float(ratios.mean()),
        float(ratios.std(ddof=1)) if len(ratios) > 1 else float("nan"),
        float(np.mean([s.cycles for s in comparisons])),
        float(np.mean([s.cycles_minao for s in comparisons])),
        max(abs(s.difference) for s in comparisons) * HARTREE_IN_EV,
    )


def by_size(reports: Iterable[MoleculeReport]) -> dict[str, list[MoleculeReport]]:
    """Molecules by class of their number of atoms, small ones first; empty classes are left out."""
    names = [f"{a}-{b - 1}" for a, b in pairwise(SIZE_CLASSES)]
    names.append(f"{SIZE_CLASSES[-1]} and more")
    groups: dict[str, list[MoleculeReport]] = {name: [] for name in names}
    for report in reports:
        groups[names[int(np.searchsorted(SIZE_CLASSES, report.atoms, side="right")) - 1]].append(report)
    return {name: members for name, members in groups.items() if members}


def by_heavy_atoms(reports: Iterable[MoleculeReport]) -> dict[str, list[MoleculeReport]]:
    """Molecules by their number of atoms that are not hydrogen."""
    groups: dict[int, list[MoleculeReport]] = {}
    for report in reports:
        groups.setdefault(report.heavy_atoms, []).append(report)
    return {str(n): groups[n] for n in sorted(groups)}


def by_state(reports: Iterable[MoleculeReport]) -> dict[str, list[MoleculeReport]]:
    """Molecules by charge and spin; an ion with unpaired electrons is among the open shells."""
    groups: dict[str, list[MoleculeReport]] = {
        name: [] for name in ("neutral closed shells", "cations", "anions", "open shells")
    }
    for report in reports:
        closed = (
            "cations" if report.charge > 0 else "anions" if report.charge < 0 else "neutral closed shells"
        )
        groups[closed if report.multiplicity == 1 else "open shells"].append(report)
    return {name: members for name, members in groups.items() if members}
