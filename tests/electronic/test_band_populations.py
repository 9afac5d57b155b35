"""Mulliken populations of levels at k points: sums, limits, and what is independent of the cell."""

import numpy as np
import pytest
import scipy.linalg
import torch

from helm_ase.electronic.band_populations import band_populations, electrons_of_groups
from helm_ase.electronic.bands import Bands
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.electronic.density_of_states import mulliken_weights
from helm_ase.errors import SettingError
from helm_ase.representation.kpoints import KMesh
from shared.crystals import graphene_pi, kinetic_and_overlap
from shared.deviations import largest

ELECTRONS = 8


def operators(which, cells=(1, 1, 1)):
    _, h, s = kinetic_and_overlap(which)
    return [LatticeOperator.of(x.supercell(cells) if max(cells) > 1 else x) for x in (h, s)]


def atom_of_function(which, cells=1):
    _, h, _ = kinetic_and_overlap(which)
    sizes = np.diff(h.basis.offsets(h.numbers))
    return torch.from_numpy(np.repeat(np.arange(cells * len(h.numbers)), np.tile(sizes, cells)))


def by_hand(which, mesh):
    """Populations (K, N, A) at all points of a mesh, from dense generalised eigenvalue problems."""
    h, s = operators(which)
    groups = np.eye(2)[atom_of_function(which).numpy()].T
    found = []
    for hk, sk in zip(h.at(mesh.points).numpy(), s.at(mesh.points).numpy(), strict=True):
        c = scipy.linalg.eigh(hk, sk)[1]
        found.append(groups @ (c.conj() * (sk @ c)).real)
    return np.array(found)


def test_populations_are_those_of_dense_solutions_at_all_points_of_the_zone():
    h, s = operators("honeycomb")
    mesh = KMesh.gamma_centred((3, 3, 1))
    shares = band_populations([h], s, mesh.kpts, atom_of_function("honeycomb"))
    known = by_hand("honeycomb", mesh)
    assert np.abs(known[:, 0] - 0.5).max() > 0.1  # boron and nitrogen differ
    assert largest(shares[0, mesh.places].numpy() - known) < 1e-8
    bands = Bands.solve([h], s, mesh, ELECTRONS, 0.01)
    filled = bands.occupations[0, mesh.places].numpy()
    electrons = np.einsum("ka,kga->g", filled, known) / len(known)
    assert largest(electrons_of_groups(bands, shares).numpy() - electrons) < 1e-8
    assert abs(electrons.sum() - ELECTRONS) < 1e-8


def test_groups_share_the_density_of_states():
    h, s = operators("honeycomb")
    mesh = KMesh.gamma_centred((3, 3, 1))
    shares = band_populations([h], s, mesh.kpts, atom_of_function("honeycomb"))
    bands = Bands.solve([h], s, mesh, ELECTRONS, 0.01)
    grid = torch.linspace(float(bands.levels.min()) - 1, float(bands.levels.max()) + 1, 50)
    parts = bands.density_of_states(grid, 0.1, shares.numpy())
    assert parts.shape == (1, 2, 50)
    assert largest(parts[0, 0].numpy() - parts[0, 1].numpy()) > 0.1
    assert largest((parts.sum(1) - bands.density_of_states(grid, 0.1)).numpy()) < 1e-12


def test_populations_of_other_levels_are_refused():
    h, mesh = LatticeOperator.of(graphene_pi()), KMesh.gamma_centred((4, 4, 1))
    bands = Bands.solve([h], None, mesh, 2)
    shares = band_populations([h], None, mesh.kpts[:1], torch.arange(2))
    for use in (
        lambda: electrons_of_groups(bands, shares),
        lambda: bands.density_of_states(torch.zeros(1), 0.1, shares),
    ):
        with pytest.raises(SettingError, match="same k points"):
            use()


def test_single_cells_have_the_populations_of_molecules():
    homes = [(x, x.translations.abs().sum(1) == 0) for x in operators("honeycomb")]
    h, s = (LatticeOperator(x.translations[home], x.values[home]) for x, home in homes)
    group = torch.arange(h.size) % 3  # no symmetry makes them alike
    shares = band_populations([h], s, torch.zeros(1, 3, dtype=torch.float64), group)[0, 0]
    energies, orbitals = scipy.linalg.eigh(h.values[0].numpy(), s.values[0].numpy())
    known = mulliken_weights(torch.from_numpy(orbitals), s.values[0], group, 3)
    falling = torch.from_numpy(np.exp(-energies))  # degenerate orbitals are compared together
    assert largest(((shares - known) @ falling).numpy()) < 1e-9


def test_a_supercell_holds_the_electrons_of_each_atom_again():
    found = []
    for n in (1, 2):
        h, s = operators("honeycomb", (n, 1, 1))
        mesh = KMesh.gamma_centred((4 // n, 2, 1))
        bands = Bands.solve([h], s, mesh, ELECTRONS * n, 0.02)
        found.append(
            electrons_of_groups(bands, band_populations([h], s, mesh.kpts, atom_of_function("honeycomb", n)))
        )
    assert abs(float(found[0][0] - found[0][1])) > 0.1
    assert largest((found[1] - found[0].repeat(2)).numpy()) < 1e-7
    assert abs(float(found[1].sum()) - 2 * ELECTRONS) < 1e-7
