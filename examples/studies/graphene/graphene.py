"""Study: graphene in a minimal basis from 24 frames, on the frames of mlelec (arXiv 2504.01187).

    python graphene.py FOLDER --minutes 10 --draws 5
    python graphene.py FOLDER --minutes 3 --draws 1 --losses    # three losses in one table
    python graphene.py FOLDER --minutes 3 --draws 1 --e2g FOLDER2

FOLDER holds ``C2.xyz`` and ``real_space.npz``: 35 flat cells of two atoms, H(T) and S(T) of PBE/STO-3G with
all electrons from CP2K.  S(T) is computed anew before anything is believed.  Each draw trains on 24 frames
and tests on the other 11.  Errors of levels are those of all bands but the two 1s ones, at 25 k points that
are not on the mesh of the labels, absolute and against the Fermi level, in meV; errors of H in µEh.

FOLDER2 holds the frames of :mod:`e2g`, with Hartree–Fock matrices.  A model of theirs trains on two thirds
of them.  The model of the first draw, which has learnt PBE, is asked for the same test frames, beside its H0:
how levels move with the displacement, from the frame with the smallest one on, in which the difference of
both theories is taken off.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import e2g
import numpy as np
import torch
from ase.io import read

from helm_ase.checkpoint import Checkpoint
from helm_ase.dataset.crystals import CrystalSample, make_crystal_sample
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
from helm_ase.training.crystal_data import CrystalData, prepare_crystals
from helm_ase.training.crystal_losses import CrystalLossWeights
from helm_ase.training.crystals import SMALL, CrystalRun, CrystalTraining, train_on_samples
from helm_ase.units import HARTREE_IN_EV

LEVEL = LevelOfTheory("pbe", "", "sto-3g", False, 0, 1e-8, "CP2K (GAPW)", smearing=0.001)
MESH = (15, 15, 1)
OFFSET = np.array([0, -1, 0])
"""In the file, atom 1 of T is the one of ``C2.xyz`` in the cell T + OFFSET."""
TO_PYSCF = np.array([0, 1, 4, 2, 3, 5, 6, 9, 7, 8])
"""From 1s, 2s, 2p (y, z, x) of each atom to PySCF's (x, y, z)."""
CORE = 2
"""1s bands of a cell."""
POINTS = torch.tensor([[(i + 0.5) / 5, (j + 0.5) / 5, 0.0] for i in range(5) for j in range(5)]).double()
"""k points of all errors of levels."""
LOSSES = {
    "H": CrystalLossWeights(1.0, 0.0, 0.0),
    "H and spectrum": CrystalLossWeights(1.0, 0.2, 0.0),
    "bands alone": CrystalLossWeights(0.0, 0.0, 1.0),
}
"""The three losses of ``--losses``."""


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


def differences(model: HELM | None, sample: CrystalSample) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors of levels but 1s, Hartree, (25, bands), absolute and against the Fermi level of each side."""
    predicted = torch.zeros_like(sample.correction)
    if model is not None:
        with torch.no_grad():
            predicted = model(sample.graph, energy=False, hamiltonian=True).correction[:, 0].double()
    h, s, rest = sample.reference(POINTS)
    ours = LatticeOperator(sample.graph.translation, predicted).at(POINTS)
    both = [levels(matrix, s) for matrix in (h - rest + ours, h)]
    weights = torch.full((len(POINTS),), 1 / len(POINTS), dtype=torch.float64)
    fermi = [Bands(e[None], weights, sample.electrons, LEVEL.smearing).fermi_level for e in both]
    difference = (both[0] - both[1])[:, CORE:]
    return difference, difference - (fermi[0] - fermi[1])


def band_errors(model: HELM | None, samples: list[CrystalSample]) -> dict[str, float]:
    """Errors of levels over all frames, k points and bands but 1s, meV."""
    every = [differences(model, sample) for sample in samples]
    absolute, against = (1000 * HARTREE_IN_EV * torch.stack(x) for x in zip(*every, strict=True))
    return {
        "MAE": float(absolute.abs().mean()),
        "RMSE": float(absolute.square().mean().sqrt()),
        "MAE against E_F": float(against.abs().mean()),
    }


def prepared(labels: list[LabelledCrystal], level: LevelOfTheory, seed: int, share: int) -> CrystalData:
    """Samples of ``share`` frames to train on, chosen by the seed, and of the others for the test."""
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = [replace(labels[k], split="train" if n < share else "val") for n, k in enumerate(order)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graphene.h5"
        write_crystals(file, parts, level)
        return prepare_crystals(file, SMALL.pair_cutoff)


def train(
    data: CrystalData, seed: int, weights: CrystalLossWeights, options: argparse.Namespace
) -> CrystalRun:
    """Train a small network with one loss."""
    settings = CrystalTraining(
        "graphene", weights=weights, epochs=100_000, minutes=options.minutes, virtuals=6, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        return train_on_samples(data, Path(folder) / "graphene.safetensors", settings, options.progress)


def errors_of(run: CrystalRun) -> dict[str, dict[str, float]]:
    """Errors of the test frames, of H0 and of the network."""
    table = {}
    for name, model in (("H0", None), ("network", run.checkpoint.model)):
        h = mean_errors(crystal_errors(model, run.validation, LEVEL.smearing))["hamiltonian"]
        table[name] = {"H": h} | band_errors(model, run.validation)
    return table


def learn_e2g(checkpoint: Checkpoint, weights: CrystalLossWeights, options: argparse.Namespace) -> None:
    """Errors on the E2g frames, of a model of their own and of the one that has learnt PBE."""
    frames = e2g.read_frames(options.e2g)
    print(f"{len(frames)} frames along E2g; S(k) is that of the integrals")
    run = train(prepared(frames, e2g.LEVEL, 0, 2 * len(frames) // 3), 0, weights, options)
    show("E2g, own model", errors_of(run))
    basis, operators = crystal_basis(LEVEL, [6]), checkpoint.baseline.operators
    least = min(frames, key=displacement)
    wanted = {s.name for s in run.validation} | {least.name}
    samples = {
        label.name: make_crystal_sample(label, LEVEL, basis, operators, checkpoint.model.cutoff)
        for label in frames
        if label.name in wanted
    }
    tested = [sample for name, sample in samples.items() if name != least.name]
    moved = [displacement(label) for label in frames]
    print(f"off the lattice site by {min(moved):.3f} to {max(moved):.3f} Å; reference: {least.name}")
    for name, model in (("H0 of PBE", None), ("model of PBE", checkpoint.model)):
        zero = differences(model, samples[least.name])[1]
        left = torch.stack([differences(model, s)[1] - zero for s in tested])
        print(f"{name}: change of levels against E_F {1000 * HARTREE_IN_EV * left.abs().mean():.1f} meV")
    unmoved = torch.stack([change(samples[least.name], s) for s in tested])
    print(f"the change itself: {1000 * HARTREE_IN_EV * unmoved.abs().mean():.1f} meV")


def change(first: CrystalSample, second: CrystalSample) -> torch.Tensor:
    """How the label's levels but 1s differ between two frames, Hartree, (25, bands), each against its E_F."""
    both = []
    weights = torch.full((len(POINTS),), 1 / len(POINTS), dtype=torch.float64)
    for sample in (first, second):
        h, s, _ = sample.reference(POINTS)
        e = levels(h, s)
        both.append((e - Bands(e[None], weights, sample.electrons, LEVEL.smearing).fermi_level)[:, CORE:])
    return both[1] - both[0]


def displacement(label: LabelledCrystal) -> float:
    """Distance of the second atom from the place where all three bonds are equal, Å."""
    first, second = label.lattice.cell[:2]
    if first @ second < 0:
        second = first + second  # at 60 degrees, too
    third = (first + second) / 3
    apart = label.positions[1] - label.positions[0]
    shifts = label.lattice.vectors([[i, j, 0] for i in range(-2, 3) for j in range(-2, 3)])
    return float(min(np.linalg.norm(apart - sign * third + shifts, axis=1).min() for sign in (1, -1)))


def show(name: object, table: dict[str, dict[str, float]]) -> None:
    """Print one line."""
    print(name, {n: {k: round(v, 1) for k, v in e.items()} for n, e in table.items()}, flush=True)


def summarise(tables: list[dict[str, dict[str, float]]]) -> None:
    """Print means and standard deviations over draws."""
    for name in tables[0]:
        values = {k: [t[name][k] for t in tables] for k in tables[0][name]}
        print(name, {k: f"{np.mean(v):.1f} ± {np.std(v):.1f}" for k, v in values.items()})


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
    parser.add_argument("--losses", action="store_true", help="three losses in turn, instead of the weights")
    parser.add_argument("--e2g", type=Path, metavar="FOLDER2", help="folder of the E2g frames")
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args()
    frames = read_frames(options.folder)
    print(f"{len(frames)} frames; S(T) is that of the integrals")
    given = CrystalLossWeights(options.hamiltonian, options.spectrum, options.bands)
    losses = LOSSES if options.losses else {"": given}
    tables: dict[str, list[dict[str, dict[str, float]]]] = {loss: [] for loss in losses}
    first = None
    for seed in range(options.first, options.first + options.draws):
        data = prepared(frames, LEVEL, seed, 24)
        for loss, weights in losses.items():
            run = train(data, seed, weights, options)
            tables[loss].append(errors_of(run))
            show(f"{loss} {seed}".strip(), tables[loss][-1])
            first = run.checkpoint if first is None or (seed == options.first and weights == given) else first
    for loss, draws in tables.items():
        print(loss or "mean")
        summarise(draws)
    if options.e2g is not None and first is not None:
        learn_e2g(first, given, options)
