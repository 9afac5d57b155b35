"""SCF steps from a predicted density: already one Fock matrix gives an energy, orbital energies and an error
bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import lib

from helm_ase.errors import SettingError
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import orthogonaliser_of_scf
from helm_ase.qc.response import coupled_polarizability

PySCFOrbitals = tuple[Any, Any, Any]
"""Energies, coefficients and occupations as PySCF shapes them."""


@dataclass(frozen=True)
class SCFStep:
    """Density with its Fock matrix and energy; s is 1 (closed shell) or 2 (α, β)."""

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
    """The last density for which a Fock matrix was built, with both and its energy."""
    fock: NDArray[np.float64]
    """Matrix that was diagonalised, that of the step or one extrapolated from several, Hartree, (s, A, A)."""
    mixed: NDArray[np.float64]
    """Densities extrapolated alike, which belong to ``fock``, (s, A, A); idempotent for one step only."""
    densities: NDArray[np.float64]
    """After the last diagonalisation, (s, A, A)."""
    harris_energy: float
    """E[D] + Tr F (D' − D) for the extrapolated D and F, D' the density of F's own orbitals: Harris and
    Foulkes' estimate of the converged energy, of second order in what is missing, Hartree."""


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
        self._walked: list[SCFStep] = []  # steps from the last density that was asked for
        self.overlap = self.mean_field.get_ovlp()
        self.core = self.mean_field.get_hcore()
        self.orthogonaliser = orthogonaliser_of_scf(self.overlap)  # (A, M)

    def build(self, densities: NDArray[np.float64]) -> SCFStep:
        """Fock matrix and energy of densities, (s, A, A): one grid integration and one Coulomb build."""
        density = self._for_pyscf(densities)
        potential = self.mean_field.get_veff(self.mole, density)
        fock = np.asarray(self.core + potential).reshape(densities.shape)
        energy = float(self.mean_field.energy_tot(density, self.core, potential))
        return SCFStep(densities, fock, energy)

    def solve(self, steps: Sequence[SCFStep]) -> Refined:
        """Orbitals of the Fock matrix that is extrapolated from several (DIIS), or of the only one."""
        weights = extrapolation(steps, self.overlap)
        focks, densities = np.stack([x.fock for x in steps]), np.stack([x.densities for x in steps])
        fock, mixed = (np.tensordot(weights, x, 1) for x in (focks, densities))
        _, after = self.diagonalise(fock)
        change = float(np.einsum("sab,sba->", fock, after - mixed))
        energy = mixed_energy(weights, [x.energy for x in steps], focks, densities)
        return Refined(steps[-1], fock, mixed, after, energy + change)

    def diagonalise(self, fock: NDArray[np.float64]) -> tuple[PySCFOrbitals, NDArray[np.float64]]:
        """Orbitals of a matrix, (s, A, A), and their aufbau densities, (s, A, A)."""
        x, mf = self.orthogonaliser, self.mean_field
        energies, vectors = np.linalg.eigh(x.T @ fock @ x)
        energies, orbitals = self._for_pyscf(energies), self._for_pyscf(x @ vectors)
        occupations = mf.get_occ(energies, orbitals)
        densities = np.asarray(mf.make_rdm1(orbitals, occupations)).reshape(fock.shape)
        return (energies, orbitals, occupations), densities

    def forces(self, densities: NDArray[np.float64], fock: NDArray[np.float64]) -> NDArray[np.float64]:
        """Analytic gradient at densities and their Fock matrix, Hartree/bohr, (N, 3).

        The densities, (s, A, A), are made idempotent first.  Pulay's term takes the energies that ``fock``,
        (s, A, A), gives to their own orbitals and not those of its eigenvectors: it belongs to the density of
        all other terms.  What the gradient misses is of first order in the error of the density.
        """
        orbitals = self.natural_orbitals(densities)
        mf = self._with(orbitals)
        mf.e_tot, mf.converged = 0.0, True  # PySCF's gradient asks for both and uses neither
        pure = np.asarray(mf.make_rdm1()).reshape(fock.shape)
        weighted = 0.5 * self.spins * pure @ fock @ pure
        gradient = mf.nuc_grad_method()
        gradient.make_rdm1e = lambda *_: self._for_pyscf(weighted)
        return -np.asarray(gradient.kernel())

    def natural_orbitals(self, densities: NDArray[np.float64]) -> PySCFOrbitals:
        """Eigenvectors of densities, (s, A, A), with as many filled as there are electrons."""
        x = self.orthogonaliser
        back = self.overlap @ x
        vectors = np.linalg.eigh(back.T @ densities @ back)[1][:, :, ::-1]
        filled = np.zeros((self.spins, x.shape[1]))
        for row, n in zip(filled, self.mole.nelec, strict=False):
            row[:n] = 2 / self.spins
        energies, orbitals, filled = map(self._for_pyscf, (np.zeros_like(filled), x @ vectors, filled))
        return energies, orbitals, filled

    def _for_pyscf(self, arrays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Without the axis of the spins where there is only one."""
        return arrays[0] if self.spins == 1 else arrays

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
        if not isinstance(steps, Integral) or isinstance(steps, bool) or steps < 1:
            raise SettingError(f"n_iterations is {steps!r}; a whole number of at least 1 is needed")
        if not self._walked or self._walked[0] is not first:
            self._walked = [first]
        done = self._walked
        while len(done) < steps:
            done.append(self.build(self.solve(done).densities))
        return self.solve(done[:steps])


def extrapolation(steps: Sequence[SCFStep], overlap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights, which sum to 1, that make Σ w (F D S − S D F) smallest (Pulay's DIIS), (steps,)."""
    diis = lib.diis.DIIS(incore=True)
    diis.space, diis.min_space = len(steps), 1
    for unit, step in zip(np.eye(len(steps)), steps, strict=True):
        product = step.fock @ step.densities @ overlap
        weights = diis.update(unit, xerr=product - product.swapaxes(1, 2))
    return np.asarray(weights)


def mixed_energy(
    weights: NDArray[np.float64], energies: Sequence[float], focks: NDArray[np.float64],
    densities: NDArray[np.float64],
) -> float:  # fmt: skip
    """E[Σ w D] of a functional of second degree in D, from E, F, (n, s, A, A), and D of each, Hartree.

    Kudin, Scuseria and Cancès' interpolation (J. Chem. Phys. 116, 8255, eq. 8), exact for Hartree–Fock.
    """
    traces = np.einsum("isab,jsba->ij", focks, densities)
    own = np.diag(traces)
    apart = own[:, None] - traces - traces.T + own  # Tr (F_i − F_j)(D_i − D_j)
    return float(weights @ np.asarray(energies) - 0.25 * weights @ apart @ weights)
