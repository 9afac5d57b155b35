"""Which states are sampled: ground states of atoms, vertical ones of molecules, those that are asked for."""

import numpy as np
import pytest

pytest.importorskip("rdkit")
pytest.importorskip("tblite")

import ase.io
from ase.build import molecule

from helm_ase.cli import main
from helm_ase.errors import ChargeError, SettingError, StructureError
from helm_ase.representation.connectivity import bonded, fragments
from helm_ase.sampling import Reading, SamplingSettings, from_smiles, read_molecules, sample
from helm_ase.sampling.conformers import embed
from helm_ase.sampling.states import State, vertical_states

GROUND = {
    "[H]": 2, "[He]": 1, "[B]": 2, "[C]": 3, "[N]": 4, "[O]": 3, "[F]": 2, "[Si]": 3, "[P]": 4, "[S]": 3,
    "[Na+]": 1, "[Cl-]": 1, "[O-]": 2, "[C+]": 2, "[Fe]": 5, "[O-2]": 1,
}  # fmt: skip


@pytest.mark.parametrize("smiles", GROUND)
def test_atoms_are_in_their_ground_states(smiles):
    """Not with all unpaired electrons that valence rules leave: carbon is no quintet."""
    assert from_smiles(smiles).multiplicity == GROUND[smiles]


def test_an_ion_of_unknown_state_is_refused_until_it_is_given():
    with pytest.raises(ChargeError, match="multiplicity=N"):
        from_smiles("[Fe+3]")
    assert from_smiles("[Fe+3]", 6).multiplicity == 6


def test_a_singlet_carbene_can_be_asked_for(tmp_path):
    (tmp_path / "m.smi").write_text("[CH2]\n[CH2] multiplicity=1 the singlet\nO\n")
    found = read_molecules([tmp_path / "m.smi"])
    assert sorted((m.smiles, m.multiplicity) for m in found) == [("O", 1), ("[CH2]", 1), ("[CH2]", 3)]
    with pytest.raises(ChargeError, match="cannot have multiplicity 2"):
        from_smiles("[CH2]", 2)


def test_vertical_states_are_those_of_lower_spin():
    kinds = ("cation", "anion", "triplet")
    assert dict(vertical_states(State(0, 1), kinds)) == {
        "cation": (1, 2),
        "anion": (-1, 2),
        "triplet": (0, 3),
    }
    assert dict(vertical_states(State(0, 2), kinds)) == {
        "cation": (1, 1),
        "anion": (-1, 1),
        "triplet": (0, 4),
    }


def test_every_structure_comes_once_more_in_each_vertical_state():
    settings = SamplingSettings(temperatures=(0,), vertical=("cation", "triplet"))
    found = sample([from_smiles("O")], settings).structures
    assert [(a.info["charge"], a.info["multiplicity"]) for a in found] == [(0, 1), (1, 2), (0, 3)]
    assert all(np.array_equal(a.positions, found[0].positions) for a in found)
    assert len({a.info["name"] for a in found}) == 3
    assert ["xtb_energy" in a.info for a in found] == [True, False, False]
    with pytest.raises(SettingError, match="vertical"):
        SamplingSettings(vertical=("excited",))


# --- several parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("smiles", ["O.O", "CCO.O", "[NH4+].[Cl-]", "C.C.C"])
def test_parts_of_a_smiles_are_embedded_apart_and_placed(smiles):
    given = from_smiles(smiles)
    positions = embed(given.smiles, 7)
    part = fragments(bonded(given.numbers, positions))
    assert np.array_equal(part[:, None] == part, fragments(given.bonds)[:, None] == fragments(given.bonds))
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)[part[:, None] != part]
    assert 1.5 < apart.min() < 3.5


def test_a_smiles_of_two_parts_is_sampled(tmp_path):
    settings = SamplingSettings(temperatures=(0, 300), md_steps=5, seed=1)
    result = sample([from_smiles("O.O")], settings)
    assert result.structures, result.drops
    assert {a.info["kind"] for a in result.structures} == {"dimer"}


def test_partners_are_paired_with_every_molecule_and_what_does_not_pair_is_listed():
    given = [from_smiles(s) for s in ("[NH4+]", "C", "[CH3]")]
    settings = SamplingSettings(temperatures=(0,), partners=("O", "[CH3]", "[Na+]"), seed=2)
    result = sample(given, settings)
    pairs = {a.info["smiles"] for a in result.structures if a.info["kind"] == "dimer"}
    dropped = {d.smiles: d.reason for d in result.drops}
    assert "O.[NH4+]" in pairs | set(dropped)
    assert dropped["[CH3].[CH3]"] == "both have unpaired electrons"
    assert dropped["[NH4+].[Na+]"] == "charges of one sign"
    assert len(pairs | set(dropped)) == 9


# --- what cannot be used ------------------------------------------------------------------------------


def test_bad_entries_are_skipped_and_all_of_them_named(tmp_path, capsys):
    (tmp_path / "m.smi").write_text("O\nC(C\nnonsense\n[NH4+]\n")
    reading = Reading(skipped=[])
    assert len(read_molecules([tmp_path / "m.smi"], ["C(("], reading)) == 2
    assert [line.split(":")[0][-6:] for line in reading.skipped] == ["smiles", "line 2", "line 3"]
    with pytest.raises(StructureError, match="line 2"):
        read_molecules([tmp_path / "m.smi"])
    arguments = ["sample", str(tmp_path / "m.smi"), "-o", str(tmp_path / "x.xyz"), "--temperatures", "0",
                 "--processes", "1", "--quiet"]  # fmt: skip
    assert main(arguments) == 0
    assert capsys.readouterr().err.count("skipped: ") == 2
    assert main([*arguments, "--strict", "--force"]) == 1
    assert len(ase.io.read(tmp_path / "x.xyz", ":")) == 2


def test_charge_and_multiplicity_of_structures_can_be_given(tmp_path):
    ase.io.write(tmp_path / "m.xyz", molecule("H2O"))
    (found,) = read_molecules([tmp_path / "m.xyz"], reading=Reading(charge=1, multiplicity=2))
    assert (found.charge, found.multiplicity) == (1, 2)


def test_an_output_that_exists_is_kept_without_force(tmp_path, capsys):
    out = tmp_path / "x.xyz"
    out.write_text("old")
    assert main(["sample", "--smiles", "O", "-o", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "old"
