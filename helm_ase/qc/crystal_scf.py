"""Kohn–Sham calculations of crystals, and derivatives of their free energy by central differences.

PySCF has analytic gradients for them on the FFT grid only, where a frame takes up to ten times its SCF and
gigabytes of memory.  Differences restart from the density of the undisplaced crystal, on the same grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import SCFError, StructureError
from helm_ase.qc.crystal import build_cell
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

STEP = 0.01
"""Å, of an atom in both directions."""

STRAIN = 0.003
"""Strain of the cell in both directions."""


@dataclass(frozen=True)
class CrystalSCF:
    """How a crystal is computed."""

    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    lattice: Lattice
    level: LevelOfTheory
    mesh: tuple[int, int, int]
    """Γ-centred."""
    max_cycles: int = 60

    def converge(self, start: Any = None) -> Any:
        """Converged KRKS object of PySCF on the mesh, with time reversal, Fermi-smeared if the level says so.

        Parameters
        ----------
        start
            A converged object of a crystal nearby: its density is the first guess, its grid the grid, and
            there is as much vacuum as there.

        Raises
        ------
        SCFError
            If it does not converge.
        BasisError, StructureError
            If the crystal cannot be set up.
        """
        from pyscf.pbc import dft
        from pyscf.pbc.scf.addons import smearing_

        heights = None
        if start is not None:
            heights = np.linalg.norm(start.cell.lattice_vectors(), axis=1) * BOHR_IN_ANGSTROM
        cell = build_cell(self.numbers, self.positions, self.lattice, self.level, heights)
        if start is not None:
            cell.ke_cutoff, cell.mesh = None, start.cell.mesh
        points = cell.make_kpts(self.mesh, time_reversal_symmetry=True)
        mf = dft.KRKS(cell, points, xc=self.level.functional).multigrid_numint()
        mf.conv_tol, mf.max_cycle, mf.verbose = self.level.conv_tol, self.max_cycles, 0
        if self.level.smearing:
            mf = smearing_(mf, sigma=self.level.smearing, method="fermi")
        remember_operators(mf)
        mf.kernel(dm0=None if start is None else start.make_rdm1())
        if not mf.converged:
            raise SCFError(f"not converged after {self.max_cycles} cycles")
        return mf

    def free_energy(self, mf: Any) -> float:
        """Free energy of a converged calculation, eV per cell."""
        return float(mf.e_free if self.level.smearing else mf.e_tot) * HARTREE_IN_EV


def remember_operators(mf: Any) -> None:
    """Have an SCF keep its one-electron matrix and its last potential, which cost as much as two cycles more.

    The attribute ``last_potential`` then belongs to the orbitals that the SCF ends with.
    """
    core, potential = mf.get_hcore(), mf.get_veff

    def get_veff(*given: Any, **named: Any) -> Any:
        mf.last_potential = potential(*given, **named)
        return mf.last_potential

    mf.get_hcore, mf.get_veff = lambda *_given, **_named: core, get_veff


def forget_operators(mf: Any) -> None:
    """Undo :func:`remember_operators`: what is kept belongs to the mesh, and bands need other points."""
    del mf.get_hcore, mf.get_veff


def fock_and_overlap(mf: Any, mesh: Sequence[int]) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """F(k), Hartree, and S(k) of a converged calculation at the points of ``KMesh.kpts``, (K, A, A) each."""
    kept = kept_points(mesh)
    fock = mf.kpts.transform_fock(np.asarray(mf.get_hcore() + mf.last_potential))
    overlap = mf.kpts.transform_1e_operator(np.asarray(mf.get_ovlp()))
    return np.asarray(fock, np.complex128)[kept], np.asarray(overlap, np.complex128)[kept]


def forces_by_differences(crystal: CrystalSCF, start: Any) -> NDArray[np.float64]:
    """−∂F/∂r of the free energy, eV/Å, (N, 3); 6 (N − 1) SCFs.

    The last atom's is what the others leave: all forces sum to zero.
    """
    forces = np.zeros_like(crystal.positions)
    for atom in range(len(forces) - 1):
        for axis in range(3):
            ends = []
            for sign in (1, -1):
                moved = crystal.positions.copy()
                moved[atom, axis] += sign * STEP
                one = replace(crystal, positions=moved)
                ends.append(one.free_energy(one.converge(start)))
            forces[atom, axis] = -(ends[0] - ends[1]) / (2 * STEP)
    forces[-1] = -forces[:-1].sum(0)
    return forces


def stress_by_differences(crystal: CrystalSCF, start: Any) -> NDArray[np.float64]:
    """∂F/∂ε over the volume, eV/Å³, (3, 3); 12 SCFs.

    Raises
    ------
    StructureError
        If the crystal is not periodic in three directions: there is no volume to speak of.
    """
    if crystal.lattice.dimensions != 3:
        raise StructureError("the stress of slabs and chains depends on the vacuum: labels of bulk have one")
    stress = np.zeros((3, 3))
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        ends = []
        for sign in (1, -1):
            one = strained(crystal, a, b, sign * STRAIN)
            ends.append(one.free_energy(one.converge(start)))
        stress[a, b] = stress[b, a] = (ends[0] - ends[1]) / (2 * STRAIN) / crystal.lattice.volume
    return stress


def strained(crystal: CrystalSCF, a: int, b: int, size: float) -> CrystalSCF:
    """The crystal with the component ε_ab = ε_ba of the strain; off the diagonal each of both is a half."""
    strain = np.eye(3)
    strain[a, b] += 0.5 * size
    strain[b, a] += 0.5 * size
    lattice = Lattice(crystal.lattice.cell @ strain, crystal.lattice.pbc)
    return replace(crystal, positions=crystal.positions @ strain, lattice=lattice)


def kept_points(mesh: Sequence[int]) -> NDArray[np.int64]:
    """Which of all points of a mesh time reversal leaves."""
    whole, kept = KMesh.gamma_centred(mesh, time_reversal=False), KMesh.gamma_centred(mesh)
    places = {tuple(k): n for n, k in enumerate(whole.kpts.tolist())}
    return np.array([places[tuple(k)] for k in kept.kpts.tolist()])
