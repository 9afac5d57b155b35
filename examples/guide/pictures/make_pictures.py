"""Draw the pictures of the guide: ``python examples/guide/pictures/make_pictures.py [FOLDER]``.

Everything is computed with the default model; no labels are needed.
"""

import argparse
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.image import imread

from helm_ase import ElectronicStructure, ExtrapolationWarning, HELMCalculator
from helm_ase.checkpoint import load_shared
from helm_ase.pictures.figure import save
from helm_ase.pictures.orbitals import draw_orbital
from helm_ase.qc import Baseline
from helm_ase.qc.baseline import baseline_of_spins
from helm_ase.qc.molecule import basis_of, build_mole
from helm_ase.qc.tight_binding import TightBinding
from helm_ase.representation import AOMatrix
from helm_ase.units import HARTREE_IN_EV

ORDINARY = ["H2O", "CH3OH", "CH3CH2OH", "CH3CHO", "CH3CONH2", "C6H6", "C5H5N", "C4H4S", "CH3NO2", "CH3Cl"]
STRANGE = ["ClNO", "S2", "P2", "SiO", "CS", "O3", "ClF3", "CO"]


def structure_of(atoms: Atoms, hamiltonian: np.ndarray, like: ElectronicStructure) -> ElectronicStructure:
    """Orbitals of another Hamiltonian (PySCF AO order, Hartree) of the same molecule."""
    return ElectronicStructure.solve(
        torch.from_numpy(hamiltonian)[None], like.overlap, sum(like.electrons), integrals=like.integrals
    )


def baseline_of(atoms: Atoms, name: str | None = None) -> np.ndarray:
    """H0 at the default model's level of theory, by default its own, (A, A), Hartree, PySCF AO order."""
    checkpoint = load_shared(None)
    mole = build_mole(atoms.numbers, atoms.positions, checkpoint.level.basis)
    baseline = Baseline(name) if name else checkpoint.baseline
    charges = TightBinding(checkpoint.energy_baseline.for_charges)(atoms.numbers, atoms.positions, 0, 1)
    h0 = baseline_of_spins(mole, basis_of(mole), checkpoint.level, baseline, charges)
    return AOMatrix(h0, atoms.numbers, basis_of(mole)).reorder("pyscf").values


def draw_hamiltonian(folder: Path) -> None:
    """H, and what the network adds to H0, for ethanol."""
    atoms = molecule("CH3CH2OH")
    h = HELMCalculator().get_hamiltonian(atoms)
    correction = h - baseline_of(atoms)
    sizes = [load_shared(None).basis.size_of(z) for z in atoms.numbers]
    edges = np.cumsum([0, *sizes])
    figure = Figure(figsize=(8.2, 4.0), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, matrix, title in zip(axes, (h, correction), ("H", "H − H0: what the network adds"), strict=True):
        image = ax.imshow(matrix, cmap="RdBu", norm=SymLogNorm(1e-3, vmin=-20, vmax=20))
        for edge in edges[1:-1]:
            ax.axhline(edge - 0.5, color="0.8", lw=0.4)
            ax.axvline(edge - 0.5, color="0.8", lw=0.4)
        middles = (edges[1:] + edges[:-1] - 1) / 2
        ax.set_xticks(middles, atoms.symbols)
        ax.set_yticks(middles, atoms.symbols)
        ax.tick_params(length=0)
        ax.set_title(title)
    figure.colorbar(image, ax=axes, label="Hartree", ticks=[-10, -0.1, -1e-3, 0, 1e-3, 0.1, 10])
    save(figure, folder / "hamiltonian.png")


def draw_baselines(folder: Path) -> None:
    """Valence levels of formaldehyde from three baselines, and from the prediction."""
    atoms = molecule("H2CO")
    predicted = HELMCalculator().get_electronic_structure(atoms)
    columns = {
        "H0 = sap": structure_of(atoms, baseline_of(atoms, "sap"), predicted),
        "H0 = minao": structure_of(atoms, baseline_of(atoms, "minao"), predicted),
        "H0 = fitted": structure_of(atoms, baseline_of(atoms), predicted),
        "predicted H": predicted,
    }
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.add_subplot()
    for k, structure in enumerate(columns.values()):
        levels, occupied = structure.orbital_energies[0] * HARTREE_IN_EV, structure.occupied[0]
        for number, level in enumerate(levels.tolist()):
            ax.hlines(level, k - 0.35, k + 0.35, color="C0" if number < occupied else "C3", lw=1.4)
    ax.set(ylim=(-35, 12), ylabel="orbital energy (eV)", title="Formaldehyde: occupied (blue), virtual (red)")
    ax.set_xticks(range(len(columns)), list(columns))
    save(figure, folder / "baselines.png")


def draw_ghosts(folder: Path) -> None:
    """LUMO of ethanol when H carries random errors, with and without the trust filter."""
    atoms = molecule("CH3CH2OH")
    structure = HELMCalculator().get_electronic_structure(atoms)
    h, s = structure.hamiltonian[0].numpy(), structure.overlap.numpy()
    values, vectors = np.linalg.eigh(s)
    delta = load_shared(None).model.settings.trust_delta
    w = vectors * (values / (values + delta)) @ vectors.T
    noise = np.random.default_rng(0).normal(size=(20, *h.shape))
    noise = (noise + noise.swapaxes(1, 2)) / 2
    errors = np.logspace(-4, -2, 9)
    figure = Figure(figsize=(8.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    grid = np.logspace(-5, 0.5, 200)
    left.semilogx(grid, grid / (grid + delta), color="C0")
    left.semilogx(values, values / (values + delta), "|", color="0.3", ms=10)
    left.set(
        xlabel="eigenvalue of the overlap matrix", ylabel="weight of the correction", title="s / (s + δ)"
    )
    for sides, name, colour in ((np.eye(len(h)), "not filtered", "C3"), (w, "filtered", "C0")):
        shift = [
            np.mean([structure_of(atoms, h + e * sides @ x @ sides, structure).lumo for x in noise])
            - structure.lumo
            for e in errors
        ]
        right.semilogx(1e3 * errors, HARTREE_IN_EV * np.array(shift), "o-", color=colour, label=name)
    right.set(xlabel="random error of an element of H (mEh)", ylabel="shift of the LUMO (eV)")
    right.set_title("Ethanol")
    right.legend(frameon=False)
    save(figure, folder / "ghost_states.png")


def draw_error_bars(folder: Path) -> None:
    """Error bars of the energy of ordinary molecules, and of strange ones."""
    calculator = HELMCalculator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        bars = [(name, calculator.get_uncertainty(molecule(name))) for name in [*ORDINARY, *STRANGE]]
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    ax = figure.add_subplot()
    colours = ["C0" if bar.per_atom <= bar.threshold else "C3" for _, bar in bars]
    ax.bar(range(len(bars)), [1e3 * bar.per_atom for _, bar in bars], color=colours)
    ax.axhline(1e3 * bars[0][1].threshold, color="0.3", lw=1, ls="--")
    ax.text(-0.4, 1e3 * bars[0][1].threshold * 1.04, "threshold of the model", color="0.3")
    ax.set_xticks(range(len(bars)), [name for name, _ in bars], rotation=60)
    ax.set(ylabel="error bar (meV/atom)", yscale="log", ylim=(1, 100))
    ax.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"], minor=False)
    ax.set_yticks([], minor=True)
    save(figure, folder / "error_bars.png")


def draw_orbitals(folder: Path) -> None:
    """HOMO and LUMO of formaldehyde beside each other."""
    atoms = molecule("H2CO")
    structure = HELMCalculator().get_electronic_structure(atoms)
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    with TemporaryDirectory() as scratch:
        for axes, name in zip(figure.subplots(1, 2), ("homo", "lumo"), strict=True):
            picture = Path(scratch) / f"{name}.png"
            draw_orbital(structure, atoms, picture, name)
            axes.imshow(imread(picture))
            axes.set_title(f"{name.upper()} of formaldehyde")
            axes.set_axis_off()
    save(figure, folder / "orbitals.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=Path(__file__).parent, type=Path)
    target = parser.parse_args().folder
    for draw in (draw_hamiltonian, draw_baselines, draw_ghosts, draw_error_bars, draw_orbitals):
        draw(target)
