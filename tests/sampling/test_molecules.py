"""SMILES and structure files become starting points; what cannot be used is named with file and line."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from helm_ase.errors import ChargeError, SettingError, StructureError

pytest.importorskip("rdkit")

from helm_ase.sampling import from_smiles, read_molecules
from helm_ase.sampling.optional import require


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"),
    [
        ("[NH4+]", 1, 1),
        ("[CH3]", 0, 2),
        ("[CH2]", 0, 3),
        ("[O][O]", 0, 3),
        ("CC(=O)[O-]", -1, 1),
        ("O", 0, 1),
    ],
)
def test_charges_and_unpaired_electrons_of_a_smiles_are_counted(smiles, charge, multiplicity):
    found = from_smiles(smiles)
    assert (found.charge, found.multiplicity) == (charge, multiplicity)
    assert found.numbers.sum() - charge + multiplicity - 1 == 2 * (
        (found.numbers.sum() - charge + multiplicity - 1) // 2
    )


@pytest.mark.parametrize(
    ("one", "other"), [("OCC", "CCO"), ("[CH3][OH]", "CO"), ("O.C", "C.O"), ("[CH4:3]", "C")]
)
def test_spellings_of_one_molecule_are_one_starting_point(one, other):
    a, b = from_smiles(one), from_smiles(other)
    assert a.key == b.key
    assert np.array_equal(a.numbers, b.numbers)
    assert np.array_equal(a.bonds, b.bonds)


def test_parts_of_a_smiles_are_sorted_as_the_split_rule_wants(tmp_path):
    assert from_smiles("O.C=O.N").smiles == "C=O.N.O"


def test_files_of_smiles_may_have_comments_names_and_triple_bonds(tmp_path):
    file = tmp_path / "list.smi"
    file.write_text("# a list\n\nC#N hydrogen cyanide\n  #more\nO\ttrain\nO again\n")
    assert [m.smiles for m in read_molecules([file], ["N"])] == ["C#N", "N", "O"]


def test_the_line_of_a_bad_smiles_is_named(tmp_path):
    file = tmp_path / "list.smi"
    file.write_text("CCO\nC1CC\n")
    with pytest.raises(StructureError, match=r"list\.smi, line 2: 'C1CC' is no SMILES"):
        read_molecules([file])


@pytest.mark.parametrize("smiles", ["", "C(C)(C)(C)(C)C", "C*", "hello"])
def test_a_bad_smiles_is_refused_without_a_word_from_rdkit(smiles, capfd):
    with pytest.raises(StructureError, match=r"SMILES|place holder"):
        from_smiles(smiles)
    assert capfd.readouterr() == ("", "")


def test_missing_unreadable_and_empty_input_is_refused(tmp_path):
    with pytest.raises(StructureError, match="no such file"):
        read_molecules([tmp_path / "absent.smi"])
    with pytest.raises(StructureError, match="no molecules given"):
        read_molecules()
    (tmp_path / "noise.xyz").write_text("what is this\n")
    with pytest.raises(StructureError, match=r"noise\.xyz: .*where a number of atoms should"):
        read_molecules([tmp_path / "noise.xyz"])
    (tmp_path / "noise.smi").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StructureError, match="no text file"):
        read_molecules([tmp_path / "noise.smi"])


def test_all_frames_of_a_structure_file_count_with_their_charges(tmp_path):
    water, methyl, ammonium = molecule("H2O"), molecule("CH3"), _ammonium()
    methyl.info["multiplicity"] = 2
    for atoms in (water, methyl, ammonium):
        atoms.set_initial_magnetic_moments(None)
    write(tmp_path / "three.xyz", [water, methyl, ammonium, water])
    found = {m.smiles: (m.charge, m.multiplicity) for m in read_molecules([tmp_path / "three.xyz"])}
    assert found == {"O": (0, 1), "[CH3]": (0, 2), "[NH4+]": (1, 1)}


def test_an_impossible_charge_names_the_frame(tmp_path):
    atoms = molecule("H2O")
    atoms.info["charge"] = 1
    write(tmp_path / "ion.xyz", atoms)
    with pytest.raises(ChargeError, match=r"ion\.xyz, frame 1: 9 electrons"):
        read_molecules([tmp_path / "ion.xyz"])


def test_a_missing_package_is_named_with_the_way_out():
    with pytest.raises(SettingError, match=r"needs no_such_package.*pip install 'helm-ase\[label\]'"):
        require("rdkit", "no_such_package")


def _ammonium():
    x = 0.59
    hydrogens = [(x, x, x), (x, -x, -x), (-x, x, -x), (-x, -x, x)]
    return Atoms("NH4", [(0, 0, 0), *hydrogens], info={"charge": 1})
