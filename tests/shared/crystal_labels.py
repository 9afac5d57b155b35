"""Labels of crystals without an SCF: H(T) from operators of atoms, and a checkpoint with random weights."""

from dataclasses import replace
from functools import cache

import torch
from ase import Atoms

from helm_ase.checkpoint import Checkpoint
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.nn import HELM, HELMSettings
from helm_ase.qc.crystal import build_content, crystal_basis, crystal_level
from helm_ase.qc.crystal_baseline import crystal_hamiltonian
from helm_ase.qc.level import Baseline
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.lattice import Lattice
from shared.small_models import TINY

LEVEL = crystal_level()
CARBON = AtomicOperator(
    6, (0.4, 1.5), (2.5, 1.5), (((-0.3,),), ((-0.1,),)), level_shift=-0.1, potential_moment=2.0
)  # fmt: skip
OTHER = AtomicOperator(
    6, (0.5, 1.2), (2.2, 1.8), (((-0.35,),), ((-0.05,),)), level_shift=-0.12, potential_moment=2.0
)  # fmt: skip


def chain(seed=0, length=2.6):
    """Polyyne, off its places."""
    atoms = Atoms("C2", [[0, 0, 0], [1.25, 0, 0]], cell=[length, 0, 0], pbc=[True, False, False])
    atoms.rattle(0.05, seed=seed)
    return atoms


@cache
def hamiltonian(seed, operator=CARBON, length=2.6):
    """Content, lattice, H0(T) and S(T) of a chain."""
    atoms = chain(seed, length)
    lattice, basis = Lattice.of_atoms(atoms), crystal_basis(LEVEL, [6])
    content = build_content(atoms.numbers, atoms.positions, LEVEL)
    return (content, lattice, *crystal_hamiltonian(content, lattice, basis, [operator]))


def label(seed, operator=CARBON, split="train", energy=None, length=2.6):
    """A label whose H(T) the operator makes."""
    atoms, mesh = chain(seed, length), (8, 1, 1)
    _, lattice, h, _ = hamiltonian(seed, operator, length)
    fock = LatticeOperator.of(h.reorder("pyscf")).at(KMesh.gamma_centred(mesh).kpts).numpy()
    energy = -300.0 - seed if energy is None else energy
    return LabelledCrystal(
        f"chain {seed}", atoms.numbers, atoms.positions, lattice, mesh, fock,
        energy=energy, free_energy=energy - 0.1, split=split, details={"seed": seed},
    )  # fmt: skip


def checkpoint(elements=(6,), dimensions=(1, 2, 3), predicts=("energy", "forces", "hamiltonian")):
    """Random weights, small corrections."""
    basis = crystal_basis(LEVEL, elements)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        settings = HELMSettings(replace(TINY, lmax=2), trust_delta=0.0, energy_hidden=16)
        model = HELM(basis, settings)
    for head in model.hamiltonian_heads:
        for name, buffer in head.named_buffers():
            if "scale" in name:
                buffer.fill_(0.01)
    seen = [(a.numbers, a.positions, Lattice.of_atoms(a)) for a in (chain(k) for k in range(3))]
    return Checkpoint(
        "test crystals", model.eval().requires_grad_(False), LEVEL, Baseline("fitted", operators=(CARBON,)),
        DistanceCoverage.collect(seen, model.cutoff),
        {"predicts": list(predicts), "dimensions": list(dimensions)},
    )  # fmt: skip
