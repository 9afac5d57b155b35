"""SCF steps from a predicted density: one Fock matrix already gives energy, levels and an error bar."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import SettingError
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.response import coupled_polarizability

PySCFOrbitals = tuple[Any, Any, Any]
"""Energies, coefficients and occupations as PySCF shapes them."""


@dataclass(frozen=True)
class SCFStep:
    """A density and what the functional says about it; s is 1 (closed shell) or 2 (α, β)."""

    densities: NDArray[np.float64]
    """D, PySCF AO order, (s, A, A)."""
    fock: NDArray[np.float64]
    """F[D], Hartree, (s, A, A)."""
    energy: float
    """E[D], Hartree; above the converged one by the square of the error of D."""


@dataclass(frozen=True)
class Refined:
    """The last of one or a few SCF steps."""

    step: SCFStep
    """Density before the last diagonalisation, with its Fock matrix and energy."""
    fock: NDArray[np.float64]
    """Matrix that was diagonalised, that of the step or one extrapolated from several, Hartree, (s, A, A)."""
    densities: NDArray[np.float64]
    """After the last diagonalisation, (s, A, A)."""
    harris_energy: float
    """E[D] + Tr F[D] (D' − D), D' the density of F[D]'s own orbitals: Harris and Foulkes' estimate of the
    converged energy, also of second order, Hartree."""
    orbitals: PySCFOrbitals


class SelfConsistency:
    """The SCF problem of one molecule, walked step by step from a given density.

    Parameters
    ----------
    mole
        PySCF ``Mole``.
    level
        Level of theory.
    spins
        Matrices of the prediction: 2 makes an unrestricted calculation also of a singlet.
    """

    def __init__(self, mole: Any, level: LevelOfTheory, spins: int) -> None:
        self.mean_field = kohn_sham(mole, level)
        if spins == 2 and mole.spin == 0:
            self.mean_field = self.mean_field.to_uks()
        self.mole, self.spins = mole, spins
        self.overlap = self.mean_field.get_ovlp()
        self.core = self.mean_field.get_hcore()

    def build(self, densities: NDArray[np.float64]) -> SCFStep:
        """Fock matrix and energy of densities, (s, A, A): one grid integration and one Coulomb build."""
        density = densities[0] if self.spins == 1 else densities
        potential = self.mean_field.get_veff(self.mole, density)
        fock = np.asarray(self.core + potential).reshape(densities.shape)
        energy = float(self.mean_field.energy_tot(density, self.core, potential))
        return SCFStep(densities, fock, energy)

    def solve(self, step: SCFStep, fock: NDArray[np.float64] | None = None) -> Refined:
        """Orbitals of a step's Fock matrix, or of one extrapolated from several."""
        orbitals, after = self.diagonalise(step.fock)
        change = float(np.einsum("sab,sba->", step.fock, after - step.densities))
        if fock is not None:
            orbitals, after = self.diagonalise(fock)
        return Refined(step, step.fock if fock is None else fock, after, step.energy + change, orbitals)

    def diagonalise(self, fock: NDArray[np.float64]) -> tuple[PySCFOrbitals, NDArray[np.float64]]:
        """Orbitals of a matrix, (s, A, A), and their aufbau densities, (s, A, A)."""
        mf = self.mean_field
        energies, orbitals = mf.eig(fock[0] if self.spins == 1 else fock, self.overlap)
        occupations = mf.get_occ(energies, orbitals)
        densities = np.asarray(mf.make_rdm1(orbitals, occupations)).reshape(fock.shape)
        return (energies, orbitals, occupations), densities

    def forces(self, orbitals: PySCFOrbitals, energy: float) -> NDArray[np.float64]:
        """Analytic forces at orbitals of an energy in Hartree, Hartree/bohr, (N, 3).

        They take the orbitals as converged; what is missing is of first order in what a further step changes.
        """
        mf = self._with(orbitals)
        mf.e_tot, mf.converged = energy, True
        return -np.asarray(mf.nuc_grad_method().kernel())

    def coupled_polarizability(self, orbitals: PySCFOrbitals) -> NDArray[np.float64]:
        """Static polarizability with the full response of orbitals that are taken as converged, a0³, (3, 3).

        Raises
        ------
        SCFError
            If the coupled-perturbed equations do not converge.
        """
        return coupled_polarizability(self._with(orbitals))

    def _with(self, orbitals: PySCFOrbitals) -> Any:
        self.mean_field.mo_energy, self.mean_field.mo_coeff, self.mean_field.mo_occ = orbitals
        return self.mean_field

    def iterate(self, first: SCFStep, steps: int) -> Refined:
        """So many Fock matrices, ``first`` among them, extrapolated as an SCF does (DIIS) from the second on.

        Raises
        ------
        SettingError
            If there is to be none.
        """
        if steps < 1:
            raise SettingError(f"n_iterations is {steps}; at least 1 is needed")
        found = self.solve(first)
        if steps == 1:
            return found
        extrapolation = self.mean_field.DIIS(self.mean_field)
        shape = (0, ...) if self.spins == 1 else ...
        extrapolation.update(self.overlap, first.densities[shape], first.fock[shape])
        for _ in range(steps - 1):
            step = self.build(found.densities)
            mixed = extrapolation.update(self.overlap, step.densities[shape], step.fock[shape])
            found = self.solve(step, np.asarray(mixed).reshape(step.fock.shape))
        return found
