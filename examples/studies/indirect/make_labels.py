"""Geometries and labels of the indirect study: small molecules to train on, large ones to test on.

    python make_labels.py FOLDER sto-3g [--workers N]
    python make_labels.py FOLDER def2-tzvp [--workers N]

FOLDER/structures.xyz: one geometry of 300 K of each molecule of ``molecules.smi``, split by the hash
rule, and, as split ``large``, polyenes and acenes: minima of GFN2-xTB, and displacements along normal
modes at 300 K.

``sto-3g`` labels all of them with B3LYP/STO-3G.  ``def2-tzvp`` labels some with B3LYP/def2-TZVP and
density fitting: COUNT molecules of up to five heavy atoms, and of the smaller large ones the minimum and
one displaced geometry.  Both go on after an interruption.  Hamiltonians give levels, dipoles and uncoupled
polarizabilities; for coupled ones add ``--polarizability`` (twice the time in the small basis, four times
in the large one).
"""

import argparse
from pathlib import Path

import ase.io
from ase import Atoms
from make_large import molecules

from helm_ase.cli import main as helm_ase
from helm_ase.labels.splits import heavy_atoms, split_by_hash

LEVELS = {
    "sto-3g": ["--basis", "sto-3g", "--no-density-fitting"],
    "def2-tzvp": ["--basis", "def2-tzvp"],
}
COMMON = ["--xc", "b3lyp", "--grid", "2", "--no-forces"]
DISPLACEMENTS = 6
"""Of each large molecule."""
COUNT = {"train": 110, "val": 15, "test": 25}
"""Molecules of up to five heavy atoms in the large basis."""
LARGEST = 10
"""Heavy atoms of a large molecule in the large basis."""
LARGE_EACH = 2
"""Their geometries in the large basis."""


def main() -> None:
    options, label_options = arguments()
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    structures = folder / "structures.xyz"
    if not structures.exists():
        small, large = sample_small(folder, options.limit), sample_large(folder, options.limit)
        ase.io.write(structures, small + large)
    frames = ase.io.read(structures, index=":")
    if options.basis == "def2-tzvp":
        frames = some(frames)
    frames = [f for f in frames if heavy_atoms(str(f.info["smiles"])) <= options.heavy]
    chosen, output = folder / f"{options.basis}.xyz", folder / f"{options.basis}.h5"
    ase.io.write(chosen, frames)
    run("label", str(chosen), "-o", str(output), *COMMON, *LEVELS[options.basis], *label_options)


def sample_small(folder: Path, limit: int | None) -> list[Atoms]:
    path = folder / "small.xyz"
    few = [] if limit is None else ["--limit", str(limit)]
    smiles = str(Path(__file__).with_name("molecules.smi"))
    run("sample", smiles, "--temperatures", "300", "-o", str(path), "--processes", "1", "--force", *few)
    frames = ase.io.read(path, index=":")
    parts = split_by_hash([str(f.info["smiles"]) for f in frames], spelling=True)
    for part, indices in parts.items():
        for k in indices:
            frames[k].info["split"] = part
    return frames


def sample_large(folder: Path, limit: int | None) -> list[Atoms]:
    start, path = folder / "large-start.xyz", folder / "large.xyz"
    ase.io.write(start, molecules()[:limit])
    run("sample", str(start), "--temperatures", "0", "300", "--md-steps", "0", "--displacements",
        str(DISPLACEMENTS), "-o", str(path), "--processes", "1", "--force")  # fmt: skip
    frames = ase.io.read(path, index=":")
    for frame in frames:
        frame.info["split"] = "large"
    return frames


def some(frames: list[Atoms]) -> list[Atoms]:
    """Frames for the large basis; those sampled come in a random order."""
    left = dict(COUNT)
    chosen, seen = [], {}
    for frame in sorted(frames, key=lambda f: f.info["temperature_K"]):  # the minima of the large ones first
        part, smiles = frame.info["split"], str(frame.info["smiles"])
        size = heavy_atoms(smiles)
        if part == "large" and size <= LARGEST and seen.setdefault(smiles, 0) < LARGE_EACH:
            seen[smiles] += 1
        elif part != "large" and size <= 5 and left[part]:
            left[part] -= 1
        else:
            continue
        chosen.append(frame)
    return chosen


def run(*arguments: str) -> None:
    if helm_ase(list(arguments)):  # it has said why
        raise SystemExit(1)


def arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Further options go to 'helm-ase label'.",
    )
    parser.add_argument("folder")
    parser.add_argument("basis", choices=list(LEVELS))
    parser.add_argument("--limit", type=int, metavar="N", help="small and large molecules at most (all)")
    parser.add_argument("--heavy", type=int, default=99, metavar="N", help="atoms but hydrogen at most (all)")
    return parser.parse_known_args()


if __name__ == "__main__":  # worker processes import this file again
    main()
