"""Lists of molecules in examples/labelling: what they say they hold."""

from pathlib import Path

import pytest

from helm_ase.sampling import from_smiles

FOLDER = Path(__file__).parents[2] / "examples" / "labelling"
LISTS = ("small_molecules.smi", "small_radicals_and_ions.smi", "parents_of_cations.smi")


def molecules(name):
    lines = (FOLDER / name).read_text(encoding="utf8").splitlines()
    return [from_smiles(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", LISTS)
def test_no_molecule_is_listed_twice(name):
    found = [(m.smiles, m.multiplicity) for m in molecules(name)]
    assert [x for x in found if found.count(x) > 1] == []


@pytest.mark.parametrize("name", ["small_molecules.smi", "parents_of_cations.smi"])
def test_closed_shells_are_neutral_singlets(name):
    assert {(m.charge, m.multiplicity) for m in molecules(name)} == {(0, 1)}


def test_radicals_and_ions_are_radicals_or_ions():
    assert [m.smiles for m in molecules(LISTS[1]) if (m.charge, m.multiplicity) == (0, 1)] == []
