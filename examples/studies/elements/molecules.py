"""Molecules of 58 elements, as starting geometries for sampling.

    python molecules.py starting.xyz
    helm-ase sample starting.xyz -o sampled.xyz --temperatures 0 300 600
    python molecules.py pool.xyz --split sampled.xyz

The elements are those of OMol_CSH_58k (arXiv 2510.00224): H to Ca, Ga to Ba and Hf to Bi, with the 4d and 5d
metals between; all molecules are closed shells.  ``--split`` copies sampled frames and gives each the split
and the element of its molecule: of the molecules that are listed under one element every fourth, beginning
with the third, is for validation, so that every element is judged by a molecule of which no frame was trained
on.  Each molecule comes once, at random, before any comes again, so that labelling may be stopped early.

A molecule is a central atom with ligands in the directions that repel each other least; two or three ligands
leave one direction free, for a lone pair.  Sampling relaxes it, but hardly out of a saddle point of high
symmetry, such as linear water: hence the free direction, and a small displacement of every atom.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.io import iread, write

LIGANDS = {
    "Me": ("C", "H", "H", "H"), "OH": ("O", "H"), "aq": ("O", "H", "H"), "am": ("N", "H", "H", "H"),
    "CO": ("C", "O"), "CN": ("C", "N"), "ph": ("P", "H", "H", "H"),
}  # fmt: skip
"""Name of a ligand → its atoms, the first one bound to the centre; other names are elements."""
TABLE = """
H  : H aq+1
He : H+1 He Li+1
Li : H F Cl OH Me aq+1 aqx2+1 am+1
Be : Hx2 Fx2 Clx2 Mex2 OHx2 aqx2+2
B  : Hx3 Fx3 Clx3 Hx4-1 OHx3 Mex3 H,Fx2
C  : Hx4 Fx4 Clx4 Ox2 N,H OH,Hx3 Sx2
N  : Hx3 Fx3 Hx4+1 Me,Hx2 OH,Hx2 Clx3
O  : Hx2 Fx2 Clx2 Mex2 OH,H H-1
F  : H F Hx2+1 Hx2-1
Ne : H+1 Ne Li+1
Na : H F Cl OH Me aq+1 aqx2+1 am+1
Mg : Hx2 Fx2 Clx2 Mex2 OHx2 aqx3+2
Al : Hx3 Fx3 Clx3 Hx4-1 OHx3 Mex3 Fx4-1
Si : Hx4 Fx4 Clx4 Ox2 Me,Hx3 OH,Hx3 Clx2
P  : Hx3 Fx3 Fx5 Me,Hx2 Clx3 O,Fx3 Hx4+1
S  : Hx2 Ox2 Ox3 Fx4 Fx6 Mex2 Clx2 O,Clx2
Cl : H Cl F Me OH Fx3 O,OH Ox4-1
Ar : H+1 Ar H,F Li+1
K  : H F Cl OH aq+1 aqx2+1 am+1
Ca : Hx2 Fx2 Clx2 OHx2 aqx3+2 Mex2
Ga : Hx3 Fx3 Clx3 Mex3 Hx4-1 H Clx4-1
Ge : Hx4 Fx4 Clx4 Me,Hx3 Clx2 OH,Hx3 Brx4
As : Hx3 Fx3 Clx3 Me,Hx2 Fx5 O,Fx3
Se : Hx2 Ox2 Fx4 Mex2 Clx2 Fx6 OHx2
Br : H Br Cl Me OH Fx3 Ox3-1
Kr : H+1 Kr Fx2 H,F
Rb : H F Cl OH aq+1 aqx2+1
Sr : Hx2 Fx2 Clx2 OHx2 aqx3+2
Y  : Hx3 Fx3 Clx3 Mex3 OHx3
Zr : Hx4 Fx4 Clx4 Ox2 Me,Clx3 OHx4
Nb : Fx5 Clx5 Hx5 O,Clx3 O,Fx3
Mo : Fx6 Ox3 Ox4-2 Ox2,Fx2 COx6 Ox2,Clx2
Tc : Ox4-1 Ox3,F Ox3,OH Ox3,Cl Ox3,Me
Ru : Ox4 COx5 Ox2,Fx4 Hx2,COx4
Rh : COx2,Clx2-1 COx4+1 H,COx4 COx2,CNx2-1
Pd : Clx2 phx2 COx4 Clx2,amx2 Clx4-2 Hx2
Ag : H F Cl amx2+1 aqx2+1 CNx2-1
Cd : Hx2 Clx2 Mex2 Fx2 aqx4+2 Brx2
In : Hx3 Fx3 Clx3 Cl Mex3 H Brx3
Sn : Hx4 Fx4 Clx4 Clx2 Me,Hx3 Ox2
Sb : Hx3 Fx3 Clx3 Fx5 Me,Hx2 OHx3
Te : Hx2 Clx2 Ox2 Mex2 Fx6 Fx4 OHx2
I  : H I Cl Me OH Fx3 Fx5 Ox3-1
Xe : H+1 Fx2 Fx4 Ox3 H,Cl Xe
Cs : H F Cl OH aq+1 aqx2+1
Ba : Hx2 Fx2 Clx2 OHx2 aqx3+2
Hf : Hx4 Fx4 Clx4 Ox2 Me,Clx3 OHx4
Ta : Fx5 Clx5 Hx5 O,Clx3 O,Fx3
W  : Fx6 Ox3 Hx6 Ox4-2 Ox2,Fx2 O,Fx4
Re : Ox4-1 Ox3,F Ox3,OH Ox3,Cl Ox3,Me
Os : Ox4 COx5 Ox2,Fx4 Ox3,Fx2
Ir : COx2,Clx2-1 COx4+1 H,COx4 COx2,CNx2-1
Pt : Clx2,amx2 phx2 Clx4-2 COx4 Hx2,phx2 Clx2,COx2
Au : H F Cl amx2+1 Clx4-1 CNx2-1 Me,ph
Hg : Hx2 Clx2 Mex2 Fx2 aqx2+2 CNx2
Tl : H F Cl Clx3 Mex3 Hx3 OH
Pb : Hx4 Clx2 Clx4 Fx2 Mex4 O
Bi : Hx3 Fx3 Clx3 Me,Hx2 Fx5 OHx3
"""
"""Element : molecules; ``Clx2,amx2`` is two Cl and two NH3, ``+1`` and ``-1`` at the end are charges."""


TILT = 70.0
"""Angle between the axis of a ligand and its outer bonds, degrees."""
LONE_PAIR = (2, 3)
"""Numbers of ligands that leave one direction free."""
DISPLACEMENT = 0.05
"""Standard deviation of the displacements of atoms, Å."""


def entries() -> Iterator[tuple[str, int, str]]:
    """Element, number among its molecules, and molecule."""
    for line in TABLE.strip().splitlines():
        element, listed = line.split(":")
        for number, text in enumerate(listed.split()):
            yield element.strip(), number, text


def split_of(number: int) -> str:
    """Split of one of an element's molecules."""
    return "val" if number % 4 == 2 else "train"


def parse(text: str) -> tuple[list[str], int]:
    """Ligands and charge of ``Clx2,amx2`` or ``Hx4-1``."""
    found = re.fullmatch(r"(.+?)([+-]\d)?", text)
    assert found is not None
    ligands: list[str] = []
    for part in found[1].split(","):
        name, _, count = part.partition("x")
        ligands += [name] * int(count or 1)
    return ligands, int(found[2] or 0)


@cache
def directions(count: int) -> np.ndarray:
    """Unit vectors as far apart as they can be: those of least repulsion on a sphere, (count, 3)."""
    vectors = np.random.default_rng(count).normal(size=(count, 3))
    for _ in range(2000):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        apart = vectors[:, None] - vectors
        cubed = np.linalg.norm(apart, axis=2) ** 3 + np.eye(count)
        vectors = vectors + 0.05 * (apart / cubed[..., None]).sum(1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ligand(name: str) -> Atoms:
    """Its atoms, the one that binds at the origin, the others above it."""
    symbols = LIGANDS.get(name, (name,))
    made, outer = Atoms(symbols[:1], [[0.0, 0.0, 0.0]]), symbols[1:]
    straight = symbols in (("C", "O"), ("C", "N"))
    polar = np.radians(0.0 if straight else TILT)
    for k, symbol in enumerate(outer):
        turn = 2 * np.pi * k / len(outer)
        axis = np.array([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)])
        made += Atoms([symbol], [bond(symbols[0], symbol) * (0.8 if straight else 1.0) * axis])
    return made


def bond(one: str, other: str) -> float:
    """Length of a single bond, Å."""
    return float(covalent_radii[atomic_numbers[one]] + covalent_radii[atomic_numbers[other]])


def build(element: str, text: str) -> Atoms:
    """Starting geometry of a molecule."""
    names, charge = parse(text)
    atoms = Atoms([element], [[0.0, 0.0, 0.0]])
    axes = directions(len(names) + (len(names) in LONE_PAIR))
    for k, (name, axis) in enumerate(zip(names, axes, strict=False)):
        part = ligand(name)
        part.rotate([0, 0, 1], axis)
        part.rotate(40.0 * k, axis)
        part.translate(1.05 * bond(element, part.symbols[0]) * axis)
        atoms += part
    random = np.random.default_rng([ord(letter) for letter in f"{element} {text}"])
    atoms.positions += random.normal(scale=DISPLACEMENT, size=atoms.positions.shape)
    atoms.info = {"name": f"{element}_{text.replace(',', '_')}", "charge": charge, "multiplicity": 1}
    return atoms


def known_molecules() -> dict[tuple[str, int], tuple[str, int]]:
    """Formula and charge → split, and atomic number of the element under which a molecule is listed."""
    known = {}
    for element, number, text in entries():
        atoms = build(element, text)
        key = atoms.get_chemical_formula(), atoms.info["charge"]
        if known.setdefault(key, (split_of(number), atomic_numbers[element]))[0] != split_of(number):
            raise SystemExit(f"{key[0]} is in both splits")
    return known


def with_splits(sampled: str) -> Iterator[Atoms]:
    """Frames that sampling has made, with splits and elements of their molecules."""
    known = known_molecules()
    random, count, placed = np.random.default_rng(0), Counter(), []
    frames = list(iread(sampled))
    for k in random.permutation(len(frames)):
        key = frames[k].get_chemical_formula(), int(frames[k].info["charge"])
        frames[k].info["split"], frames[k].info["element"] = known[key]
        placed.append((count[key], len(placed), frames[k]))
        count[key] += 1
    for *_, atoms in sorted(placed, key=lambda x: x[:2]):
        yield atoms


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", metavar="OUTPUT.xyz")
    parser.add_argument("--split", metavar="SAMPLED.xyz", help="frames that get their splits")
    options = parser.parse_args()
    frames = (
        list(with_splits(options.split))
        if options.split
        else [build(element, text) for element, _, text in entries()]
    )
    write(options.output, frames, format="extxyz")
    print(f"{options.output}: {len(frames)} structures")
