"""Geometries that molecular dynamics does not visit: dimers pulled apart, bonds stretched.

    python special_geometries.py special.xyz [--seed 0]

writes extended XYZ for ``helm-ase label``, with charge, multiplicity, SMILES and split in the comment lines,
from the list in special_geometries.txt.  Needs pip install 'helm-ase[label]'.  Molecules are relaxed with
GFN2-xTB; what collides or belongs to the test split is left out.  The same seed gives the same file.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from rdkit import Chem

from helm_ase.representation.connectivity import fragments
from helm_ase.sampling import Molecule, SamplingResult, SamplingSettings, from_smiles, write
from helm_ase.sampling.dimers import join
from helm_ase.sampling.filters import find_fault
from helm_ase.sampling.placement import place
from helm_ase.sampling.relaxation import relax, xtb_calculator
from helm_ase.sampling.seeds import derive_seed, generator
from helm_ase.sampling.task import FAILURES, Fault, relaxed_geometry

SETTINGS = SamplingSettings(fmax=0.02, relax_steps=500)
DISTANCES = (0.9, 1.0, 1.12, 1.3, 1.6, 4.5, 6.0, 8.0)
"""Closest contacts of a dimer: below 2 in units of that of the relaxed pair, the others in Å."""
STACKED = (0.9, 1.0, 1.12, 1.6, 8.0)
"""The same of a stack, in units of 3.4 Å."""
NEAR, NEAR_STACKED = (0.93, 1.0, 1.15, 1.6), (0.92, 1.0, 1.12)
"""Both for the headings that ask for the neighbourhood of the minimum only."""


def split_of(smiles: str) -> str:
    """``train``, ``val`` or ``test`` by hash; of a dimer also of its parts of three and more heavy atoms."""
    parts = smiles.split(".")
    large = [part for part in parts if Chem.MolFromSmiles(part).GetNumHeavyAtoms() > 2]
    names = large if len(parts) == 1 else [smiles, *large]
    lowest = min((int(hashlib.sha256(n.encode()).hexdigest(), 16) % 100 for n in names), default=99)
    return "test" if lowest < 6 else "val" if lowest < 10 else "train"


class Special:
    """Collects structures; every one is checked and named."""

    def __init__(self, seed: int) -> None:
        self.seed, self.structures, self.count = seed, [], Counter()

    def random(self, *parts: object) -> np.random.Generator:
        """The random numbers of one scan."""
        return generator(derive_seed(self.seed, *parts))

    def add(self, molecule: Molecule, geometries: list[np.ndarray], kind: str) -> None:
        """Keep those geometries (Å, (N, 3)) of a scan whose atoms do not collide, below 10 eV."""
        split, found = split_of(molecule.smiles), []
        for positions in geometries:
            self.count[molecule.smiles, kind] += 1
            if (
                split == "test"
                or find_fault(molecule.numbers, positions, molecule.bonds) == "atoms too close"
            ):
                continue
            atoms = atoms_of(molecule, np.round(positions - positions.mean(axis=0), 8))
            try:
                energy = float(atoms.get_potential_energy())
            except FAILURES:
                continue
            seed = derive_seed(self.seed, molecule.smiles, kind, self.count[molecule.smiles, kind])
            atoms.calc = None
            atoms.info = {
                "name": f"{atoms.get_chemical_formula()}-{kind}-{seed:016x}", "smiles": molecule.smiles,
                "kind": "dimer" if "." in molecule.smiles else "monomer",
                "method": kind, "temperature_K": 0.0,
                "seed": seed, "charge": molecule.charge, "multiplicity": molecule.multiplicity,
                "xtb_energy": energy, "split": split,
            }  # fmt: skip
            found.append(atoms)
        lowest = min((atoms.info["xtb_energy"] for atoms in found), default=0.0)
        self.structures += [atoms for atoms in found if atoms.info["xtb_energy"] < lowest + 10]


def atoms_of(molecule: Molecule, positions: np.ndarray) -> Atoms:
    """Atoms with GFN2-xTB."""
    return Atoms(
        molecule.numbers, positions, calculator=xtb_calculator(molecule.charge, molecule.multiplicity)
    )


def contact(one: np.ndarray, two: np.ndarray) -> float:
    """Closest distance between the two, Å."""
    return float(np.linalg.norm(one[:, None] - two[None], axis=-1).min())


def pull_apart(
    one: np.ndarray, two: np.ndarray, direction: np.ndarray, relaxed: float, distances: tuple[float, ...]
) -> list[np.ndarray]:
    """The second moved along ``direction`` until the closest contacts are ``distances``; ``relaxed`` in Å."""
    steps = np.arange(-4, 16, 0.01)
    apart = np.array([contact(one, two + step * direction) for step in steps])
    wanted = [d * relaxed if d < 2 else d for d in distances]
    inside = [np.nonzero(apart < d)[0] for d in wanted]
    return [np.vstack([one, two + steps[i.max() + 1] * direction]) for i in inside if len(i)]


def dimer_scan(
    special: Special,
    names: str,
    distances: tuple[float, ...] = DISTANCES,
    placements: int = 8,
    steps: int = 200,
) -> None:
    """The best of several relaxed random placements, pulled apart."""
    first, second = map(from_smiles, names.split("."))
    pair, best = join(first, second), (np.inf, None)
    random, n = special.random(names, "dimer"), len(first.numbers)
    one, two = (relaxed_geometry(m, special.seed, SETTINGS) for m in (first, second))
    for _ in range(placements):
        atoms = atoms_of(pair, place(one, two, (1.9, 2.8), random))
        try:
            relax(atoms, 0.03, steps)
        except FAILURES:
            continue
        if find_fault(pair.numbers, atoms.positions, pair.bonds) is None:
            best = min(
                best, (atoms.get_potential_energy(), atoms.get_positions()), key=lambda found: found[0]
            )
    if best[1] is None:
        raise Fault("no placement survives relaxation")
    one, two = best[1][:n], best[1][n:]
    axis = two.mean(axis=0) - one.mean(axis=0)
    special.add(
        pair, pull_apart(one, two, axis / np.linalg.norm(axis), contact(one, two), distances), "dimer-scan"
    )


def stacked_scan(special: Special, names: str, distances: tuple[float, ...] = STACKED) -> None:
    """Plane over plane, the second turned and shifted at random."""
    first, second = map(from_smiles, names.split("."))
    random, flat = special.random(names, "stacked"), []
    for molecule in (first, second):
        positions = relaxed_geometry(molecule, special.seed, SETTINGS)
        positions = positions - positions.mean(axis=0)
        flat.append(positions @ np.linalg.svd(positions)[2].T)  # the thinnest direction becomes z
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    two = flat[1] @ turn + np.append(random.uniform(-1.2, 1.2, 2), 0.0)
    special.add(
        join(first, second), pull_apart(flat[0], two, np.array([0, 0, 1.0]), 3.4, distances), "stacked-scan"
    )


def bond_scan(special: Special, smiles: str) -> None:
    """Two different open-chain bonds, each at four lengths, 0.8 to 1.5 (radicals 1.6) of its own."""
    molecule = from_smiles(smiles)
    start = relaxed_geometry(molecule, special.seed, SETTINGS)
    chem = Chem.AddHs(Chem.MolFromSmiles(molecule.smiles))
    rank = list(Chem.CanonicalRankAtoms(chem, breakTies=False))
    pairs = {tuple(sorted((rank[i], rank[j]))): (i, j) for i, j in np.argwhere(np.triu(molecule.bonds))}
    random = special.random(smiles, "bonds")
    chosen = list(pairs.values())
    for k in sorted(random.permutation(len(chosen))[:2]):
        i, j = chosen[k]
        bonds = molecule.bonds.copy()
        bonds[i, j] = bonds[j, i] = False
        part = fragments(bonds)
        if part[i] == part[j]:
            continue  # a ring
        top = 1.5 if molecule.multiplicity == 1 else 1.6
        factors = [random.uniform(*r) for r in ((0.8, 0.92), (1.08, 1.2), (1.2, 1.35), (1.35, top))]
        moved = (part == part[j])[:, None] * (start[j] - start[i])
        special.add(molecule, [start + (f - 1) * moved for f in factors], "bond-scan")


def entries(headings: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Heading and SMILES of every entry of the list beside this script."""
    heading = ""
    for line in Path(__file__).with_suffix(".txt").read_text(encoding="utf8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif not line.startswith("#") and heading in headings:
            yield from ((heading, smiles) for smiles in line.split())


def run(scans: dict[str, Callable[[Special, str], None]], description: str) -> None:
    """Make all geometries of ``scans`` (heading of the list: function) and write them: the command line."""
    parser = argparse.ArgumentParser(description=description.split("\n\n")[0])
    parser.add_argument("output")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    special = Special(options.seed)
    for heading, smiles in entries(scans):
        try:
            scans[heading](special, smiles)
        except (Fault, *FAILURES) as error:
            print(f"left out: {heading}: {smiles}: {error}")
    write(SamplingResult(special.structures, [], 0), options.output)
    print(f"{len(special.structures)} structures written to {options.output}")


if __name__ == "__main__":
    close = partial(dimer_scan, distances=NEAR, placements=3, steps=120)
    close_stacks = partial(stacked_scan, distances=NEAR_STACKED)
    scans = {"dimers": dimer_scan, "stacked": stacked_scan, "bonds": bond_scan}
    run(scans | {"close dimers": close, "close stacks": close_stacks}, __doc__)
