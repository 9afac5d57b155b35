"""Protons on their way from one atom to another, in tautomers and from acids to bases; halogen bonds.

    python proton_paths.py protons.xyz [--seed 0]

works as special_geometries.py does, on the last three parts of the same list.
"""

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from rdkit import Chem
from rdkit.Chem.AllChem import EmbedMolecule
from scipy.spatial.transform import Rotation
from special_geometries import SETTINGS, Special, atoms_of, contact, run

from helm_ase.sampling import Molecule
from helm_ase.sampling.conformers import canonical_smiles
from helm_ase.sampling.filters import find_fault
from helm_ase.sampling.placement import place
from helm_ase.sampling.relaxation import relax, xtb_calculator
from helm_ase.sampling.seeds import derive_seed
from helm_ase.sampling.task import Fault


def mapped(smiles: str) -> tuple[Chem.Mol, Molecule, dict[int, int]]:
    """RDKit's molecule with all hydrogens, ours in the same order of atoms, and the atom of each map."""
    settings = Chem.SmilesParserParams()
    settings.removeHs = False
    chem = Chem.AddHs(Chem.MolFromSmiles(smiles, settings))
    where = {atom.GetAtomMapNum(): atom.GetIdx() for atom in chem.GetAtoms() if atom.GetAtomMapNum()}
    name = canonical_smiles(smiles)
    numbers = np.array([atom.GetAtomicNum() for atom in chem.GetAtoms()])
    bonds = np.asarray(Chem.GetAdjacencyMatrix(chem), dtype=bool)
    return chem, Molecule(name, name, numbers, bonds, Chem.GetFormalCharge(chem), 1), where


def relaxed_parts(special: Special, chem: Chem.Mol) -> list[tuple[list[int], np.ndarray]]:
    """Atoms and relaxed geometry (Å) of each molecule in ``chem``; closed shells."""
    found = []
    for indices, part in zip(Chem.GetMolFrags(chem), Chem.GetMolFrags(chem, asMols=True), strict=True):
        EmbedMolecule(part, randomSeed=derive_seed(special.seed, "part") % 2**31)
        calculator = xtb_calculator(Chem.GetFormalCharge(part), 1)
        numbers = [atom.GetAtomicNum() for atom in part.GetAtoms()]
        atoms = Atoms(numbers, part.GetConformer().GetPositions(), calculator=calculator)
        relax(atoms, SETTINGS.fmax, SETTINGS.relax_steps)
        found.append((list(indices), atoms.get_positions()))
    return found


def start_of(special: Special, smiles: str) -> tuple[Molecule, dict[int, int], np.ndarray]:
    """Of many relaxed conformers, or placements of two, that with its hydrogens nearest to where they go."""
    chem, molecule, where = mapped(smiles)
    parts, random, best = relaxed_parts(special, chem), special.random(smiles, "start"), (np.inf, None)
    positions = np.empty((len(molecule.numbers), 3))
    for trial in range(10 if len(parts) == 1 else 20):
        if len(parts) == 1:
            EmbedMolecule(chem, randomSeed=derive_seed(special.seed, smiles, trial) % 2**31)
            positions = chem.GetConformer().GetPositions()
        else:
            positions[parts[0][0] + parts[1][0]] = place(parts[0][1], parts[1][1], (1.9, 2.2), random)
        atoms = atoms_of(molecule, positions)
        relax(atoms, 0.05, 150)
        if find_fault(molecule.numbers, atoms.positions, molecule.bonds) is None:
            path = sum(atoms.get_distance(where[k], where[k + 1]) for k in where if k % 2)
            best = min(best, (path, atoms.get_positions()), key=lambda found: found[0])
    if best[1] is None:
        raise Fault("no start survives relaxation")
    return molecule, where, best[1]


def tautomer_path(special: Special, smiles: str) -> None:
    """Six geometries in a straight line from one relaxed tautomer to the other."""
    molecule, where, start = start_of(special, smiles)
    end = start.copy()
    for h in (k for k in where if k % 2):
        line = start[where[h]] - start[where[h + 1]]
        end[where[h]] = start[where[h + 1]] + 1.05 * line / np.linalg.norm(line)
    atoms = atoms_of(molecule, end)
    relax(atoms, 0.05, 300)
    if find_fault(molecule.numbers, atoms.positions, molecule.bonds) is None:
        raise Fault("the proton goes back")
    end = atoms.get_positions() - atoms.positions.mean(axis=0)
    start = start - start.mean(axis=0)
    left, _, right = np.linalg.svd(end.T @ start)
    turn = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    images = [(1 - x) * start + x * (end @ turn) for x in np.linspace(0, 1, 6)]
    special.add(molecule, images, "tautomer-path")


class Aligned:
    """Two molecules relaxed alone: map 1 of the first, its bond and map 2 of the second lie on one line."""

    def __init__(self, special: Special, smiles: str) -> None:
        chem, self.molecule, where = mapped(smiles)
        self.end, self.acceptor = where[1], where[2]
        self.neighbour = int(np.flatnonzero(self.molecule.bonds[self.end])[0])
        parts = sorted(relaxed_parts(special, chem), key=lambda part: self.end not in part[0])
        (self.inside, self.one), (self.outside, self.two) = parts
        axis = self.one[self.inside.index(self.end)] - self.one[self.inside.index(self.neighbour)]
        self.axis = axis / np.linalg.norm(axis)
        self.random = special.random(smiles, "transfer")
        radii = covalent_radii[self.molecule.numbers]
        self.bond = float(radii[self.end] + radii[self.acceptor])

    def at(self, distance: float) -> np.ndarray:
        """Positions (Å) with the acceptor so far from the end, the rest of its molecule out of the way."""
        target = self.outside.index(self.acceptor)
        site = self.one[self.inside.index(self.end)] + distance * self.axis
        turned = [self.two @ Rotation.random(random_state=self.random).as_matrix().T for _ in range(100)]
        placed = max((x - x[target] + site for x in turned), key=lambda x: self._room(x, target))
        positions = np.empty((len(self.molecule.numbers), 3))
        positions[self.inside], positions[self.outside] = self.one, placed
        return positions

    def _room(self, two: np.ndarray, target: int) -> float:
        """How far the atoms around the acceptor are from the first molecule, Å."""
        rest = np.delete(two, target, axis=0)
        return contact(self.one, rest) if len(rest) else 0.0


def transfer_scan(special: Special, smiles: str) -> None:
    """Donor and acceptor at three distances, the proton at three places between, all else half relaxed."""
    pair = Aligned(special, smiles)
    for gap in (0.3, 0.65, 1.1):
        images, start = [], pair.at(gap + 1.02 * pair.bond)
        for fraction in (0.0, 0.5, 1.0):
            atoms = atoms_of(pair.molecule, start)
            atoms.positions[pair.end] += fraction * gap * pair.axis
            atoms.set_constraint(FixAtoms([pair.neighbour, pair.end, pair.acceptor]))
            relax(atoms, 0.1, 12)
            images.append(atoms.get_positions())
        special.add(pair.molecule, images, f"transfer-{gap:g}")


def halogen_scan(special: Special, smiles: str) -> None:
    """A halogen bond at seven distances, neither molecule relaxed."""
    pair = Aligned(special, smiles)
    distances = [factor * pair.bond for factor in (1.35, 1.5, 1.65, 1.85)] + [4.5, 6.0, 8.0]
    special.add(pair.molecule, [pair.at(distance) for distance in distances], "halogen-scan")


if __name__ == "__main__":
    run({"tautomers": tautomer_path, "transfers": transfer_scan, "halogens": halogen_scan}, __doc__)
