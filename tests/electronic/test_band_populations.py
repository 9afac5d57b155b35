"""Mulliken populations of levels at k points: sums, limits, and what is independent of the cell."""

import numpy as np
import torch

from helm_ase.electronic.band_populations import band_populations, electrons_of_groups
from helm_ase.electronic.bands import Bands
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.electronic.density_of_states import mulliken_weights
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


def test_groups_share_every_level_and_the_density_of_states():
    h, s = operators("honeycomb")
    mesh = KMesh.gamma_centred((3, 3, 1))
    shares = band_populations([h], s, mesh.kpts, atom_of_function("honeycomb"))
    assert largest(shares.sum(2).numpy() - 1) < 1e-12
    bands = Bands.solve([h], s, mesh, ELECTRONS, 0.01)
    grid = torch.linspace(float(bands.levels.min()) - 1, float(bands.levels.max()) + 1, 50)
    parts = bands.density_of_states(grid, 0.1, shares)
    assert parts.shape == (1, 2, 50)
    assert largest((parts.sum(1) - bands.density_of_states(grid, 0.1)).numpy()) < 1e-12


def test_equal_atoms_have_equal_electrons_and_all_are_counted():
    h, mesh = LatticeOperator.of(graphene_pi()), KMesh.gamma_centred((4, 4, 1))
    bands = Bands.solve([h], None, mesh, 2)
    found = electrons_of_groups(bands, band_populations([h], None, mesh.kpts, torch.arange(2)))
    assert largest(found.numpy() - 1) < 1e-12


def test_without_neighbours_they_are_those_of_molecules():
    h, s = (
        LatticeOperator(
            x.translations[x.translations.abs().sum(1) == 0], x.values[x.translations.abs().sum(1) == 0]
        )
        for x in operators("polyyne")
    )
    group = atom_of_function("polyyne")
    shares = band_populations([h], s, torch.zeros(1, 3, dtype=torch.float64), group)[0, 0]
    values, vectors = np.linalg.eigh(s.values[0].numpy())
    half = vectors / np.sqrt(values) @ vectors.T
    orbitals = torch.from_numpy(half @ np.linalg.eigh(half @ h.values[0].numpy() @ half)[1])
    assert largest((shares - mulliken_weights(orbitals, s.values[0], group, 2)).numpy()) < 1e-9


def test_a_supercell_holds_the_electrons_of_each_atom_again():
    found = []
    for n in (1, 2):
        h, s = operators("polyyne", (n, 1, 1))
        mesh = KMesh.gamma_centred((4 // n, 1, 1))
        bands = Bands.solve([h], s, mesh, ELECTRONS * n, 0.02)
        found.append(
            electrons_of_groups(bands, band_populations([h], s, mesh.kpts, atom_of_function("polyyne", n)))
        )
    assert largest((found[1] - found[0].repeat(2)).numpy()) < 1e-9
    assert abs(float(found[1].sum()) - 2 * ELECTRONS) < 1e-9
