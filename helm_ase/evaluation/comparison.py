"""Comparison of a Hamiltonian with the reference of the same molecule: elements, orbitals, observables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.electronic import ElectronicStructure
from helm_ase.electronic.charges import mulliken_charges
from helm_ase.electronic.multipoles import dipole_moment
from helm_ase.evaluation.errors import GHOST, frontier, mean_absolute
from helm_ase.qc.molecule import build_mole, dipole_integrals
from helm_ase.representation import AOBasis, AOMatrix, LabelledMolecule
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM, HARTREE_IN_EV


@dataclass(frozen=True)
class MatrixErrors:
    """Errors of a Hamiltonian and of quantities computed from it; signed ones are predicted − reference."""

    hamiltonian: float
    """Mean absolute element, µEh."""
    hamiltonian_rms: float
    """Root mean square element, µEh; unlike the mean, the same in every orientation."""
    occupied: float
    """Mean absolute error of the occupied orbital energies, eV; NaN without electrons."""
    homo: float
    """Error of the HOMO with its sign, eV; NaN if there is none."""
    lumo: float
    """Error of the LUMO with its sign, eV; NaN if there is none."""
    gap: float
    """Error of the HOMO–LUMO gap with its sign, eV."""
    wavefunction: float
    """Mean |⟨C_ref| S |C⟩| over occupied orbitals by ascending energy, 1 if they are the same."""
    cosine: float
    """The same without S, |cos| of the coefficients, as the code of QHNet and QH9 has it."""
    subspace: float
    """Mean singular value of C_refᵀ S C over occupied orbitals, which does not depend on how they mix."""
    density: float
    """Mean absolute element of the density matrix."""
    misplaced: float
    """Number of electrons outside the occupied space of the reference, f Σ (1 − σ²)."""
    dipole: float
    """|μ − μ_ref|, e·Å."""
    charges: float
    """Mean absolute error of the Mulliken charges, e."""

    @property
    def ghost(self) -> bool:
        """Whether the LUMO is a ghost state, far below that of the reference."""
        return self.lumo < GHOST * HARTREE_IN_EV


@dataclass(frozen=True)
class Solution:
    """Orbitals and observables of one Hamiltonian."""

    structure: ElectronicStructure
    """Electronic structure in canonical AO order."""
    dipole: NDArray[np.float64]
    """e·Å, (3,)."""
    charges: NDArray[np.float64]
    """Mulliken charges, e, (N,)."""

    @property
    def frontier(self) -> tuple[float, float]:
        """HOMO and LUMO, eV; NaN where there is none."""
        levels = self.structure.orbital_energies.numpy()
        homo, lumo = frontier(levels, self.structure.occupied)
        return homo * HARTREE_IN_EV, lumo * HARTREE_IN_EV


class Molecule:
    """Geometry and integrals of a label, with which orbitals and observables of a Hamiltonian are computed.

    Parameters
    ----------
    label
        Geometry and state.
    basis
        Shells of every element.
    overlap
        S, canonical AO order, (A, A).
    """

    def __init__(self, label: LabelledMolecule, basis: AOBasis, overlap: Tensor) -> None:
        self.label, self.basis, self.overlap = label, basis, overlap
        self.mole: Any = build_mole(
            label.numbers, label.positions, basis.name, label.charge, label.multiplicity
        )
        self._position = torch.from_numpy(dipole_integrals(self.mole, basis))
        sizes = torch.from_numpy(basis.offsets(label.numbers)).diff()
        self._atom = torch.repeat_interleave(sizes)
        self._nuclei = torch.as_tensor(self.mole.atom_charges(), dtype=torch.float64)
        self._places = torch.as_tensor(self.mole.atom_coords(), dtype=torch.float64)

    def solve(self, hamiltonian: NDArray[np.float64]) -> Solution:
        """Orbitals and observables of a Hamiltonian, Hartree, canonical AO order, (s, A, A)."""
        structure = ElectronicStructure.solve(
            torch.from_numpy(hamiltonian),
            self.overlap,
            self.basis.electrons(self.label.numbers, self.label.charge),
            self.label.multiplicity,
        )
        density = structure.density_matrix
        dipole = dipole_moment(density, self._position, self._nuclei, self._places)
        charges = mulliken_charges(density, self.overlap, self._nuclei, self._atom)
        return Solution(structure, dipole.numpy() * ATOMIC_DIPOLE_IN_E_ANGSTROM, charges.numpy())

    def reference(self) -> Solution:
        """Orbitals and observables of the label's own Hamiltonian."""
        return self.solve(canonical(self.label, self.basis))

    @property
    def label_dipole(self) -> NDArray[np.float64] | None:
        """The label's own dipole, e·Å, (3,); None if it has none."""
        return None if self.label.dipole is None else self.label.dipole * ATOMIC_DIPOLE_IN_E_ANGSTROM


def canonical(label: LabelledMolecule, basis: AOBasis) -> NDArray[np.float64]:
    """The label's Hamiltonian in canonical AO order, Hartree, (s, A, A)."""
    of_spins = [AOMatrix(h, label.numbers, basis, "pyscf") for h in label.matrices]
    return np.stack([matrix.reorder("e3nn").values for matrix in of_spins])


def compare(
    predicted: Solution, reference: Solution, dipole: NDArray[np.float64] | None = None
) -> MatrixErrors:
    """Errors of a solution.

    Parameters
    ----------
    predicted, reference
        Solutions of one molecule.
    dipole
        Dipole to compare with, e·Å, (3,); absent: that of the reference's Hamiltonian.
    """
    ours, theirs = predicted.structure, reference.structure
    difference = (ours.hamiltonian - theirs.hamiltonian).numpy()
    (homo, lumo), (homo_ref, lumo_ref) = predicted.frontier, reference.frontier
    levels = (ours.orbital_energies - theirs.orbital_energies).numpy() * HARTREE_IN_EV
    occupied = [row[:n] for row, n in zip(levels, theirs.occupied, strict=True)]
    overlaps, cosines, singular = _orbital_agreement(ours, theirs)
    density = (ours.density_matrix - theirs.density_matrix).numpy()
    return MatrixErrors(
        hamiltonian=float(np.abs(difference).mean()) * 1e6,
        hamiltonian_rms=float(np.sqrt(np.square(difference).mean())) * 1e6,
        occupied=mean_absolute(np.concatenate(occupied)),
        homo=homo - homo_ref,
        lumo=lumo - lumo_ref,
        gap=(lumo - homo) - (lumo_ref - homo_ref),
        wavefunction=mean_absolute(overlaps),
        cosine=mean_absolute(cosines),
        subspace=mean_absolute(singular),
        density=float(np.abs(density).mean()),
        misplaced=float((1 - np.square(singular)).clip(min=0).sum()) * 2 / theirs.n_spins,
        dipole=float(np.linalg.norm(predicted.dipole - (reference.dipole if dipole is None else dipole))),
        charges=float(np.abs(predicted.charges - reference.charges).mean()),
    )


def _orbital_agreement(
    ours: ElectronicStructure, theirs: ElectronicStructure
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Overlaps, cosines and singular values over the occupied orbitals of all spins."""
    overlaps, cosines, singular = [], [], []
    for c, r, n in zip(ours.orbitals, theirs.orbitals, theirs.occupied, strict=True):
        c, r = c[:, :n], r[:, :n]
        product = r.T @ ours.overlap @ c  # (n, n)
        overlaps.append(torch.diagonal(product))
        cosines.append(torch.nn.functional.cosine_similarity(c, r, dim=0))
        singular.append(torch.linalg.svdvals(product))
    return torch.cat(overlaps).numpy(), torch.cat(cosines).numpy(), torch.cat(singular).numpy()
