"""Bloch sums and their inverse."""

import numpy as np
import pytest
import torch
from ase.build import bulk, graphene
from scipy.linalg import eigh

from helm_ase.electronic import bloch
from helm_ase.electronic.band_levels import levels_at
from helm_ase.electronic.bloch import LatticeOperator, bloch_sum, chunks, inverse_bloch_sum
from helm_ase.errors import BasisError
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice
from shared.crystals import SP, chain, kinetic_and_overlap, random_crystal

KPTS = torch.tensor(np.random.default_rng(1).uniform(-1, 1, (5, 3)))


def atoms_of(matrix):
    offsets = matrix.basis.offsets(matrix.numbers)
    return torch.repeat_interleave(torch.arange(len(matrix.numbers)), torch.tensor(np.diff(offsets)))


def test_the_sum_is_the_sum(rng):
    m = random_crystal(rng)
    expected = sum(
        np.exp(2j * np.pi * (KPTS.numpy() @ t))[:, None, None] * h
        for t, h in zip(m.translations, m.values, strict=True)
    )
    np.testing.assert_allclose(LatticeOperator.of(m).at(KPTS).numpy(), expected, atol=1e-13)


def test_hermitian_to_the_last_bit_also_with_rounding_in_the_blocks(rng):
    m = random_crystal(rng)
    noisy = torch.tensor(m.values * (1 + 1e-14 * rng.normal(size=m.values.shape)))
    h = bloch_sum(torch.tensor(m.translations), noisy, KPTS)
    assert torch.equal(h, h.mH)
    assert not h.diagonal(dim1=1, dim2=2).imag.any()


def test_periodic_in_the_reciprocal_lattice_and_conjugate_at_minus_k(rng):
    h = LatticeOperator.of(random_crystal(rng))
    steps = torch.tensor([3.0, -2.0, 1000.0], dtype=torch.float64)
    torch.testing.assert_close(h.at(KPTS + steps), h.at(KPTS), atol=1e-11, rtol=0)
    torch.testing.assert_close(h.at(-KPTS), h.at(KPTS).conj(), atol=1e-14, rtol=0)


def test_gradients_are_those_of_finite_differences(rng):
    m = random_crystal(rng, numbers=(1, 1))
    t = torch.tensor(m.translations)
    values = torch.tensor(m.values, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: torch.view_as_real(bloch_sum(t, v, KPTS[:2])), values)


def test_groups_of_points_do_not_change_anything(rng, monkeypatch):
    h = LatticeOperator.of(random_crystal(rng))
    whole = levels_at(h, None, KPTS)
    monkeypatch.setattr(bloch, "CHUNK_BYTES", 2 * 16 * h.size**2)
    assert [len(k) for k in chunks(KPTS, h.size)] == [2, 2, 1]
    torch.testing.assert_close(levels_at(h, None, KPTS), whole, atol=1e-14, rtol=0)


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(BasisError, match="do not fit"):
        LatticeOperator(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 4, 4))


# --- the same bands from every description of the crystal -----------------------------------------------


def bands(h, s, kpts):
    return levels_at(LatticeOperator.of(h), LatticeOperator.of(s), torch.as_tensor(kpts), 0.0).numpy()


@pytest.mark.parametrize("which", ["honeycomb", "diamond", "polyyne"])
def test_levels_are_those_of_scipy(which):
    _, h, s = kinetic_and_overlap(which)
    k = KPTS[:2]
    expected = [
        eigh(a.numpy(), b.numpy(), eigvals_only=True)
        for a, b in zip(LatticeOperator.of(h).at(k), LatticeOperator.of(s).at(k), strict=True)
    ]
    np.testing.assert_allclose(bands(h, s, k), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("which", "repeats"), [("honeycomb", (3, 3, 1)), ("diamond", (2, 1, 2)), ("polyyne", (4, 1, 1))]
)
def test_a_supercell_folds_the_bands(which, repeats):
    _, h, s = kinetic_and_overlap(which)
    n = np.array(repeats)
    folded = KMesh.gamma_centred(repeats, time_reversal=False).points.numpy()
    k = np.array([[0.13, -0.27, 0.0]])
    fine = np.sort(bands(h, s, folded + k / n).ravel())
    np.testing.assert_allclose(bands(h.supercell(repeats), s.supercell(repeats), k)[0], fine, atol=1e-9)


def test_bands_do_not_depend_on_the_cell_the_wrapping_or_the_numbering():
    _, h, s = kinetic_and_overlap("honeycomb")
    expected = bands(h, s, KPTS)
    moved, u = [[2, -1, 0], [0, 3, 0]], np.array([[2, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(bands(h.rewrapped(moved), s.rewrapped(moved), KPTS), expected, atol=1e-10)
    np.testing.assert_allclose(bands(h.renumbered([1, 0]), s.renumbered([1, 0]), KPTS), expected, atol=1e-10)
    np.testing.assert_allclose(bands(h.recelled(u), s.recelled(u), KPTS.numpy() @ u.T), expected, atol=1e-10)


# --- back from a mesh -----------------------------------------------------------------------------------

PLACES = {
    "3D": (bulk("C", "diamond", 3.57), (3, 4, 2)),
    "2D": (graphene(vacuum=5.0), (4, 4, 1)),
    "2D odd": (graphene(vacuum=5.0), (3, 3, 1)),
}


@pytest.mark.parametrize("make", [KMesh.gamma_centred, KMesh.monkhorst_pack])
@pytest.mark.parametrize("reversal", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_forward_after_inverse_is_the_identity_on_the_mesh(place, make, reversal, rng):
    """Whatever F(k) is, as long as F(−k) is its conjugate."""
    atoms, size = PLACES[place]
    mesh = make(size, time_reversal=reversal)
    far = random_crystal(rng, numbers=(6, 6), reach=(4, 4, 0 if size[2] == 1 else 4))
    f = LatticeOperator.of(far).at(mesh.kpts)
    back = inverse_bloch_sum(f, mesh, Lattice.of_atoms(atoms), atoms.positions, atoms_of(far))
    torch.testing.assert_close(back.at(mesh.kpts), f, atol=1e-12, rtol=0)
    assert torch.equal(back.translations, -back.translations.flip(0))
    torch.testing.assert_close(back.values, back.values.flip(0).mT, atol=1e-13, rtol=0)


@pytest.mark.parametrize("make", [KMesh.gamma_centred, KMesh.monkhorst_pack])
def test_what_reaches_less_than_half_the_mesh_comes_back_exactly(make, rng):
    m = random_crystal(rng, numbers=(6, 1), basis=SP)
    mesh = make((4, 4, 4))
    lattice = Lattice(np.diag([3.0, 3.1, 3.2]), True)
    positions = np.array([[0.0, 0.0, 0.0], [0.2, 0.1, -0.1]])
    back = inverse_bloch_sum(LatticeOperator.of(m).at(mesh.kpts), mesh, lattice, positions, atoms_of(m))
    found = {tuple(t): h for t, h in zip(back.translations.tolist(), back.values.numpy(), strict=True)}
    for t, h in found.items():
        np.testing.assert_allclose(h, m.at(t), atol=1e-14)
    assert {tuple(t) for t in m.translations.tolist()} <= set(found)


def test_between_the_points_of_the_mesh_images_matter():
    """S of polyyne from 8 points, at other points: right with Wigner–Seitz images, wrong without."""
    atoms, _, s = kinetic_and_overlap("polyyne")
    mesh, off = KMesh.gamma_centred((8, 1, 1)), torch.tensor([[0.21, 0.0, 0.0]], dtype=torch.float64)
    operator = LatticeOperator.of(s)
    f = operator.at(mesh.kpts)
    back = inverse_bloch_sum(f, mesh, Lattice.of_atoms(atoms), atoms.positions, atoms_of(s))
    assert float((back.at(off) - operator.at(off)).abs().max()) < 1e-7
    plain = bloch_sum(back.translations % torch.tensor([8, 1, 1]), back.values, off)
    assert float((plain - operator.at(off)).abs().max()) > 0.01


def test_wrapping_of_atoms_does_not_change_the_interpolation():
    atoms, _, s = kinetic_and_overlap("honeycomb")
    mesh, lattice, moved = (
        KMesh.gamma_centred((3, 3, 1)),
        Lattice.of_atoms(atoms),
        np.array([[2, -1, 0], [0, 3, 0]]),
    )
    other = s.rewrapped(moved)
    levels = [
        levels_at(
            inverse_bloch_sum(LatticeOperator.of(m).at(mesh.kpts), mesh, lattice, r, atoms_of(m)), None, KPTS
        )
        for m, r in ((s, atoms.positions), (other, atoms.positions + lattice.vectors(moved)))
    ]
    torch.testing.assert_close(*levels, atol=1e-12, rtol=0)


def test_gradients_pass_the_inverse(rng):
    m = chain()
    mesh, lattice = KMesh.gamma_centred((4, 1, 1)), Lattice(np.diag([2.5, 9, 9]), [True, False, False])
    f = LatticeOperator.of(m).at(mesh.kpts).requires_grad_()
    back = inverse_bloch_sum(f, mesh, lattice, np.zeros((1, 3)), torch.zeros(1, dtype=torch.int64))
    back.values.square().sum().backward()
    assert bool(torch.isfinite(torch.view_as_real(f.grad)).all())
    assert float(f.grad.abs().max()) > 0


def test_matrices_without_time_reversal_and_of_other_meshes_are_refused(rng):
    m = chain()
    mesh, lattice = KMesh.gamma_centred((5, 1, 1), False), Lattice(np.diag([2.5, 9, 9]), [True, False, False])
    f = LatticeOperator.of(m).at(mesh.kpts) * mesh.kpts[:, :1, None]
    zero = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(BasisError, match="imaginary part"):
        inverse_bloch_sum(f, mesh, lattice, np.zeros((1, 3)), zero)
    with pytest.raises(BasisError, match="no matrices at 5 k points"):
        inverse_bloch_sum(f[:2], mesh, lattice, np.zeros((1, 3)), zero)
