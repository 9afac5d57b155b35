"""Small molecules with real labels, as samples, for the tests of losses."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from ase.build import molecule

from helm_ase.dataset.batch import collate
from helm_ase.dataset.derived import DerivationSettings, derive
from helm_ase.dataset.position import PositionIntegrals
from helm_ase.dataset.sample import make_sample
from helm_ase.nn import Prediction
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation import AOMatrix
from helm_ase.representation.structure import Structure
from helm_ase.training.losses import loss_terms, term_value
from shared.rotations import ao_rotation
from shared.sample_labels import TINY

SAP = Baseline("sap")
"""Without a grid, so that it has the symmetry of the molecule to the last digits."""
STATES = {"H2O": (0, 1), "CH4": (0, 1), "C6H6": (0, 1), "NH3": (0, 1), "CH3": (0, 2), "O2": (0, 3)}


@cache
def labelled(name, polarizability=False):
    charge, multiplicity = STATES[name]
    atoms = molecule(name)
    structure = Structure(name, atoms.numbers, atoms.positions, charge, multiplicity)
    return label_structure(structure, LabelSettings(TINY, polarizability=polarizability))


def sample_of(label, coupled=False, position=True, **settings):
    settings = DerivationSettings(TINY, SAP, **settings)
    basis = settings.model_basis or TINY.basis
    integrals = PositionIntegrals(basis).derive(label) if position else None
    shells = ao_basis(basis, sorted(set(label.numbers.tolist()))).shells
    return make_sample(label, derive(label, settings), shells, 10.0, integrals, coupled)


@cache
def sample(name):
    return sample_of(labelled(name))


@cache
def broken_sample(name):
    """The molecule as if it were a singlet of broken symmetry: α and β matrices, and the mark."""
    label = labelled(name)
    h = np.stack([label.hamiltonian + 0.01, label.hamiltonian - 0.01])
    bare = replace(
        label, hamiltonian=h, orbital_energies=None, occupations=None, density=None,
        details={"broken_symmetry": True},
    )  # fmt: skip
    return sample_of(bare)


def rotated(label, operation):
    """The same molecule turned, with the matrix that it then has."""
    basis = ao_basis(TINY.basis, sorted(set(label.numbers.tolist())))
    turn = ao_rotation(basis, label.numbers, operation)
    h = AOMatrix(label.hamiltonian, label.numbers, basis, "pyscf").reorder("e3nn").values
    h = AOMatrix(turn @ h @ turn.T, label.numbers, basis).reorder("pyscf").values
    h = 0.5 * (h + h.T)
    return replace(label, positions=label.positions @ operation.T, hamiltonian=h, forces=None), turn


def batch_of(*samples, factors=None):
    return collate(samples, factors)


def values_of(correction, batch, *wanted):
    """Values of loss terms for a predicted ΔH, (B, s, A, A)."""
    terms = loss_terms(Prediction(energy=None, forces=None, correction=correction), batch, wanted)
    return {name: term_value(name, *term) for name, term in terms.items()}


def padded(matrix, size):
    """Matrix, (s, A, A), in the corner of a larger one, (1, s, size, size)."""
    more = size - matrix.shape[-1]
    return torch.nn.functional.pad(matrix.double(), (0, more, 0, more))[None]


def noise(shape, scale, seed=0):
    """Symmetric matrices of normal numbers."""
    x = torch.from_numpy(np.random.default_rng(seed).normal(scale=scale, size=tuple(shape)))
    return x + x.transpose(-1, -2)
