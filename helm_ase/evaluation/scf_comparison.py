"""PySCF on a predicted Hamiltonian: its energy, and an SCF that starts from its density."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.electronic import ElectronicStructure
from helm_ase.errors import SCFError
from helm_ase.qc.convergence import converge
from helm_ase.qc.scf_steps import SelfConsistency
from helm_ase.representation import AOBasis, AOMatrix, LabelledMolecule, LevelOfTheory

MAX_CYCLES = 100
"""Largest number of cycles of one SCF."""


def energy_of_density(
    mole: Any, label: LabelledMolecule, structure: ElectronicStructure, basis: AOBasis, level: LevelOfTheory
) -> float:
    """E[D(H)], Hartree: the functional evaluated once at the density that a Hamiltonian implies.

    Parameters
    ----------
    mole
        PySCF ``Mole`` of the label.
    label
        Geometry and state.
    structure
        Orbitals of the Hamiltonian, canonical AO order.
    basis, level
        Shells of every element; level of theory of the functional.
    """
    densities = np.stack([_to_pyscf(d, label, basis) for d in structure.spin_densities.numpy()])
    return SelfConsistency(mole, level, structure.n_spins).build(densities).energy


@dataclass(frozen=True)
class SCFComparison:
    """Comparison of two SCF calculations of one molecule that differ only in their initial guess."""

    cycles: int
    """From the density of the predicted Hamiltonian."""
    cycles_minao: int
    """From PySCF's own guess."""
    difference: float
    """Energy of the first − that of the second, Hartree: zero if both end in the same state."""

    @property
    def ratio(self) -> float:
        """Cycles of the first over those of the second."""
        return self.cycles / self.cycles_minao


def compare_scf(
    mole: Any,
    label: LabelledMolecule,
    structure: ElectronicStructure,
    basis: AOBasis,
    level: LevelOfTheory,
) -> SCFComparison | None:
    """Converge a molecule from the density of a predicted Hamiltonian and from PySCF's ``minao``.

    Parameters
    ----------
    mole
        PySCF ``Mole`` of the label.
    label
        Geometry and state.
    structure
        Orbitals of the predicted Hamiltonian, canonical AO order.
    basis, level
        Shells of every element; level of theory, which holds the thresholds.

    Returns
    -------
    SCFComparison or None
        None if one of the two does not converge.
    """
    spins = structure.spin_densities if label.multiplicity > 1 else structure.density_matrix[None]
    densities = np.stack([_to_pyscf(d, label, basis) for d in spins.numpy()])
    density = densities if label.multiplicity > 1 else densities[0]
    try:
        ours = converge(mole, level, MAX_CYCLES, lambda _: density, ("model",))
        theirs = converge(mole, level, MAX_CYCLES, None, ("diis",))
    except SCFError:
        return None
    difference = float(ours.mean_field.e_tot - theirs.mean_field.e_tot)
    return SCFComparison(ours.cycles, theirs.cycles, difference)


def _to_pyscf(matrix: NDArray[np.float64], label: LabelledMolecule, basis: AOBasis) -> NDArray[np.float64]:
    return AOMatrix(matrix, label.numbers, basis).reorder("pyscf").values
