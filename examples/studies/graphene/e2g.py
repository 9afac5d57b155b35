"""mlelec's frames of graphene along its E2g mode: F(k) and S(k) of Hartree–Fock in STO-3G, from PySCF.

FOLDER holds ``E2g_graphene.xyz`` and ``E2g_kspace.npz`` with ``fock`` and ``overlap``, (frames, k points, A,
A), on a Γ-centred mesh of 8 × 8 × 1 points, PySCF's order.  S(k) is computed anew before it is believed.
Exact exchange reaches farther than any cutoff of pairs: cut at 8 Å, bands move by about 20 meV.
"""

from pathlib import Path

import numpy as np
import torch
from ase.io import read

from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.qc.crystal import build_content, crystal_basis
from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory

LEVEL = LevelOfTheory("hf", "", "sto-3g", False, 0, 1e-8, "PySCF (GDF)", smearing=0.001)
"""The smearing is that with which Fermi levels are compared, not one of the labels."""
MESH = (8, 8, 1)


def read_frames(folder: Path) -> list[LabelledCrystal]:
    """The frames as labels, after S(k) of each has been compared with integrals."""
    frames, data = read(folder / "E2g_graphene.xyz", ":"), np.load(folder / "E2g_kspace.npz")
    kept = points_kept()
    labels = []
    for number, atoms in enumerate(frames):
        lattice = Lattice.of_atoms(atoms)
        check_overlap(atoms, lattice, data["overlap"][number][kept])
        fock = data["fock"][number][kept]
        labels.append(LabelledCrystal(f"E2g {number}", atoms.numbers, atoms.positions, lattice, MESH, fock))
    return labels


def points_kept() -> np.ndarray:
    """Places, among all points of the mesh, of those that time reversal leaves."""
    whole = KMesh.gamma_centred(MESH, time_reversal=False).kpts.tolist()
    return np.array([whole.index(k) for k in KMesh.gamma_centred(MESH).kpts.tolist()])


def check_overlap(atoms, lattice: Lattice, overlap: np.ndarray) -> None:
    """Stop if S(k) is not that of the positions and the basis."""
    content = build_content(atoms.numbers, atoms.positions, LEVEL)
    s = lattice_integrals(content, crystal_basis(LEVEL, [6]), lattice=lattice).reorder("pyscf")
    ours = LatticeOperator.of(s).at(KMesh.gamma_centred(MESH).kpts)
    error = float((ours - torch.from_numpy(overlap)).abs().max())
    if error > 1e-6:
        raise SystemExit(f"S(k) differs from integrals by {error:.1e}: these are other conventions")
