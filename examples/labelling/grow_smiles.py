"""Print all small neutral closed-shell molecules of H, C, N, O and F, and the split of each.

    python grow_smiles.py --heavy 5 --sample 85 --without test > hcnof5.smi

Molecules grow atom by atom and ring by ring within the valences C 4, N 3, O 2, F 1; those that would fall
apart or rearrange are left out.  The output is one canonical SMILES and its split per line, tab between.
"""

import argparse
import hashlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from rdkit import Chem, rdBase

ELEMENTS = {"C": 4, "N": 3, "O": 2, "F": 1}
HYDROGEN = "[H][H]"
TEST_PERCENT, VAL_PERCENT = 6, 4
ALWAYS_TRAIN = 2  # heavy atoms

UNSTABLE = {
    "singlet oxygen": "O=O",
    "peroxides with a further heteroatom": "[#8]~[#8]~[#7,#8,#9]",
    "fluorine on N or O that is bound to carbon": "F[#8,#7X3;$(*~[#6])]",
    "fluorine on a chain of heteroatoms": "F[#7X3,#8]~[#7,#8]",
    "chains of three nitrogen atoms": "[#7;!a]~[#7]~[#7]",
    "chains of four heteroatoms": "[!#6;!a]~[!#6]~[!#6]~[!#6]",
    "hydrazines and azo compounds with N-O": "[#7;!a]~[#7X3,$([#7]=[#7])]-[#8]",
    "two oxygen atoms on an amine": "[#7X3](-[#8])-[#8]",
    "aminals, acetals and the like that eliminate": "[#7,#8;!H0][#6X4][#7,#8,#9;!H0,F]",
    "ynols and ynamines": "[#7,#8;!H0][#6]#[#6]",
    "heteroatoms at both ends of C=C": "[#7,#8]=[#6]=[#6]=[#7,#8]",
    "triple bonds in rings": "[R]#[R]",
    "cumulated double bonds in rings": "[*]@=[*]@=[*]",
    "two double bonds in a ring of four": "[r4]1=,:[r4][r4]=,:[r4]1",
    "unsaturated rings of three with N-H or O": "[#8,#7X3;r3]1[#6,#7]=,:[#6,#7]1",
    "aromatic rings of three with a heteroatom": "[n,o;r3]",
    "O-O in rings of three and four": "[#8;r3,r4]@[#8;r3,r4]",
    "three heteroatoms in a ring of three": "[!#6]1[!#6][!#6]1",
    "carbonyl on a ring of three with oxygen": "[#6]1(=[#8])[#8]*1",
    "double bonds at bridgeheads": "[R2;!x4]=,:*",
    "atoms of three rings": "[R3]",
    "heteroatoms that bridge or share a ring of three": "[#7,#8;R2]@[#7,#8]",
}
"""What is left out → SMARTS."""


def main() -> None:
    options = _arguments()
    print(f"# {Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}\n# SMILES\tsplit")
    for size in range(1, options.heavy + 1):
        found = sorted(smiles for smiles in grow(size) if split(smiles, size) not in options.without)
        if size == options.heavy and options.sample is not None:
            found = sorted(sorted(found, key=lambda s: _digest(f"{options.seed} {s}"))[: options.sample])
        if size == 1:
            found.append(HYDROGEN)
        for smiles in found:
            print(f"{smiles}\t{split(smiles, size)}")


def split(smiles: str, heavy_atoms: int) -> str:
    """``train``, ``val`` or ``test``: the rule by which every label of this project is sorted."""
    h = int(_digest(smiles), 16) % 100
    if heavy_atoms <= ALWAYS_TRAIN or h >= TEST_PERCENT + VAL_PERCENT:
        return "train"
    return "test" if h < TEST_PERCENT else "val"


def grow(size: int) -> set[str]:
    """Canonical SMILES of all molecules of ``size`` heavy atoms that pass the filters."""
    with rdBase.BlockLogs():
        patterns = [Chem.MolFromSmarts(smarts) for smarts in UNSTABLE.values()]
        return {s for s in _valence_graphs(size) if not _is_unstable(Chem.MolFromSmiles(s), patterns)}


def _valence_graphs(size: int) -> set[str]:
    """All connected graphs within the valences.  Filters come later: a step may pass what they drop."""
    graphs = set(ELEMENTS)
    for _ in range(size - 1):
        new = {grown for smiles in graphs for grown in _with_one_more_atom(smiles)}
        graphs = set(new)
        while new:
            new = {closed for smiles in new for closed in _with_one_more_ring(smiles)} - graphs
            graphs |= new
    return graphs


def _with_one_more_atom(smiles: str) -> Iterator[str]:
    molecule = _kekule(smiles)
    for atom in molecule.GetAtoms():
        for element, valence in ELEMENTS.items():
            for order in range(1, min(atom.GetTotalNumHs(), valence, 3) + 1):
                edited = Chem.RWMol(molecule)
                edited.AddBond(atom.GetIdx(), edited.AddAtom(Chem.Atom(element)), _ORDERS[order])
                yield from _canonical(edited)


def _with_one_more_ring(smiles: str) -> Iterator[str]:
    molecule = _kekule(smiles)
    hydrogens = [atom.GetTotalNumHs() for atom in molecule.GetAtoms()]
    for i in range(len(hydrogens)):
        for j in range(i):
            if molecule.GetBondBetweenAtoms(i, j) is None:
                for order in range(1, min(hydrogens[i], hydrogens[j], 2) + 1):
                    edited = Chem.RWMol(molecule)
                    edited.AddBond(i, j, _ORDERS[order])
                    yield from _canonical(edited)


_ORDERS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}


def _kekule(smiles: str) -> Chem.Mol:
    molecule = Chem.MolFromSmiles(smiles)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    for atom in molecule.GetAtoms():  # let the number of hydrogen atoms follow from the bonds
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
    molecule.UpdatePropertyCache()
    return molecule


def _canonical(edited: Chem.RWMol) -> Iterator[str]:
    """One SMILES, or none if the valences do not allow it."""
    if Chem.SanitizeMol(edited, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
        # read once more: what was edited and what was read differ in how they are written
        yield Chem.CanonSmiles(Chem.MolToSmiles(edited), useChiral=0)


def _is_unstable(molecule: Chem.Mol, patterns: list[Chem.Mol]) -> bool:
    return any(molecule.HasSubstructMatch(pattern) for pattern in patterns)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--heavy", type=int, default=5, metavar="N", help="most atoms that are not hydrogen (5)"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="keep N molecules of the largest size (all)")
    parser.add_argument("--seed", type=int, default=0, help="of --sample (0)")
    parser.add_argument("--without", nargs="*", default=[], choices=["train", "val", "test"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
