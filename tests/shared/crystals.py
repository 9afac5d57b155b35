"""Small crystals for the tests: real ones with PySCF's cells, models with known bands, and random ones."""

from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene
from pyscf.pbc import gto

from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.qc.molecule import basis_of
from helm_ase.representation import AOBasis
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix

ONE_S = AOBasis("one s", {1: (0,), 6: (0,)})
TWO_S = AOBasis("two s", {1: (0, 0)})
SP = AOBasis("sp", {1: (0,), 6: (0, 1)})


# --- real ones ----------------------------------------------------------------------------------------


def honeycomb():
    """BN sheet in a skewed cell, atoms off their places, one of them outside the cell.

    PySCF sums overlaps over images beyond the vacuum even with ``dimension=2``: at 10 Å boron's p functions
    of MOLOPT bases still overlap with theirs by 2.5e-7.
    """
    atoms = graphene(formula="BN", a=2.5, vacuum=8.0)
    atoms.positions += [[0.03, -0.05, 0.1], [2.55, 0.02, -0.06]]
    return atoms


def diamond():
    atoms = bulk("C", "diamond", 3.57)
    atoms.rattle(0.05, seed=3)
    return atoms


def polyyne():
    return Atoms("C2", [[0.1, 0, 0], [1.35, 0.02, 0.03]], cell=[2.6, 9, 9], pbc=[True, False, False])


def pyscf_cell(atoms, basis="sto-3g", **keywords):
    cell = gto.Cell(verbose=0, precision=1e-12, unit="Angstrom", **keywords)
    cell.atom = list(zip(atoms.symbols, atoms.positions.tolist(), strict=True))
    cell.a, cell.basis, cell.dimension = atoms.cell.complete().array, basis, int(sum(atoms.pbc))
    if cell.dimension == 1:
        cell.low_dim_ft_type = "inf_vacuum"
    return cell.build()


def integrals(atoms, operator="overlap", basis="sto-3g"):
    cell = pyscf_cell(atoms, basis)
    return lattice_integrals(cell, basis_of(cell.to_mol()), operator, 1e-12)


@cache
def kinetic_and_overlap(which):
    """Atoms with T(T) and S(T): an operator with the symmetry of a Hamiltonian, without an SCF."""
    atoms = {"honeycomb": honeycomb, "diamond": diamond, "polyyne": polyyne}[which]()
    return atoms, integrals(atoms, "kinetic"), integrals(atoms)


# --- models -------------------------------------------------------------------------------------------


def chain(hopping=0.1):
    """One function a cell, E(k) = −2 t cos 2πk."""
    t = np.array([[-1, 0, 0], [0, 0, 0], [1, 0, 0]])
    values = np.array([-hopping, 0.0, -hopping])[:, None, None]
    return RealSpaceMatrix(t, values, np.array([1]), ONE_S)


def two_band_chain(distance=1.0, hopping=0.1):
    """E(k) = −2 t cos 2πk, and the same higher by ``distance``: direct gap there, fundamental 4 t less."""
    t = np.array([[-1, 0, 0], [0, 0, 0], [1, 0, 0]])
    hop = -hopping * np.eye(2)
    return RealSpaceMatrix(t, np.stack([hop, np.diag([0.0, distance]), hop]), np.array([1]), TWO_S)


def graphene_pi(hopping=0.1):
    """E(k) = ± t |1 + exp(2πi k_1) + exp(2πi k_2)|, zero at K = (1/3, 2/3)."""
    hop = np.zeros((3, 2, 2))
    hop[:, 0, 1] = -hopping
    hop[0, 1, 0] = -hopping
    t = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    return RealSpaceMatrix.completed(t, hop, np.array([6, 6]), ONE_S)


# --- random -------------------------------------------------------------------------------------------


def random_crystal(rng, numbers=(6, 1), basis=SP, reach=(1, 1, 1)):
    """Blocks without any symmetry but H(−T) = H(T)ᵀ."""
    lattice = Lattice(np.eye(3) * 3.0, [True] * 3)
    t = lattice.translations(3.0 * np.linalg.norm(reach) + 0.1)
    t = t[(np.abs(t) <= np.array(reach)).all(1)]
    half = t[len(t) // 2 :]
    size = basis.size(numbers)
    values = 0.1 * rng.normal(size=(len(half), size, size))
    values[0] += values[0].T
    return RealSpaceMatrix.completed(half, values, np.array(numbers), basis)
