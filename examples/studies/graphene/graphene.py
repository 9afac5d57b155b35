"""Study: graphene in a minimal basis from 24 frames, on the frames of mlelec (arXiv 2504.01187).

    python graphene.py FOLDER --minutes 10 --draws 5

FOLDER holds ``C2.xyz`` and ``real_space.npz``: 35 flat cells of two atoms, H(T) and S(T) of PBE/STO-3G with
all electrons from CP2K.  S(T) is computed anew before anything is believed.  Each draw trains on 24 frames
and tests on the other 11.  Errors of levels are those of all bands but the two 1s ones, at 25 k points that
are not on the mesh of the labels, absolute and against the Fermi level, in meV; errors of H in µEh.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase.io import read

from helm_ase.dataset.crystals import CrystalSample
from helm_ase.electronic.band_levels import levels
from helm_ase.electronic.bands import Bands
from helm_ase.electronic.bloch import LatticeOperator, bloch_sum
from helm_ase.evaluation.crystals import crystal_errors, mean_errors
from helm_ase.labels.crystals import write_crystals
from helm_ase.nn import HELM
from helm_ase.qc.crystal import build_content, crystal_basis
from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory
from helm_ase.training.crystal_losses import CrystalLossWeights
from helm_ase.training.crystals import CrystalTraining, train_on_crystals
from helm_ase.units import HARTREE_IN_EV

LEVEL = LevelOfTheory("pbe", "", "sto-3g", False, 0, 1e-8, "CP2K (GAPW)", smearing=0.001)
MESH = (15, 15, 1)
OFFSET = np.array([0, -1, 0])
"""In the file, atom 1 of T is the one of ``C2.xyz`` in the cell T + OFFSET."""
TO_PYSCF = np.array([0, 1, 4, 2, 3, 5, 6, 9, 7, 8])
"""From 1s, 2s, 2p (y, z, x) of each atom to PySCF's (x, y, z)."""
CORE = 2
"""1s bands of a cell."""


def read_frames(folder: Path) -> list[LabelledCrystal]:
    """The frames as labels, after S(T) of each has been compared with integrals."""
    frames, data = read(folder / "C2.xyz", ":"), np.load(folder / "real_space.npz")
    mesh = KMesh.gamma_centred(MESH)
    labels = []
    for k, atoms in enumerate(frames):
        lattice = Lattice.of_atoms(atoms)
        matrices = {}
        for name in ("hamiltonian", "overlap"):
            present = data[f"{name}_present"][k]
            matrices[name] = shifted(data["translations"][present], data[name][k][present])
        check_overlap(atoms, lattice, *matrices["overlap"])
        translations, h = matrices["hamiltonian"]
        fock = bloch_sum(torch.from_numpy(translations), torch.from_numpy(h), mesh.kpts).numpy()
        labels.append(LabelledCrystal(f"graphene {k}", atoms.numbers, atoms.positions, lattice, MESH, fock))
    return labels


def shifted(translations, values):
    """Blocks of two atoms at the translations that belong to the positions of the file, PySCF's AO order."""
    collected: dict[tuple[int, ...], np.ndarray] = {}
    for t, block in zip(translations, values[:, TO_PYSCF[:, None], TO_PYSCF], strict=True):
        for i in range(2):
            for j in range(2):
                place = tuple((t + OFFSET * (j - i)).tolist())
                own = collected.setdefault(place, np.zeros((10, 10)))
                rows, columns = slice(5 * i, 5 * i + 5), slice(5 * j, 5 * j + 5)
                own[rows, columns] = block[rows, columns]
    return np.array(list(collected)), np.stack(list(collected.values()))


def check_overlap(atoms, lattice, translations, overlap):
    """Stop if S(T) is not that of the positions and the basis."""
    content = build_content(atoms.numbers, atoms.positions, LEVEL)
    s = lattice_integrals(content, crystal_basis(LEVEL, [6]), lattice=lattice).reorder("pyscf")
    error = max(np.abs(s.at(t) - block).max() for t, block in zip(translations, overlap, strict=True))
    if error > 1e-6:
        raise SystemExit(f"S(T) differs from integrals by {error:.1e}: these are other conventions")


def band_errors(model: HELM | None, samples: list[CrystalSample]) -> dict[str, float]:
    """Errors of levels over all frames, k points and bands but 1s, meV."""
    errors, relative = [], []
    points = torch.tensor([[(i + 0.5) / 5, (j + 0.5) / 5, 0.0] for i in range(5) for j in range(5)]).double()
    for sample in samples:
        predicted = torch.zeros_like(sample.correction)
        if model is not None:
            with torch.no_grad():
                predicted = model(sample.graph, energy=False, hamiltonian=True).correction[:, 0].double()
        h, s, rest = sample.reference(points)
        ours = LatticeOperator(sample.graph.translation, predicted).at(points)
        both = [levels(matrix, s) for matrix in (h - rest + ours, h)]
        weights = torch.full((len(points),), 1 / len(points), dtype=torch.float64)
        fermi = [Bands(e[None], weights, sample.electrons, LEVEL.smearing).fermi_level for e in both]
        difference = (both[0] - both[1])[:, CORE:]
        errors.append(difference)
        relative.append(difference - (fermi[0] - fermi[1]))
    absolute, against = (1000 * HARTREE_IN_EV * torch.stack(x) for x in (errors, relative))
    return {
        "MAE": float(absolute.abs().mean()),
        "RMSE": float(absolute.square().mean().sqrt()),
        "MAE against E_F": float(against.abs().mean()),
    }


def one_draw(labels, seed, options):
    """Train on 24 frames, test on 11; errors of H0 and of the network."""
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = [replace(labels[k], split="train" if n < 24 else "val") for n, k in enumerate(order)]
    weights = CrystalLossWeights(options.hamiltonian, options.spectrum, options.bands)
    settings = CrystalTraining(
        "graphene", weights=weights, epochs=100_000, minutes=options.minutes, virtuals=6, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graphene.h5"
        write_crystals(file, parts, LEVEL)
        run = train_on_crystals(
            file, Path(folder) / "graphene.safetensors", settings, progress=options.progress
        )
    table = {}
    for name, model in (("H0", None), ("network", run.checkpoint.model)):
        h = mean_errors(crystal_errors(model, run.validation, LEVEL.smearing))["hamiltonian"]
        table[name] = {"H": h} | band_errors(model, run.validation)
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time for each draw (10)")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw, its seed (0)")
    parser.add_argument("--hamiltonian", type=float, default=1.0, help="weight of the loss (1)")
    parser.add_argument("--spectrum", type=float, default=0.2, help="weight of the loss (0.2)")
    parser.add_argument("--bands", type=float, default=0.0, help="weight of the loss (0)")
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args()
    frames = read_frames(options.folder)
    print(f"{len(frames)} frames; S(T) is that of the integrals")
    tables = []
    for seed in range(options.first, options.first + options.draws):
        tables.append(one_draw(frames, seed, options))
        print(seed, {n: {k: round(v, 1) for k, v in e.items()} for n, e in tables[-1].items()}, flush=True)
    for name in tables[0]:
        means = {
            k: f"{np.mean([t[name][k] for t in tables]):.1f} ± {np.std([t[name][k] for t in tables]):.1f}"
            for k in tables[0][name]
        }
        print(name, means)
