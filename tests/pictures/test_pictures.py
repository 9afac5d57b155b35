"""Meshes that close, surfaces that enclose, files that are pictures."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from helm_ase import HELMCalculator
from helm_ase.electronic.fields import Grid
from helm_ase.errors import SettingError
from helm_ase.pictures.density_of_states import draw_density_of_states
from helm_ase.pictures.levels import draw_levels
from helm_ase.pictures.meshes import flat_view, isosurface, isovalue, molecule_mesh, orbital_meshes, sphere
from helm_ase.pictures.orbitals import draw_orbital


@pytest.fixture(scope="module")
def water():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator()
    return atoms


def enclosed(mesh):
    """Volume inside, positive if the triangles face outwards."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return np.einsum("fx,fx->", a, np.cross(b, c)) / 6


def edges_of(faces):
    return {(int(a), int(b)) for t in faces for a, b in zip(t, np.roll(t, -1), strict=True)}


def test_a_sphere_faces_outwards_and_fills_up_with_divisions():
    volumes = []
    for divisions in range(4):
        vertices, faces = sphere(divisions)
        np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1.0)
        assert len(faces) == 8 * 4**divisions
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        volumes.append(np.einsum("fx,fx->", a, np.cross(b, c)) / 6)
    assert volumes == sorted(volumes)
    assert abs(volumes[-1] / (4 * np.pi / 3) - 1) < 0.03


def test_an_isosurface_of_a_ball_is_a_ball():
    grid = Grid.around(np.zeros((1, 3)) + 0.3, 0.1, 1.5)
    points = grid.points.numpy().reshape(*grid.counts, 3) * 0.529177210903
    values = 1.0 - np.linalg.norm(points - 0.3, axis=-1)
    mesh = isosurface(values, 0.2, grid, (0.1, 0.2, 0.3))
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - 0.3, axis=1), 0.8, atol=0.01)
    moved = type(mesh)(mesh.vertices - 0.3, mesh.faces, mesh.colours)
    assert abs(enclosed(moved) / (4 / 3 * np.pi * 0.8**3) - 1) < 0.02
    edges = edges_of(mesh.faces)
    assert edges == {(b, a) for a, b in edges}  # closed
    assert (mesh.colours == (0.1, 0.2, 0.3)).all()


def test_the_isovalue_encloses_the_share_of_the_density(rng):
    values = rng.normal(size=(12, 11, 10))
    for share in (0.2, 0.8):
        level = isovalue(values, share)
        inside = (values[np.abs(values) >= level] ** 2).sum() / (values**2).sum()
        assert abs(inside - share) < 2e-3
    for share in (0, 1, 1.5):
        with pytest.raises(SettingError, match="between 0 and 1"):
            isovalue(values, share)


def test_both_signs_have_a_surface_and_a_positive_orbital_has_one(rng):
    grid = Grid.around(np.zeros((1, 3)), 0.2, 2.0)
    points = grid.points.numpy().reshape(*grid.counts, 3)
    s = np.exp(-(points**2).sum(-1))
    assert len(orbital_meshes(s, grid)) == 1
    both = orbital_meshes(points[..., 2] * s, grid)
    assert len(both) == 2
    assert both[0].vertices[:, 2].min() > 0 > both[1].vertices[:, 2].max()


def test_atoms_are_where_they_are_and_bonds_where_they_should_be():
    close, apart = Atoms("H2", [[0, 0, 0], [0, 0, 0.75]]), Atoms("H2", [[0, 0, 0], [0, 0, 2.0]])
    assert len(molecule_mesh(close).faces) > len(molecule_mesh(apart).faces)
    assert len(molecule_mesh(Atoms("O")).faces) == 8 * 4**2
    mesh = molecule_mesh(apart, 3)
    assert abs(mesh.vertices[:, 2].max() + mesh.vertices[:, 2].min() - 2.0) < 1e-9


def test_the_flat_side_faces_the_viewer(rng):
    benzene = molecule("C6H6")
    turned = benzene.copy()
    turned.rotate(37, (1, 2, 3))
    view = flat_view(turned)
    np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view) > 0
    assert np.ptp((turned.positions @ view.T)[:, 2]) < 1e-6


@pytest.mark.scf
def test_pictures_are_written_whole(water, tmp_path):
    structure = water.calc.get_electronic_structure()
    draw_orbital(structure, water, tmp_path / "homo.png", spacing=0.4)
    draw_density_of_states(structure, tmp_path / "dos.svg", "water")
    draw_levels(structure, tmp_path / "levels.pdf")
    assert (tmp_path / "homo.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "dos.svg").read_bytes()
    assert (tmp_path / "levels.pdf").read_bytes().startswith(b"%PDF")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.scf
def test_what_cannot_be_drawn_is_refused(water, tmp_path):
    structure = water.calc.get_electronic_structure()
    with pytest.raises(SettingError, match="no picture format"):
        draw_orbital(structure, water, tmp_path / "homo.cube")
    with pytest.raises(SettingError, match="does not exist"):
        draw_orbital(structure, water, tmp_path / "homo.png", "homo-9")
    with pytest.raises(SettingError, match="is empty"):
        draw_density_of_states(structure, tmp_path / "dos.png", window=(1.0, 1.0))
    assert list(tmp_path.iterdir()) == []
