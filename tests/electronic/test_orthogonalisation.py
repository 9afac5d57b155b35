"""Orthonormal functions: the same levels without an overlap."""

import numpy as np
import pytest
import torch

from helm_ase.electronic.band_levels import levels_at
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.electronic.orthogonalisation import orthogonalised
from helm_ase.errors import BasisError
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice
from helm_ase.units import HARTREE_IN_EV
from shared.crystals import kinetic_and_overlap


def made(which, mesh=None):
    atoms, h, s = kinetic_and_overlap(which)
    return atoms, h, s, orthogonalised(h, s, Lattice.of_atoms(atoms), atoms.positions, mesh)


def levels(h, s, k):
    return levels_at(LatticeOperator.of(h), None if s is None else LatticeOperator.of(s), k)


@pytest.mark.parametrize(("which", "size"), [("polyyne", (7, 1, 1)), ("honeycomb", (4, 5, 1))])
def test_levels_at_the_points_of_the_mesh_are_those_with_overlap(which, size):
    mesh = KMesh.gamma_centred(size)
    _, h, s, plain = made(which, mesh)
    assert np.abs(levels(h, None, mesh.kpts) - levels(h, s, mesh.kpts)).max() > 0.1  # the overlap matters
    np.testing.assert_allclose(levels(plain, None, mesh.kpts), levels(h, s, mesh.kpts), atol=1e-10)


def test_between_the_points_levels_converge_with_the_mesh():
    k = torch.tensor([[0.113, 0.0, 0.0], [0.377, 0.0, 0.0]]).double()
    errors = []
    for n in (4, 8, 16):
        _, h, s, plain = made("polyyne", KMesh.gamma_centred((n, 1, 1)))
        errors.append(float((levels(plain, None, k) - levels(h, s, k)).abs().max()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    _, h, s, plain = made("polyyne")  # the default
    assert float((levels(plain, None, k) - levels(h, s, k)).abs().max()) * HARTREE_IN_EV < 1e-3


def test_functions_that_are_orthonormal_already_stay_as_they_are():
    atoms, h, s = kinetic_and_overlap("polyyne")
    lattice, mesh = Lattice.of_atoms(atoms), KMesh.gamma_centred((9, 1, 1))
    first = orthogonalised(h, s, lattice, atoms.positions, mesh)
    unit = type(s)([[0, 0, 0]], np.eye(s.values.shape[1])[None], s.numbers, s.basis, s.order)
    again = orthogonalised(first, unit, lattice, atoms.positions, mesh)
    for t in first.translations:
        np.testing.assert_allclose(again.at(t), first.at(t), atol=1e-12)


def test_matrices_that_do_not_fit_or_depend_on_each_other_are_refused():
    atoms, h, s = kinetic_and_overlap("polyyne")
    lattice = Lattice.of_atoms(atoms)
    with pytest.raises(BasisError, match="different orders"):
        orthogonalised(h, s.reorder("pyscf"), lattice, atoms.positions)
    tiny = type(s)(s.translations, 1e-12 * s.values, s.numbers, s.basis, s.order)
    with pytest.raises(BasisError, match="smaller basis"):
        orthogonalised(h, tiny, lattice, atoms.positions)
