"""Orbitals are seen from where both signs show; degenerate levels are one group."""

import numpy as np
import pytest
from ase.build import molecule

from helm_ase.pictures.levels import level_groups
from helm_ase.pictures.meshes import POSITIVE, Mesh, flat_view, sphere
from helm_ase.pictures.viewpoint import view_of_both_signs


def ball(centre):
    vertices, faces = sphere(3)
    return Mesh(vertices + centre, faces, np.tile(POSITIVE, (len(faces), 1)))


def test_lobes_above_and_below_a_flat_molecule_are_not_seen_from_above():
    atoms = molecule("C2H4")
    flat = flat_view(atoms)
    view = view_of_both_signs([ball(1.2 * flat[2]), ball(-1.2 * flat[2])], atoms)
    assert abs(view[2] @ flat[2]) < 0.8
    np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view) == pytest.approx(1)


def test_lobes_side_by_side_leave_the_flat_side_to_the_viewer():
    atoms = molecule("C2H4")
    flat = flat_view(atoms)
    view = view_of_both_signs([ball(1.5 * flat[0]), ball(-1.5 * flat[0])], atoms)
    assert abs(view[2] @ flat[2]) > 0.8


def test_an_orbital_of_one_sign_shows_the_flat_side():
    atoms = molecule("H2O")
    np.testing.assert_array_equal(view_of_both_signs([ball(np.zeros(3))], atoms), flat_view(atoms))


def test_levels_that_coincide_are_one_group_unless_one_is_filled_and_one_empty():
    levels = [-20.0, -12.001, -12.0, -7.0, -6.999, 3.0, 3.005]
    assert level_groups(levels, 0, 4) == [[0], [1, 2], [3], [4], [5, 6]]
    assert level_groups(levels, 2, 5) == [[2], [3, 4], [5, 6]]
