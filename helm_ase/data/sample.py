"""One molecule, ready for the network: graph and targets as tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from helm_ase.data.derived import Derived
from helm_ase.representation.graph import AtomicGraph
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.ordering import reordering


@dataclass(frozen=True)
class Sample:
    """Graph and targets; matrices in canonical AO order.  s is 1 in a closed shell and 2 in an open one."""

    name: str
    graph: AtomicGraph
    energy: float
    """eV; NaN if the label has none."""
    forces: Tensor
    """eV/Å, (N, 3), float32; NaN if the label has none."""
    correction: Tensor
    """H − H0, Hartree, (s, A, A), float32."""
    overlap: Tensor
    """S, (A, A), float64."""
    baseline: Tensor
    """H0, Hartree, (A, A), float64."""
    orbitals: Tensor
    """Reference orbitals, occupied and the lowest virtual ones, (s, A, M), float32, padded with zeros."""
    orbital_energies: Tensor
    """All reference orbital energies, Hartree, (s, A), float64."""
    electrons: tuple[int, ...]
    """Occupied orbitals of each spin, (s,)."""

    @property
    def load(self) -> int:
        """Atoms and pairs: what the network's time goes with."""
        return int(self.graph.pair_index.shape[1]) + int(self.graph.num_nodes)


def make_sample(
    label: LabelledMolecule, derived: Derived, shells: dict[int, tuple[int, ...]], cutoff: float
) -> Sample:
    """Turn a label and what follows from it into tensors.

    Parameters
    ----------
    label
        Matrices in PySCF's AO order.
    derived
        H0, S and orbitals, canonical order.
    shells
        Atomic number → degrees of its shells.
    cutoff
        Largest pair distance in Å.
    """
    degrees = [l for z in label.numbers.tolist() for l in shells[z]]
    index, sign = reordering(degrees, "pyscf", "e3nn")
    h = label.hamiltonian.reshape(-1, *label.hamiltonian.shape[-2:])[:, index[:, None], index]
    if (sign != 1).any():
        h = h * np.outer(sign, sign)
    n = len(label.numbers)
    forces = np.full((n, 3), np.nan) if label.forces is None else label.forces
    return Sample(
        name=label.name,
        graph=AtomicGraph.from_arrays(
            label.numbers, label.positions, cutoff, label.charge, label.multiplicity
        ),
        energy=float("nan") if label.energy is None else label.energy,
        forces=torch.from_numpy(forces).float(),
        correction=torch.from_numpy(h - derived.baseline).float(),
        overlap=torch.from_numpy(derived.overlap),
        baseline=torch.from_numpy(derived.baseline),
        orbitals=torch.from_numpy(derived.orbitals),
        orbital_energies=torch.from_numpy(derived.orbital_energies),
        electrons=derived.electrons,
    )
