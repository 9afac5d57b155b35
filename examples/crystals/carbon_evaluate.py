"""Errors of a model of carbon, kind by kind, beside those of its H0 alone.

    python carbon_evaluate.py carbon.h5 carbon.safetensors

Frames of the splits ``val`` (kinds that were trained on) and ``test`` (kinds that were not), means of
absolute errors: matrix elements within the cutoff in µEh, occupied levels absolute and from the Fermi level,
Fermi level, gap on the mesh in meV, energy in meV per atom where the model has learnt energies.  Levels are
compared on a mesh that is not the labels'.  "Flagged" are frames with bonds or environments that the model
says it has not seen (``helm-ase calibrate`` records those of its training).  Of graphene that is not
distorted: how far apart the two levels at K are, and the slope of the cone.
"""

import argparse

import numpy as np
import torch
from ase import Atoms
from ase.build import graphene

from helm_ase import HELMCalculator
from helm_ase.checkpoint import load_shared
from helm_ase.dataset.crystals import make_crystal_sample
from helm_ase.electronic.band_levels import levels
from helm_ase.evaluation.crystals import crystal_errors, mean_errors
from helm_ase.labels.crystals import CrystalSource
from helm_ase.prediction.environments import unknown_environments
from helm_ase.units import HARTREE_IN_EV

COLUMNS = {
    "hamiltonian": "H", "occupied": "occupied", "occupied_from_fermi": "from E_F", "fermi_level": "E_F",
    "virtual": "virtual", "gap": "gap", "energy": "energy",
}  # fmt: skip
STEP = 0.01
"""1/Å, from K."""


def cone(levels_at, cell) -> tuple[float, float]:
    """Distance of the two levels at K, eV, and mean slope ħv of the cone around it, eV Å."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell.complete().array).T
    corner = cell.bandpath("K", npoints=1, pbc=[True, True, False]).special_points["K"]
    angles = np.arange(0, 2 * np.pi, np.pi / 6)
    circle = STEP * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1) @ np.linalg.inv(reciprocal)
    e = levels_at(np.concatenate([[corner], corner + circle]))[:, 3:5]
    return float(e[0, 1] - e[0, 0]), float((e[1:, 1] - e[1:, 0]).mean() / (2 * STEP))


def atoms_of(label) -> Atoms:
    """The structure of a label."""
    return Atoms(label.numbers, label.positions, cell=label.lattice.cell, pbc=label.lattice.pbc)


def show(title: str, errors: list, faults: list | None) -> None:
    """Print means over frames, and how many of them are flagged."""
    means = mean_errors(errors)
    numbers = [f"{means[k]:.1f}" if np.isfinite(means[k]) else "–" for k in COLUMNS]
    flagged = "–" if faults is None else sum(map(bool, faults))
    print(f"| {title} | {len(errors)} | {' | '.join(numbers)} | {flagged} |", flush=True)


def show_cone(model: str, sample) -> None:
    """Print both numbers of the label and of the model."""
    atoms = graphene(a=2.46)
    calc = HELMCalculator(model=model, dtype="float64")

    def of_label(k):
        h, s, _ = sample.reference(torch.from_numpy(k))
        return levels(h, s).numpy() * HARTREE_IN_EV

    def of_model(k):
        h, s = (torch.from_numpy(m) for m in calc.get_bloch_matrices(k, atoms))
        return levels(h, s).numpy() * HARTREE_IN_EV

    for name, function in (("label", of_label), ("model", of_model)):
        apart, slope = cone(function, atoms.cell)
        print(f"graphene at K, {name}: levels {apart:.1e} eV apart, slope {slope:.3f} eV Å")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", metavar="LABELS.h5")
    parser.add_argument("model", metavar="MODEL.safetensors")
    options = parser.parse_args()
    checkpoint, source = load_shared(options.model), CrystalSource(options.labels)
    energies = "energy" in checkpoint.predicts
    samples: dict[str, list] = {}
    faults: dict[str, list] = {}
    for label in source:
        if label.split in ("val", "test") and not checkpoint.knows.unknown_elements(label.numbers):
            sample = make_crystal_sample(
                label, source.level, checkpoint.basis, checkpoint.baseline.operators, checkpoint.model.cutoff
            )
            kind = f"{label.name.split()[0]} ({label.split})"
            samples.setdefault(kind, []).append(sample)
            faults.setdefault(kind, []).append(unknown_environments(atoms_of(label), checkpoint))
    print(f"| | frames | {' | '.join(COLUMNS.values())} | flagged |\n|{' --- |' * (3 + len(COLUMNS))}")
    errors: dict[tuple[str, str], list] = {}
    for kind, some in samples.items():
        for name, model in (("H0", None), ("model", checkpoint.model)):
            own = crystal_errors(model, some, source.level.smearing, energies=energies)
            show(f"{kind}, {name}", own, faults[kind] if model and checkpoint.uncertainty else None)
            if kind.endswith("(val)"):
                errors.setdefault(("all (val)", name), []).extend(own)
    for (kind, name), own in errors.items():
        show(f"{kind}, {name}", own, None)
    for sample in samples.get("ideal (test)", []):
        show_cone(options.model, sample)
