"""Charge and multiplicity that files state are those of the structures read from them."""

import pytest
from ase.build import molecule
from ase.io import write

from helm_ase.cli import main
from helm_ase.errors import ChargeError, StructureError
from helm_ase.labelling.structures import read_structures
from helm_ase.representation.charge_state import charge_state
from helm_ase.representation.structure_files import READERS, read_frames
from shared.attached import PURE

OXALATE = [("C", 0, 0.78), ("C", 0, -0.78), ("O", 1.11, 1.32), ("O", -1.11, 1.32),
           ("O", 1.11, -1.32), ("O", -1.11, -1.32)]  # fmt: skip
XYZ = "\n".join(f"{s} 0.0 {y} {z}" for s, y, z in OXALATE)


def mol(charges=(0,) * 6, tail="", codes=(0,) * 6):
    atoms = "".join(
        f"{0:10.4f}{y:10.4f}{z:10.4f} {s:<3} 0{code:3d}{'  0' * 10}\n"
        for (s, y, z), code in zip(OXALATE, codes, strict=True)
    )
    return f"\n     made by hand\n\n  6  0  0  0  0  0  0  0  0  0999 V2000\n{atoms}{tail}M  END\n"


def pdb(charge):
    lines = []
    for k, (s, y, z) in enumerate(OXALATE, 1):
        place = f"HETATM{k:5d}  {s:<3} UNL     1    {0:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
        lines.append(f"{place}          {s:>2}{charge * (s == 'O' and z > 0):2}")
    return "\n".join([*lines, "END", ""])


DIANIONS = {
    "plain.gjf": f"%mem=1GB\n#P B3LYP/def2SVP\n\noxalate\n\n-2 1\n{XYZ}\n\n",
    "two_routes.com": f"#P B3LYP/def2SVP\nopt\n\noxalate\ndianion\n\n-2  1\n{XYZ}\n\n",
    "listed.mol": mol(tail="M  CHG  2   3  -1   5  -1\n"),
    "listed.sdf": mol(tail="M  CHG  2   3  -1   5  -1\n") + "$$$$\n",
    "codes.mol": mol(codes=(0, 0, 5, 0, 5, 0)),
    "signs.pdb": pdb("1-"),
    "total.xyz": f"6\nProperties=species:S:1:pos:R:3 total_charge=-2 total_spin=1\n{XYZ}\n",
}


@pytest.fixture
def given(tmp_path):
    def make(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


@pytest.mark.parametrize("name", DIANIONS)
def test_what_a_file_states_is_labelled(name, given):
    (structure,) = read_structures([given(name, DIANIONS[name])])
    assert (structure.charge, structure.multiplicity) == (-2, 1)
    assert len(structure.numbers) == 6


@pytest.mark.parametrize("name", DIANIONS)
def test_what_a_file_states_is_what_run_is_asked_for(name, given, capsys):
    assert main(["run", str(given(name, DIANIONS[name])), "--no-orbitals", "--model", PURE]) == 1
    assert "has not seen charge -2" in capsys.readouterr().err


def test_the_command_line_wins_over_the_file(given, capsys):
    path = given("total.xyz", DIANIONS["total.xyz"])
    assert main(["run", str(path), "--no-orbitals", "--charge", "0"]) == 0


def test_radicals_of_mol_files_are_counted(given):
    path = given("radical.mol", mol(tail="M  RAD  1   3   2\nM  CHG  1   5  -1\n"))
    assert charge_state(*read_frames(path)) == (-1, 2)


def test_every_record_of_an_sdf_file_is_read_with_its_own_charge(given):
    path = given("many.sdf", mol() + "$$$$\n" + mol(tail="M  CHG  1   3  -2\n") + "$$$$\n")
    assert [charge_state(atoms).charge for atoms in read_frames(path)] == [0, -2]
    assert [charge_state(atoms).charge for atoms in read_frames(f"{path}@0")] == [0]
    assert [s.charge for s in read_structures([path])] == [0, -2]


def test_outputs_of_programs_are_read_with_their_charge(given):
    text = " Charge = -1 Multiplicity = 2\n"
    assert READERS["gaussian-out"](text, 1, "x") == [(-1, 2)]
    orca = " Total Charge       Charge     ....    1\n Multiplicity       Mult       ....    2\n"
    assert READERS["orca-output"](orca, 2, "x") == [(1, 2)] * 2
    with pytest.raises(StructureError, match=r"states \[0, 1\]"):
        READERS["gaussian-out"](" Charge = 0 Multiplicity = 1\n Charge = 1 Multiplicity = 1", 1, "x")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("odd.gjf", DIANIONS["plain.gjf"].replace("-2 1", "minus 1"), "minus 1|cannot read"),
        ("odd.pdb", pdb("xx"), "'xx' is not a charge"),
        ("odd.mol", mol(tail="M  CHG  2   3  -1\n"), "as many pairs"),
    ],
)
def test_a_charge_that_cannot_be_understood_is_refused(name, text, message, given):
    with pytest.raises(StructureError, match=message):
        read_frames(given(name, text))


def test_two_names_of_the_charge_must_agree():
    atoms = molecule("H2O")
    atoms.info |= {"charge": 0, "total_charge": -2}
    with pytest.raises(ChargeError, match="contradicts itself"):
        charge_state(atoms)


def test_files_that_state_nothing_are_read_as_before(tmp_path):
    for name in ("a.xyz", "a.traj", "a.pdb", "a.sdf"):
        write(tmp_path / name, molecule("H2O"))
        (atoms,) = read_frames(tmp_path / name)
        assert charge_state(atoms) == (0, 1)
        assert len(atoms) == 3
