"""S(T) and T(T) against PySCF's own sums over the lattice."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from pyscf import gto

from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import SettingError
from helm_ase.qc.lattice_integrals import INTEGRAL, lattice_integrals, lattice_of, reach
from helm_ase.qc.molecule import basis_of, build_mole, overlap
from shared.crystals import diamond, honeycomb, polyyne, pyscf_cell

KPTS = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.13, -0.31, 0.0], [1 / 3, 2 / 3, 0.0]])

GTH = {"basis": "gth-szv-molopt-sr", "pseudo": "gth-pbe"}


@pytest.mark.parametrize("operator", INTEGRAL)
@pytest.mark.parametrize(("make", "level"), [
    (honeycomb, {"basis": "sto-3g"}), (honeycomb, GTH), (diamond, GTH), (diamond, {"basis": "def2-svp"}),
])  # fmt: skip
def test_bloch_sums_are_those_of_pyscf(operator, make, level):
    cell = pyscf_cell(make(), **level)
    found = lattice_integrals(cell, basis_of(cell.to_mol()), operator, 1e-12)
    mine = LatticeOperator.of(found.reorder("pyscf")).at(torch.from_numpy(KPTS))
    theirs = np.array(cell.pbc_intor(INTEGRAL[operator], kpts=cell.get_abs_kpts(KPTS)))
    np.testing.assert_allclose(mine.numpy(), theirs, atol=2e-8)


def test_directions_without_periodicity_have_no_translations():
    cell = pyscf_cell(polyyne())
    np.testing.assert_allclose(lattice_of(cell).cell, polyyne().cell.array, atol=1e-8)
    assert lattice_of(cell).pbc.tolist() == [True, False, False]
    s = lattice_integrals(cell, basis_of(cell.to_mol()))
    assert not s.translations[:, 1:].any()
    assert len(s.translations) > 3


def test_a_molecule_in_a_large_box_is_the_molecule():
    atoms = molecule("H2O", vacuum=15.0)
    atoms.pbc = True
    cell = pyscf_cell(atoms)
    s = lattice_integrals(cell, basis_of(cell.to_mol()))
    mole = build_mole(atoms.numbers, atoms.positions, "sto-3g")
    np.testing.assert_allclose(s.molecule().values, overlap(mole, s.basis).values, atol=1e-12)


@pytest.mark.parametrize("negligible", [1e-6, 1e-10])
def test_what_is_left_out_is_negligible(negligible):
    cell = pyscf_cell(honeycomb(), **GTH)
    basis = basis_of(cell.to_mol())
    rough = lattice_integrals(cell, basis, negligible=negligible)
    fine = lattice_integrals(cell, basis, negligible=1e-13)
    assert len(rough.translations) < len(fine.translations)
    assert max(np.abs(rough.at(t) - fine.at(t)).max() for t in fine.translations) <= negligible


def test_the_reach_covers_the_most_diffuse_functions():
    cell = pyscf_cell(Atoms("B", cell=np.eye(3) * 4, pbc=True), spin=1, **GTH)
    mole = cell.to_mol()
    far = mole.copy()
    far.set_geom_([("B", (reach(mole, 1e-10), 0.0, 0.0))], unit="Angstrom")
    assert np.abs(gto.intor_cross("int1e_ovlp", mole, far)).max() < 1e-10


def test_unknown_operators_and_thresholds_are_refused():
    cell = pyscf_cell(honeycomb())
    basis = basis_of(cell.to_mol())
    with pytest.raises(SettingError, match="'exchange' is not an operator"):
        lattice_integrals(cell, basis, "exchange")
    with pytest.raises(SettingError, match="negligible"):
        lattice_integrals(cell, basis, negligible=0.0)
