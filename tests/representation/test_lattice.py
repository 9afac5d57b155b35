"""Lattice: translations, reciprocal vectors and Wigner–Seitz images, by brute force."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene

from helm_ase.errors import StructureError
from helm_ase.representation.lattice import VACUUM, Lattice, filled_cell, integer_grid, nearest_images
from shared.rotations import rotation

SKEWED = np.array([[2.5, 0.0, 0.1], [4.4, 2.4, 0.0], [-1.9, 3.1, 2.9]])
"""A cell whose vectors are far from the shortest of its lattice."""

CASES = {
    "bulk": (SKEWED, [True, True, True]),
    "slab": (SKEWED, [True, True, False]),
    "chain": (SKEWED, [False, True, False]),
    "molecule": (np.zeros((3, 3)), [False] * 3),
    "sheared": ([[2.5, 0.0, 0.0], [11.9, 2.4, 0.0], [0.0, 0.0, 9.0]], [True, True, False]),
}
POSITIONS = np.array([[0.1, 0.0, 0.2], [1.4, 0.7, -0.3], [5.0, -2.0, 1.0]])


@pytest.fixture(params=CASES)
def lattice(request):
    return Lattice(*CASES[request.param])


def test_reciprocal_vectors_are_dual_to_the_periodic_ones(lattice):
    product = lattice.complete @ lattice.reciprocal.T
    np.testing.assert_allclose(product, 2 * np.pi * np.diag(lattice.pbc), atol=1e-12)


def test_positions_survive_fractions(lattice):
    np.testing.assert_allclose(lattice.fractional(POSITIONS) @ lattice.complete, POSITIONS, atol=1e-12)


def test_translations_within_a_radius_are_all_of_them_closed_and_sorted(lattice):
    found = lattice.translations(6.0, POSITIONS).tolist()
    grid = integer_grid(np.where(lattice.pbc, -22, 0), np.where(lattice.pbc, 22, 0))
    apart = (POSITIONS[None, :] - POSITIONS[:, None]).reshape(-1, 3)
    distances = np.linalg.norm(apart + (grid @ lattice.complete)[:, None], axis=2).min(1)
    assert found == sorted(grid[distances <= 6.0].tolist())
    assert found == [[-x for x in t] for t in found[::-1]]
    assert found[len(found) // 2] == [0, 0, 0]


@pytest.mark.parametrize(("name", "dimensions", "volume"), [
    ("bulk", 3, abs(np.linalg.det(SKEWED))), ("slab", 2, np.linalg.norm(np.cross(SKEWED[0], SKEWED[1]))),
    ("chain", 1, np.linalg.norm(SKEWED[1])), ("molecule", 0, 1.0),
])  # fmt: skip
def test_volume_is_that_of_the_periodic_directions(name, dimensions, volume):
    lattice = Lattice(*CASES[name])
    assert lattice.dimensions == dimensions
    assert lattice.volume == pytest.approx(volume, rel=1e-12)


def test_heights_are_distances_of_faces():
    a = Lattice(SKEWED, True)
    normal = np.cross(SKEWED[1], SKEWED[2])
    assert a.heights[0] == pytest.approx(abs(SKEWED[0] @ normal) / np.linalg.norm(normal))


def test_a_lattice_cannot_be_changed_and_is_equal_to_its_like():
    cell = SKEWED.copy()
    lattice = Lattice(cell, True)
    cell[0, 0] = 77.0
    with pytest.raises(ValueError, match="read-only"):
        lattice.cell[0, 0] = 1.0
    assert lattice == Lattice(SKEWED, [True] * 3)
    assert hash(lattice) == hash(Lattice(SKEWED, [True] * 3))
    assert lattice != Lattice(SKEWED, [True, True, False])
    assert Lattice.of_atoms(Atoms("H", cell=SKEWED, pbc=True)) == lattice
    assert Lattice.none().translations(1e3).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("cell", "pbc", "words"), [
    (np.eye(2), True, "make no lattice"),
    (np.eye(3) * np.nan, True, "not finite"),
    (np.zeros((3, 3)), True, "depend on each other"),
    ([[3, 0, 0], [6, 0, 0], [0, 0, 3]], [True, True, False], "depend on each other"),
    (np.eye(3) * 0.3, True, "check the unit"),
])  # fmt: skip
def test_what_is_no_lattice_is_refused(cell, pbc, words):
    with pytest.raises(StructureError, match=words):
        Lattice(cell, pbc)


def test_supercells_repeat_periodic_directions_only():
    slab = Lattice(*CASES["slab"])
    np.testing.assert_allclose(slab.supercell((3, 2, 1)).cell, SKEWED * [[3], [2], [1]])
    for repeats in ((1, 1, 2), (0, 1, 1), (1, 1)):
        with pytest.raises(StructureError, match="repeats"):
            slab.supercell(repeats)


# --- Wigner–Seitz images ------------------------------------------------------------------------------


def images_by_brute_force(lattice, mesh, apart):
    """Nearest members of every class, from a grid that is surely large enough."""
    grid = integer_grid(np.where(lattice.pbc, -24, 0), np.where(lattice.pbc, 24, 0))
    distance = np.linalg.norm(apart + grid @ lattice.complete, axis=1)
    shares = {}
    for c in integer_grid(np.zeros(3), np.array(mesh) - 1):
        members = np.flatnonzero(((grid - c) % mesh == 0).all(1))
        nearest = members[distance[members] < distance[members].min() + 1e-5]
        shares |= {tuple(grid[n].tolist()): 1 / len(nearest) for n in nearest}
    return shares


@pytest.mark.parametrize(
    ("name", "mesh"),
    [("bulk", (3, 2, 2)), ("slab", (4, 3, 1)), ("chain", (1, 5, 1)), ("sheared", (2, 2, 1))],
)
def test_images_are_the_nearest_of_their_class_in_any_cell(name, mesh):
    lattice = Lattice(*CASES[name])
    translations, weights = nearest_images(lattice, POSITIONS, mesh)
    for i in range(3):
        for j in range(3):
            found = {
                tuple(t): w for t, w in zip(translations.tolist(), weights[:, i, j], strict=True) if w > 0
            }
            assert found == pytest.approx(images_by_brute_force(lattice, mesh, POSITIONS[j] - POSITIONS[i]))


@pytest.mark.parametrize("atoms", [graphene(vacuum=5.0), bulk("C", "diamond", 3.57)], ids=["2D", "3D"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_shares_of_a_class_sum_to_one_and_mirror_each_other(atoms, n):
    mesh = np.where(atoms.pbc, n, 1)
    t, w = nearest_images(Lattice.of_atoms(atoms), atoms.positions, mesh)
    classes = np.ravel_multi_index(tuple((t % mesh).T), mesh)
    sums = np.zeros((np.prod(mesh), 2, 2))
    np.add.at(sums, classes, w)
    np.testing.assert_allclose(sums, 1.0, atol=1e-12)
    np.testing.assert_array_equal(t, -t[::-1])
    np.testing.assert_array_equal(w, w[::-1].transpose(0, 2, 1))


def test_images_do_not_depend_on_the_orientation_nor_on_the_origin():
    """Distances that are equal by symmetry differ by rounding once the crystal is turned."""
    atoms = bulk("C", "diamond", 3.57)
    expected = nearest_images(Lattice.of_atoms(atoms), atoms.positions, (4, 4, 4))
    origin = np.array([3.3, -0.7, 12.9])
    for seed in range(3):
        r = rotation(seed)
        turned = Lattice(atoms.cell.array @ r.T, True)
        found = nearest_images(turned, (atoms.positions + origin) @ r.T, (4, 4, 4))
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_a_filled_cell_leaves_vacuum_where_nothing_repeats():
    """Also where the file has a vector there that means nothing."""
    atoms = Atoms("C2", [[0, 0, 0], [1.3, 0, 2.0]], cell=[[2.6, 0, 0], [0, 1, 0], [0, 0, 1]], pbc=[1, 0, 0])
    cell = filled_cell(atoms)
    np.testing.assert_allclose(cell[0], [2.6, 0, 0])
    heights = np.linalg.norm(cell[1:], axis=1)
    assert np.all(heights >= VACUUM)
    assert heights.max() >= VACUUM + 2.0
    np.testing.assert_allclose(filled_cell(bulk("C")), bulk("C").cell.array)
