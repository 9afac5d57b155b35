"""Molecules by what is bonded: spellings agree, isomers do not, SMILES and geometries say the same."""

from pathlib import Path

import pytest
from ase.build import molecule

from helm_ase.errors import StructureError
from helm_ase.representation.bond_graph import parts_of_geometry, parts_of_smiles

SPELLINGS = [
    ("CS(C)=O", "C[S+](C)[O-]"),
    ("CC=S", "C[CH][S]"),
    ("OCC", "CCO", "C(C)O", "[CH3][CH2][OH]"),
    ("c1ccccc1", "C1=CC=CC=C1", "C=1C=CC=CC1"),
    ("C[N+](=O)[O-]", "CN(=O)=O"),
    ("c1cc[nH]c1", "C1=CNC=C1"),
    ("O=c1cc[nH]cc1", "O=C1C=CNC=C1"),
    ("[H]O[H]", "O"),
    ("C/C=C\\C", "CC=CC"),
    ("C%10CC%10", "C1CC1"),
]
OTHERS = [
    *("CCO", "COC", "CC=O", "C=CO", "C1CO1", "CCC", "C1CC1", "CC#C", "C=C=C", "[CH3]", "C", "[H][H]", "[H+]"),
    *("N", "[NH4+]", "CCCC", "CC(C)C", "c1ccncc1", "c1ccccc1", "Cc1ccccc1", "C1CCCCC1", "CS", "CSC"),
]


@pytest.mark.parametrize("spellings", SPELLINGS)
def test_spellings_of_one_molecule_have_one_name(spellings):
    assert len({parts_of_smiles(s) for s in spellings}) == 1


def test_other_molecules_have_other_names():
    assert len({parts_of_smiles(s) for s in OTHERS}) == len(OTHERS)


@pytest.mark.parametrize(
    "smiles", ["", "C(", "C1CC", "C)C", "hello", "C(C)(C)(C)(C)C", "[Zz]", "C..C", "(C)"]
)
def test_what_is_no_smiles_is_refused(smiles):
    with pytest.raises(StructureError, match="no SMILES"):
        parts_of_smiles(smiles)


GEOMETRIES = {
    "CH3CH2OH": "CCO", "C6H6": "c1ccccc1", "CH3SCH3": "CSC", "H2O": "O", "CO2": "O=C=O", "C2H4": "C=C",
    "CH3NO2": "C[N+](=O)[O-]", "H2": "[H][H]", "CH3COCl": "CC(=O)Cl", "C5H5N": "c1ccncc1",
}  # fmt: skip


@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometries_have_the_names_of_their_smiles(name):
    atoms = molecule(name)
    assert parts_of_geometry(atoms.numbers, atoms.positions) == parts_of_smiles(GEOMETRIES[name])


def test_the_parts_of_a_dimer_are_those_of_its_molecules():
    one, two = molecule("CH3CH2OH"), molecule("H2O")
    two.positions += [0, 0, 7]
    both = one + two
    assert parts_of_geometry(both.numbers, both.positions) == tuple(sorted(parts_of_smiles("CCO.O")))


def test_hydrogen_atoms_are_counted_as_rdkit_counts_them():
    """On the molecules of which labels are made: the name of a SMILES with all hydrogen atoms written out."""
    chem = pytest.importorskip("rdkit.Chem")
    lines = (Path(__file__).parents[2] / "examples" / "labelling" / "organic.smi").read_text().splitlines()
    smiles = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")][::11]
    for text in smiles:
        whole = chem.AddHs(chem.MolFromSmiles(text))
        for atom in whole.GetAtoms():
            atom.SetNoImplicit(True)
        assert sorted(parts_of_smiles(chem.MolToSmiles(whole))) == sorted(parts_of_smiles(text)), text
