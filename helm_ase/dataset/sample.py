"""Training sample: graph and targets of one molecule, as tensors."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.dataset.derived import Derived
from helm_ase.dataset.targets import Targets, make_targets
from helm_ase.representation.graph import AtomicGraph
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.ordering import reordering
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM


@dataclass(frozen=True)
class Sample:
    """Graph and targets; matrices in canonical AO order.  s is 1 in a closed shell and 2 in an open one.

    Where the model has a smaller basis than the label, A are its functions, and there is no matrix for it.
    """

    name: str
    graph: AtomicGraph
    energy: float
    """Energy minus that of the energy baseline, E − E0, eV; NaN if the label has none."""
    forces: Tensor
    """Forces minus those of the energy baseline, eV/Å, (N, 3), float32; NaN if the label has none."""
    correction: Tensor
    """H − H0, Hartree, (s, A, A), float32; NaN where the label has a larger basis or no matrix."""
    overlap: Tensor
    """S, (A, A), float64."""
    baseline: Tensor
    """H0, Hartree, (A, A), float64; of an open shell whose spins it tells apart (2, A, A)."""
    orbitals: Tensor
    """Reference orbitals, occupied and the lowest virtual ones, (s, A, M), float32, padded with zeros."""
    orbital_energies: Tensor
    """All reference orbital energies, Hartree, (s, A), float64, NaN at the end where nearly dependent
    functions were dropped; of a label in a larger basis only those of ``orbitals``, (s, M)."""
    electrons: tuple[int, ...]
    """Occupied orbitals of each spin, (s,)."""
    targets: Targets | None = None
    """Observables, where they were asked for."""
    energy_only: bool = False
    """Whether only energy and forces can be learnt: the label has no Hamiltonian, is a singlet of broken
    symmetry, or matrices were not asked for."""

    @property
    def has_matrix(self) -> bool:
        """Whether there is a matrix to compare with: not of a larger basis, nor where ``energy_only``."""
        return self.correction.numel() > 0 and bool(torch.isfinite(self.correction[0, 0, 0]))

    @property
    def load(self) -> int:
        """Atoms and pairs: what the network's time goes with."""
        return self.graph.load


def make_sample(
    label: LabelledMolecule,
    derived: Derived,
    shells: dict[int, tuple[int, ...]],
    cutoff: float,
    position: NDArray[np.float64] | None = None,
    coupled: bool = False,
) -> Sample:
    """Turn a label and what follows from it into tensors.

    Parameters
    ----------
    label
        Matrices in PySCF's AO order.
    derived
        H0, S and orbitals, canonical order.
    shells
        Atomic number → degrees of its shells in the basis of the model.
    cutoff
        Largest pair distance in Å.
    position
        Integrals of the position, (3, A, A), bohr; they ask for the observables.
    coupled
        Aim at the label's coupled polarizability, where it has one, and not at the uncoupled one of its H.
    """
    energy_only = not (label.determines_hamiltonian and len(derived.overlap))
    if energy_only:
        derived = _without_orbitals(derived, 1 if label.multiplicity == 1 else 2)
    correction = torch.from_numpy(_correction(label, derived, shells)).float()
    n = len(label.numbers)
    energy = float("nan") if label.energy is None else label.energy
    forces = np.full((n, 3), np.nan) if label.forces is None else label.forces
    if (e0 := derived.energy_baseline) is not None:
        energy = energy - e0.energy * HARTREE_IN_EV
        forces = forces + e0.gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    return Sample(
        name=label.name,
        graph=AtomicGraph.from_arrays(
            label.numbers, label.positions, cutoff, label.charge, label.multiplicity
        ),
        energy=energy,
        forces=torch.from_numpy(forces).float(),
        correction=correction,
        overlap=torch.from_numpy(derived.overlap),
        baseline=torch.from_numpy(derived.baseline),
        orbitals=torch.from_numpy(derived.orbitals),
        orbital_energies=torch.from_numpy(derived.orbital_energies),
        electrons=derived.electrons,
        targets=None if position is None else _targets(label, derived, correction, shells, position, coupled),
        energy_only=energy_only,
    )


def _correction(
    label: LabelledMolecule, derived: Derived, shells: dict[int, tuple[int, ...]]
) -> NDArray[np.float64]:
    """H − H0 in canonical AO order, (s, A, A)."""
    if derived.large is not None or not label.determines_hamiltonian or not len(derived.overlap):
        return np.full((len(derived.electrons), *derived.overlap.shape), np.nan)
    degrees = [l for z in label.numbers.tolist() for l in shells[z]]
    index, sign = reordering(degrees, "pyscf", "e3nn")
    h = label.matrices[:, index[:, None], index]
    if (sign != 1).any():
        h = h * np.outer(sign, sign)
    return np.asarray(h - derived.baseline)


def _without_orbitals(derived: Derived, spins: int) -> Derived:
    """A molecule of which no orbital is known."""
    (_, functions, width), levels = derived.orbitals.shape, derived.orbital_energies.shape[1]
    return replace(
        derived,
        orbitals=np.zeros((spins, functions, width), dtype=np.float32),
        orbital_energies=np.full((spins, levels), np.nan),
        electrons=derived.electrons[:spins],
    )


def _targets(
    label: LabelledMolecule, derived: Derived, correction: Tensor, shells: dict[int, tuple[int, ...]],
    position: NDArray[np.float64], coupled: bool,
) -> Targets:  # fmt: skip
    sizes = [sum(2 * l + 1 for l in shells[z]) for z in label.numbers.tolist()]
    alpha = None
    if coupled:
        alpha = np.full((3, 3), np.nan) if label.polarizability is None else label.polarizability
    atom = np.repeat(np.arange(len(sizes)), sizes)
    return make_targets(derived, correction.double().nan_to_num().numpy(), position, atom, alpha)
