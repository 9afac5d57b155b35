"""Broken molecules and copies are recognised."""

import numpy as np
import pytest
from ase.build import molecule

from helm_ase.representation.connectivity import bonded
from helm_ase.sampling.filters import Register, find_fault, sorted_distances


def water_dimer(distance):
    """O–O distance along x, Å."""
    atoms = molecule("H2O")
    other = atoms.copy()
    other.positions += (distance, 0, 0)
    bonds = np.kron(np.eye(2, dtype=bool), bonded(atoms.numbers, atoms.positions))
    return (atoms + other), bonds


@pytest.mark.parametrize("name", ["H2O", "C6H6", "bicyclobutane", "C3H4_C3v", "CH3CONH2", "H2", "Si2H6"])
def test_intact_molecules_pass(name):
    atoms = molecule(name)
    assert find_fault(atoms.numbers, atoms.positions, bonded(atoms.numbers, atoms.positions)) is None


@pytest.mark.parametrize(("factor", "fault"), [(1.6, "bond broken"), (0.5, "atoms too close")])
def test_a_stretched_or_squeezed_bond_is_found(factor, fault):
    atoms = molecule("CH3OH")
    bonds = bonded(atoms.numbers, atoms.positions)
    assert find_fault(atoms.numbers, atoms.positions * factor, bonds) == fault


def test_a_new_bond_is_found():
    atoms = molecule("C2H6")
    bonds = bonded(atoms.numbers, atoms.positions)
    bonds[0, 1] = bonds[1, 0] = False
    assert find_fault(atoms.numbers, atoms.positions, bonds) == "parts merged"
    ring = molecule("C3H6_D3h")
    open_ring = bonded(ring.numbers, ring.positions)
    open_ring[0, 1] = open_ring[1, 0] = False
    assert find_fault(ring.numbers, ring.positions, open_ring) == "bond formed"


@pytest.mark.parametrize(
    ("distance", "fault"), [(1.4, "parts merged"), (3.0, None), (9.0, "parts dissociated")]
)
def test_dimers_neither_merge_nor_part(distance, fault):
    atoms, bonds = water_dimer(distance)
    assert find_fault(atoms.numbers, atoms.positions, bonds) == fault


def test_copies_are_duplicates_however_they_are_turned_mirrored_or_numbered(rng):
    atoms = molecule("CH3CH2OH")
    atoms.info = {"smiles": "CCO", "charge": 0, "multiplicity": 1}
    register = Register(0.02)
    assert register.add(atoms) is None
    assert register.add(atoms) == "duplicate"
    turned = atoms.copy()
    turned.rotate(77, (1, 2, 3))
    mirrored = atoms.copy()
    mirrored.positions *= (1, 1, -1)
    renumbered = atoms[rng.permutation(len(atoms))]
    assert {register.add(a) for a in (turned, mirrored, renumbered)} <= {"near duplicate", "duplicate"}
    atoms.positions[0, 0] += 0.05
    assert register.add(atoms) is None


def test_states_and_molecules_are_kept_apart():
    register = Register(0.02)
    for state in ((0, 1), (0, 3), (2, 1)):
        atoms = molecule("H2O")
        atoms.info = {"smiles": "O", "charge": state[0], "multiplicity": state[1]}
        assert register.add(atoms) is None


def test_sorted_distances_do_not_depend_on_the_numbering(rng):
    atoms = molecule("CH3CONH2")
    shuffled = atoms[rng.permutation(len(atoms))]
    assert np.allclose(
        sorted_distances(atoms.numbers, atoms.positions),
        sorted_distances(shuffled.numbers, shuffled.positions),
    )
