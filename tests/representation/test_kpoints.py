"""Meshes against ASE and PySCF; band paths."""

import numpy as np
import pytest
import torch
from ase.build import bulk, graphene
from ase.dft.kpoints import monkhorst_pack

from helm_ase.errors import SettingError, StructureError
from helm_ase.representation.kpoints import KMesh, as_tensor, band_path
from helm_ase.representation.lattice import Lattice
from shared.crystals import pyscf_cell

SIZES = [(1, 1, 1), (2, 3, 4), (4, 4, 1), (3, 3, 3), (6, 1, 1)]


def as_set(kpts):
    return {tuple(k) for k in (np.round(np.asarray(kpts) * 5040).astype(int) % 5040).tolist()}


@pytest.mark.parametrize("size", SIZES)
def test_monkhorst_pack_is_that_of_ase(size):
    found = KMesh.monkhorst_pack(size, time_reversal=False)
    assert as_set(found.kpts) == as_set(monkhorst_pack(size))
    assert len(found.kpts) == np.prod(size)


@pytest.mark.parametrize("size", SIZES)
def test_gamma_centred_and_its_reduction_are_those_of_pyscf(size):
    cell = pyscf_cell(bulk("C", "diamond", 3.57))
    full = KMesh.gamma_centred(size, time_reversal=False)
    assert as_set(full.kpts) == as_set(cell.get_scaled_kpts(cell.make_kpts(size)))
    theirs = cell.make_kpts(size, time_reversal_symmetry=True)
    found = KMesh.gamma_centred(size)
    assert len(found.kpts) == theirs.nkpts_ibz
    np.testing.assert_allclose(np.sort(found.weights), np.sort(theirs.weights_ibz), atol=1e-14)


@pytest.mark.parametrize("make", [KMesh.gamma_centred, KMesh.monkhorst_pack])
@pytest.mark.parametrize("size", SIZES)
def test_reduced_points_and_their_partners_are_the_whole_mesh(make, size):
    mesh, full = make(size), make(size, time_reversal=False)
    assert as_set(mesh.kpts) | as_set(-mesh.kpts) == as_set(full.kpts)
    assert float(mesh.weights.sum()) == pytest.approx(1.0, abs=1e-15)
    assert bool((mesh.points >= -0.5).all() and (mesh.points < 0.5).all())
    t = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    waves = [torch.exp(2j * np.pi * (m.kpts @ t)) for m in (mesh, full)]
    torch.testing.assert_close(mesh.unfold(waves[0]), waves[1], atol=1e-12, rtol=0)


def test_density_counts_points_per_length_of_the_reciprocal_vectors():
    lattice = Lattice.of_atoms(graphene(vacuum=5.0))
    mesh = KMesh.of_density(lattice, 2.5)
    lengths = np.linalg.norm(lattice.reciprocal, axis=1)
    assert mesh.size == (*np.ceil(lengths[:2] * 2.5).astype(int).tolist(), 1)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(SettingError, match="density"):
            KMesh.of_density(lattice, bad)


@pytest.mark.parametrize("size", [(0, 1, 1), (2, 2), (1.5, 1, 1), (-1, 1, 1)])
def test_what_is_no_mesh_is_refused(size):
    with pytest.raises(SettingError, match="mesh of"):
        KMesh.gamma_centred(size)


def test_a_shift_of_other_than_half_a_step_is_refused():
    with pytest.raises(SettingError, match="half_step"):
        KMesh((2, 2, 2), (0, 2, 0))


def test_paths_are_those_of_ase():
    atoms = bulk("C", "diamond", 3.57)
    path = band_path(Lattice.of_atoms(atoms), "GXWL", 31)
    expected = atoms.cell.bandpath("GXWL", npoints=31)
    np.testing.assert_allclose(path.kpts, expected.kpts)
    sheet = graphene(vacuum=5.0)
    found = band_path(Lattice.of_atoms(sheet), points=20)
    assert found.path == sheet.cell.bandpath(pbc=sheet.pbc).path
    assert not found.kpts[:, 2].any()


def test_paths_of_molecules_and_of_unknown_corners_are_refused():
    with pytest.raises(StructureError, match="no bands"):
        band_path(Lattice.none())
    with pytest.raises(SettingError, match="no band path 'GQ'"):
        band_path(Lattice.of_atoms(bulk("C", "diamond", 3.57)), "GQ")


def test_points_of_another_shape_are_refused():
    with pytest.raises(SettingError, match="k points of shape"):
        as_tensor([0.0, 0.0, 0.0])
    assert as_tensor([[0, 0, 0]]).dtype == torch.float64
