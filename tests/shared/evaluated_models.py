"""Tiny labels, and tiny random models to judge on them."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from helm_ase.checkpoint import Checkpoint, save_checkpoint
from helm_ase.evaluation.comparison import Molecule
from helm_ase.labels.writer import LabelWriter
from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import ao_basis, build_mole, overlap
from helm_ase.representation import AOBasis, LabelledMolecule
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.structure import Structure
from shared.sample_labels import TINY

CLOSED = {"H2O": (0, 1), "CH4": (0, 1), "HF": (0, 1), "CH3OH": (0, 1)}
OPEN = {"OH": (0, 2), "O2": (0, 3), "H": (0, 2), "H2O": (1, 2), "O": (-2, 1), "F": (-1, 1)}
BACKBONE = BackboneSettings(
    natural_channels=6, unnatural_channels=3, lmax=2, mmax_nodes=2, node_layers=2, edge_layers=1,
    gaussians=8, radial_hidden=8, cutoff=4.0, pair_cutoff=6.0,
)  # fmt: skip


def label(name: str, charge: int, multiplicity: int, seed: int, split: str = "val") -> LabelledMolecule:
    atoms = Atoms(name) if len(name) == 1 else molecule(name)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.04, size=atoms.positions.shape)
    state = f"{charge:+d}_{multiplicity}"
    structure = Structure(
        f"{name}{state}_{seed}", atoms.numbers, atoms.positions, charge, multiplicity, split=split
    )
    return label_structure(structure, LabelSettings(TINY, forces=multiplicity == 1))


def write(path, labels, level=TINY):
    with LabelWriter(path, level) as writer:
        for molecule in labels:
            writer.add(molecule)
    return path


def checkpoint(elements=(1, 6, 8, 9), seed=1, level=TINY, training=None, **settings) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HELM(ao_basis("sto-3g", elements), HELMSettings(BACKBONE, energy_hidden=8, **settings))
        with torch.no_grad():
            for head in model.hamiltonian_heads:
                for parameter in head.parameters():
                    parameter *= 0.05
    coverage = DistanceCoverage.collect([], 6.0)
    return Checkpoint("tiny", model.eval(), level, Baseline("sap"), coverage, training or {})


class Subject(NamedTuple):
    """Labels in memory and on disk, and a model that knows them."""

    labels: list[LabelledMolecule]
    path: object
    checkpoint: Checkpoint
    model: object


def make_subject(folder, states, **settings) -> Subject:
    labels = [label(n, *state, seed) for n, state in states.items() for seed in (0, 1)]
    labels += [replace(x, name=f"t{x.name}", split="train") for x in (label("H2O", 0, 1, 9),)]
    path = write(folder / "labels.h5", labels)
    tiny = checkpoint(**settings)
    save_checkpoint(tiny, folder / "tiny.safetensors")
    return Subject(labels, path, tiny, folder / "tiny.safetensors")


def made(label: LabelledMolecule, basis: AOBasis) -> Molecule:
    mole = build_mole(label.numbers, label.positions, basis.name, label.charge, label.multiplicity)
    return Molecule(label, basis, torch.from_numpy(overlap(mole, basis).values))
