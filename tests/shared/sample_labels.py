"""A small file of real labels for the tests, made with PySCF in the layout that the package reads."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from ase.build import molecule

from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole

TINY = LevelOfTheory(functional="pbe", variant="", basis="sto-3g", grid_level=0)
"""Cheap enough to label a molecule in a fraction of a second."""


def write_labels(path: Path, level: LevelOfTheory = TINY) -> list[dict]:
    """Label distorted water and methane, and HF; the last geometry of each is for validation."""
    records = deepcopy(ten_labels(level))
    with h5py.File(path, "w") as file:
        for k, record in enumerate(records):
            write_entry(file, f"{k:06d}", record)
    return records


@cache
def ten_labels(level: LevelOfTheory) -> list[dict]:
    """The calculations behind :func:`write_labels`, made once in a process."""
    rng = np.random.default_rng(7)
    records = []
    for name, smiles, count in (("H2O", "O", 4), ("CH4", "C", 4), ("HF", "F", 2)):
        for k in range(count):
            atoms = molecule(name)
            atoms.positions += rng.normal(scale=0.04, size=atoms.positions.shape)
            split = "val" if k == count - 1 else "train"
            records.append(label(atoms, level) | {"smiles": smiles, "split": split})
    return records


def label(atoms, level: LevelOfTheory = TINY) -> dict:
    mole = build_mole(atoms.numbers, atoms.positions, level.basis)
    mf = kohn_sham(mole, level)
    energy = mf.kernel()
    assert mf.converged
    return {
        "numbers": atoms.numbers,
        "positions": atoms.positions,
        "energy": energy,
        "forces": -mf.nuc_grad_method().kernel(),
        "hamiltonian": np.asarray(mf.get_fock()),
        "dipole": mf.dip_moment(unit="AU", verbose=0),
    }


def write_entry(file: h5py.File, name: str, record: dict) -> None:
    group = file.create_group(name)
    group["numbers"] = record["numbers"].astype(np.uint8)
    group["positions"] = record["positions"]
    group["forces"] = record["forces"].astype(np.float32)
    group["dipole"] = record["dipole"].astype(np.float32)
    h = record["hamiltonian"]
    group["hamiltonian_tril"] = h[np.tril_indices(len(h))].astype(np.float32)
    group.attrs.update({k: record[k] for k in ("energy", "smiles", "split")})


__all__ = ["TINY", "label", "write_entry", "write_labels"]
