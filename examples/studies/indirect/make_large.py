"""Write starting geometries of the large test molecules: all-trans polyenes and acenes, planar.

    python make_large.py large-start.xyz

C4H6 to C12H14 and benzene to tetracene, built with one bond length and angles of 120 degrees; ``helm-ase
sample`` relaxes them.
"""

import argparse

import ase.io
import numpy as np
from ase import Atoms

CC, CH = 1.40, 1.09
"""Å."""
POLYENES = (2, 3, 4, 5, 6)
"""Double bonds."""
ACENES = {1: "c1ccccc1", 2: "c1ccc2ccccc2c1", 3: "c1ccc2cc3ccccc3cc2c1", 4: "c1ccc2cc3cc4ccccc4cc3cc2c1"}
"""Rings → canonical SMILES."""
SMILES = {n: "=".join(["C", *["CC"] * (n - 1), "C"]) for n in POLYENES}
SMILES = [*SMILES.values(), *ACENES.values()]
"""Canonical, without stereochemistry, in the order of :func:`molecules`."""


def molecules() -> list[Atoms]:
    skeletons = [zigzag(2 * n) for n in POLYENES] + [fused_rings(n) for n in ACENES]
    return [
        with_hydrogens(carbons, {"smiles": smiles}) for carbons, smiles in zip(skeletons, SMILES, strict=True)
    ]


def zigzag(count: int) -> np.ndarray:
    """Carbon atoms of an all-trans chain, Å, (count, 2)."""
    number = np.arange(count)
    return CC * np.column_stack([number * np.sqrt(3) / 2, (number % 2) / 2])


def fused_rings(count: int) -> np.ndarray:
    """Carbon atoms of hexagons in a row, Å, (4 count + 2, 2)."""
    angles = np.pi / 2 + np.arange(6) * np.pi / 3
    hexagon = CC * np.column_stack([np.cos(angles), np.sin(angles)])
    corners = np.concatenate([hexagon + np.array([k * CC * np.sqrt(3), 0]) for k in range(count)])
    return np.unique(np.round(corners, 6), axis=0)


def with_hydrogens(carbons: np.ndarray, info: dict[str, str]) -> Atoms:
    """Planar molecule: every carbon atom has three neighbours, the missing ones are hydrogen."""
    hydrogens = []
    for here in carbons:
        distances = np.linalg.norm(carbons - here, axis=1)
        bonds = carbons[(distances > 0.1) & (distances < 1.1 * CC)] - here
        if len(bonds) == 2:
            hydrogens.append(here - CH * bonds.sum(axis=0) / np.linalg.norm(bonds.sum(axis=0)))
        elif len(bonds) == 1:
            along = bonds[0] / CC
            across = np.array([-along[1], along[0]])
            hydrogens += [here + CH * (-along / 2 + s * across * np.sqrt(3) / 2) for s in (1, -1)]
    plane = np.concatenate([carbons, hydrogens])
    symbols = ["C"] * len(carbons) + ["H"] * len(hydrogens)
    return Atoms(symbols, np.column_stack([plane, np.zeros(len(plane))]), info=info)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", metavar="FILE.xyz")
    ase.io.write(parser.parse_args().output, molecules())
