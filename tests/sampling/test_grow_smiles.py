"""The list of molecules is what the script prints, follows the split rule, holds no test molecule."""

import hashlib
import sys
from pathlib import Path
from runpy import run_path

import pytest

Chem = pytest.importorskip("rdkit.Chem")

FOLDER = Path(__file__).parents[2] / "examples" / "labelling"


@pytest.fixture(scope="module")
def listed():
    lines = (FOLDER / "hcnof5.smi").read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def test_the_script_prints_the_list(monkeypatch, capsys):
    header, *_ = (FOLDER / "hcnof5.smi").read_text().splitlines()
    command = header.removeprefix("# grow_smiles.py ").split()
    monkeypatch.setattr(sys, "argv", ["grow_smiles.py", *command])
    run_path(str(FOLDER / "grow_smiles.py"), run_name="__main__")
    assert capsys.readouterr().out == (FOLDER / "hcnof5.smi").read_text()


def test_splits_follow_the_rule_and_test_is_not_there(listed):
    for smiles, split in listed:
        h = int(hashlib.sha256(smiles.encode()).hexdigest(), 16) % 100
        heavy = Chem.MolFromSmiles(smiles).GetNumHeavyAtoms()
        if heavy <= 2 or h >= 10:
            assert split == "train"
        else:
            assert h >= 6
            assert split == "val"


def test_molecules_are_small_neutral_closed_shells_in_canonical_form(listed):
    assert len({smiles for smiles, _ in listed}) == len(listed) >= 350
    for smiles, _ in listed:
        molecule = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(molecule) == smiles
        assert molecule.GetNumHeavyAtoms() <= 5
        assert {a.GetSymbol() for a in molecule.GetAtoms()} <= set("HCNOF")
        assert all(a.GetFormalCharge() == 0 and a.GetNumRadicalElectrons() == 0 for a in molecule.GetAtoms())
