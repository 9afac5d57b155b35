"""A real self-consistent field of a crystal: from its mesh to H(T), to any k, and what the bands sum to."""

import numpy as np
import pytest
import torch
from ase.build import bulk, graphene
from pyscf.pbc import dft
from pyscf.pbc.scf.addons import smearing_

from helm_ase.electronic.band_levels import levels_at
from helm_ase.electronic.bands import Bands
from helm_ase.electronic.bloch import LatticeOperator, inverse_bloch_sum
from helm_ase.qc.crystal import crystal_level
from helm_ase.qc.crystal_scf import CrystalSCF, fock_and_overlap, forget_operators
from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.qc.molecule import basis_of
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice
from helm_ase.units import HARTREE_IN_EV
from shared.crystals import pyscf_cell

pytestmark = [pytest.mark.slow, pytest.mark.scf]

SMEARING = 0.005
ATOM = torch.tensor([0] * 4 + [1] * 4)


@pytest.fixture(scope="module")
def sheet():
    """Rattled graphene, PBE / GTH-SZV-MOLOPT-SR, 6 × 6 × 1, in a box that repeats in all directions."""
    atoms = graphene(vacuum=5.0)
    atoms.rattle(0.03, seed=4)
    atoms.pbc = True
    cell = pyscf_cell(atoms, "gth-szv-molopt-sr", pseudo="gth-pbe", ke_cutoff=80)
    mesh = KMesh.gamma_centred((6, 6, 1), time_reversal=False)
    mf = dft.KRKS(cell, cell.get_abs_kpts(mesh.kpts.numpy()), xc="pbe").multigrid_numint()
    mf.conv_tol = 1e-9
    mf = smearing_(mf, sigma=SMEARING, method="fermi")
    mf.kernel()
    assert mf.converged
    lattice = Lattice(atoms.cell.array, [True, True, False])
    fock = torch.tensor(np.array(mf.get_fock()))
    overlap = LatticeOperator.of(lattice_integrals(cell, basis_of(cell.to_mol())).reorder("pyscf"))
    return mf, mesh, fock, overlap, inverse_bloch_sum(fock, mesh, lattice, atoms.positions, ATOM)


def test_the_blocks_give_back_the_mesh(sheet):
    _, mesh, fock, _, back = sheet
    torch.testing.assert_close(back.at(mesh.kpts), fock, atol=1e-8, rtol=0)


def test_levels_between_the_points_of_the_mesh_are_those_of_pyscf(sheet):
    mf, _, _, overlap, back = sheet
    k = np.random.default_rng(1).uniform(-0.5, 0.5, (6, 3)) * [1, 1, 0]
    theirs = np.array(mf.get_bands(mf.cell.get_abs_kpts(k))[0])
    error = 1000 * HARTREE_IN_EV * np.abs(levels_at(back, overlap, k).numpy() - theirs)
    assert error[:, :4].max() < 0.3
    assert error[:, 4:].max() < 1.5


def test_levels_of_diamond_between_the_points_of_the_mesh_are_those_of_pyscf():
    atoms = bulk("C", "diamond", 3.57)
    atoms.rattle(0.03, seed=4)
    lattice, level = Lattice.of_atoms(atoms), crystal_level(plane_wave_cutoff=80.0)
    mf = CrystalSCF(atoms.numbers, atoms.positions, lattice, level, (6, 6, 6)).converge()
    fock = torch.from_numpy(fock_and_overlap(mf, (6, 6, 6))[0])
    back = inverse_bloch_sum(fock, KMesh.gamma_centred((6, 6, 6)), lattice, atoms.positions, ATOM)
    overlap = LatticeOperator.of(lattice_integrals(mf.cell, basis_of(mf.cell.to_mol())).reorder("pyscf"))
    forget_operators(mf)
    k = np.random.default_rng(1).uniform(-0.5, 0.5, (6, 3))
    theirs = np.array(mf.get_bands(mf.cell.get_abs_kpts(k))[0])
    error = 1000 * HARTREE_IN_EV * np.abs(levels_at(back, overlap, k).numpy() - theirs)
    assert error[:, :4].max() < 0.3


def test_filling_and_energies_are_those_of_pyscf(sheet):
    mf, _, _, overlap, back = sheet
    bands = Bands.solve([back], overlap, KMesh.gamma_centred((6, 6, 1)), 8, SMEARING)
    assert SMEARING * bands.entropy == pytest.approx(mf.e_tot - mf.e_free, abs=1e-8)
    sums = np.sum(np.array(mf.mo_occ) * np.array(mf.mo_energy)) / 36
    assert float(bands.band_energy) == pytest.approx(sums, abs=1e-7)
