"""Structures that are none, or that a reader would take for others: refused in words, or read right."""

import sqlite3

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from helm_ase.cli import main
from helm_ase.representation.box import out_of_box
from helm_ase.representation.structure_files import read_frames
from shared.bounded_process import refused_in_words

WATER = "O 0.000 0.000 0.119\nH 0.000 0.763 -0.477\nH 0.000 -0.763 -0.477\n"
DRAWING = """
     RDKit          {code}

  3  2  0  0  0  0  0  0  0  0999 V2000
   -1.2990   -0.2500    {z} C   0  0  0  0  0  0  0  0  0  0  0  0
    0.0000    0.5000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    1.2990   -0.2500    0.0000 O   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0
  2  3  1  0
M  END
"""
METHANE = """
     by hand          3D

  5  4  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    0.6300    0.6300    0.6300 H   0  0
   -0.6300   -0.6300    0.6300 H   0  0
   -0.6300    0.6300   -0.6300 H   0  0
    0.6300   -0.6300   -0.6300 H   0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
M  END
"""


def xyz(symbols, head=None, comment=""):
    rows = "".join(f"{s} {k * 1.1} 0 0\n" for k, s in enumerate(symbols))
    return f"{len(symbols) if head is None else head}\n{comment}\n{rows}"


def pdb(*atoms, cell="", record="HETATM"):
    lines = [cell] if cell else []
    for k, (name, element, x) in enumerate(atoms, 1):
        place = f"{record:<6}{k:5d} {name:<4} {'LIG':<3} A   1    {x:8.3f}{0:8.3f}{0:8.3f}  1.00  0.00"
        lines.append(f"{place:<76}{element:>2}")
    return "\n".join([*lines, "END", ""])


ALTERNATES = pdb((" C1", "C", 0.0), (" C1", "C", 0.4)).replace("C1  LIG", "C1 ALIG", 1)
ALTERNATES = ALTERNATES.replace("C1  LIG", "C1 BLIG", 1)
REFUSED = {
    "xyz: deuterium": ("m.xyz", xyz(["O", "D", "D"]), "'D' is no symbol"),
    "xyz: numbers": ("m.xyz", xyz(["8", "1", "1"]), "no symbol"),
    "xyz: labels": ("m.xyz", xyz(["O1", "H1", "H2"]), "no symbol"),
    "xyz: an invented element": ("m.xyz", xyz(["Qq"]), "no symbol"),
    "xyz: a ghost": ("m.xyz", xyz(["O", "X"]), "X, which is no element"),
    "xyz: 10^9 atoms": ("m.xyz", xyz(["O"], head=10**9), "announces 1000000000 atoms"),
    "xyz: -1 atoms": ("m.xyz", xyz(["O"], head=-1), "number of atoms"),
    "xyz: atoms in words": ("m.xyz", xyz(["O"], head="one"), "number of atoms|no format"),
    "xyz: fewer atoms than announced": ("m.xyz", xyz(["O", "H"], head=3), "announces 3 atoms"),
    "xyz: a text": ("m.xyz", "hello\n", "number of atoms|no format"),
    "xyz: binary": ("m.xyz", "\x00\x01\x02" * 50, "number of atoms|no format"),
    "inp: an input of ORCA": ("m.inp", "! B3LYP\n* xyz 0 1\n" + WATER + "*\n", "knows no format|cannot read"),
    "unknown: no suffix": ("m", "hello", "knows no format|cannot read"),
    "json: nested": ("m.json", "[" * 50000, "cannot read|no format"),
    "traj: a text": ("m.traj", "hello", "cannot read|no format"),
    "mol: a drawing": ("m.mol", DRAWING.format(code="2D", z="0.0000"), "drawing in two dimensions"),
    "mol: without hydrogen": ("m.mol", DRAWING.format(code="3D", z="0.3000"), "lacks its hydrogen"),
    "mol: flat, without code": ("m.mol", DRAWING.format(code="  ", z="0.0000"), "lacks its hydrogen"),
    "sdf: a drawing behind a molecule": ("m.sdf", METHANE + "$$$$\n" + DRAWING.format(code="2D", z="0.0000"),
                                         "record 1 is a drawing"),
    "mol: V3000": ("m.mol", METHANE.replace("V2000", "V3000"), "V3000"),
    "mol: cut short": ("m.mol", METHANE[:200], "cannot read"),
    "mol: nine hundred atoms announced": ("m.mol", METHANE.replace("  5  4", "900  4"), "cannot read"),
    "pdb: CA without element": ("m.pdb", pdb(("CA", "", 0.0), ("CB", "", 1.5)), "leaves it open"),
    "pdb: HG without element": ("m.pdb", pdb(("HG", "", 0.0)), "leaves it open"),
    "pdb: deuterium": ("m.pdb", pdb(("D1", "D", 0.0)).replace(" D\n", " Q\n"), "no element|leaves it open"),
    "pdb: alternate places": ("m.pdb", ALTERNATES, "alternate places A, B"),
    "pdb: positions in words": ("m.pdb", pdb((" O", "O", 0.0)).replace("0.000   0.000", "x.xxx   0.000", 1),
                                "cannot read"),
    "gjf: no charge": ("m.gjf", "# B3LYP\n\ntitle\n\nzero one\n" + WATER + "\n", "m.gjf"),
    "cif: cut short": ("m.cif", "data_x\n_cell_length_a 12\n", "cannot read|holds no structure"),
    "POSCAR: cut short": ("POSCAR", "water\n1.0\n12 0 0\n", "cannot read"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_molecule_is_refused(name, tmp_path, bounded):
    file, text, words = REFUSED[name]
    (tmp_path / file).write_text(text)
    text = refused_in_words(bounded.ask("read_frames", tmp_path / file))
    assert any(word in text for word in words.split("|")), text


def test_a_data_base_of_structures_is_a_table(tmp_path, bounded):
    """ASE would follow an endless view without end."""
    endless = (
        "WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) SELECT id, 'x' AS numbers FROM c"
    )
    with sqlite3.connect(tmp_path / "m.db") as file:
        file.execute(f"CREATE VIEW systems AS {endless}")
    file.close()
    assert "only plain tables" in refused_in_words(bounded.ask("read_frames", tmp_path / "m.db"))
    write(tmp_path / "good.db", molecule("H2O"))
    assert len(read_frames(tmp_path / "good.db")) == 1


ELEMENTS = {
    "two letters in column 13": (("CL1", ""), "Cl"),
    "one letter in column 14": ((" CA ", ""), "C"),
    "a hydrogen that begins with a digit": (("1HB ", ""), "H"),
    "one letter in column 13": (("C1", ""), "C"),
    "bromine": (("BR", ""), "Br"),
    "the element column wins": (("CA", "CA"), "Ca"),
    "the element column in small letters": (("CA", "c"), "C"),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_elements_of_pdb_files(name, tmp_path):
    (atom, element), expected = ELEMENTS[name]
    (tmp_path / "m.pdb").write_text(pdb((atom, element, 0.0)))
    (atoms,) = read_frames(tmp_path / "m.pdb")
    assert str(atoms.symbols) == expected


# --- boxes ------------------------------------------------------------------------------------------


def in_box(shift, name="CH3CH2OH", length=9.0):
    atoms = molecule(name)
    atoms.positions += shift
    atoms.set_cell([length] * 3)
    atoms.pbc = True
    return atoms


def distances(atoms):
    return np.sort(atoms.get_all_distances().ravel())


BOXES = {
    "in the middle": [4.5, 4.5, 4.5],
    "cut by a wall": [0.1, 4.5, 4.5],
    "cut by an edge": [0.1, 8.9, 4.5],
    "cut by a corner": [0.0, 0.0, 0.0],
    "far outside": [91.0, -45.0, 7.0],
}
FORMATS = ("m.cif", "POSCAR", "m.pdb", "m.extxyz")


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("name", BOXES)
def test_a_molecule_comes_out_of_its_box_whole(name, file, tmp_path):
    atoms = in_box(BOXES[name])
    atoms.wrap()
    write(tmp_path / file, atoms)
    (found,) = read_frames(tmp_path / file, pbc="")
    assert not found.pbc.any()
    np.testing.assert_allclose(distances(found), distances(molecule("CH3CH2OH")), atol=2e-3)


def test_two_molecules_stay_as_near_as_their_images():
    atoms = in_box([0.5, 4.5, 4.5], "H2O") + in_box([8.0, 4.5, 4.5], "H2O")
    found = out_of_box(atoms)
    assert np.abs(found.positions[:3].mean(0) - found.positions[3:].mean(0)).max() < 2.0


CRYSTALS = {
    "a metal": bulk("Cu", cubic=True) * (2, 2, 2),
    "diamond": bulk("C", "diamond", a=3.57, cubic=True),
    "a chain": Atoms("C4", [[k * 1.4, 5, 5] for k in range(4)], cell=[5.6, 10, 10], pbc=True),
    "a cell that is too small": Atoms("He", cell=[1.5] * 3, pbc=True),
    "a cell without volume": Atoms("He", cell=[5, 5, 0], pbc=True),
    "no cell": Atoms("He", pbc=True),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_are_no_molecules_in_boxes(name, tmp_path, bounded):
    write(tmp_path / "m.extxyz", CRYSTALS[name])
    refused_in_words(bounded.ask("read_frames", tmp_path / "m.extxyz", pbc=""))


def test_without_the_option_the_error_names_it(tmp_path, capsys):
    write(tmp_path / "m.cif", in_box([4.5] * 3, "H2O"))
    for arguments in (["run"], ["report"], ["label", "-o", str(tmp_path / "x.h5")]):
        assert main([arguments[0], str(tmp_path / "m.cif"), *arguments[1:]]) == 1
        assert "--no-pbc" in capsys.readouterr().err


def test_a_cell_of_one_angstrom_in_a_pdb_file_is_none(tmp_path):
    cell = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1"
    (tmp_path / "m.pdb").write_text(pdb((" O", "O", 0.0), (" H1", "H", 0.96), cell=cell))
    (atoms,) = read_frames(tmp_path / "m.pdb")
    assert not atoms.pbc.any()


def test_which_of_several_records_is_taken_is_said(tmp_path, capsys):
    (tmp_path / "m.sdf").write_text(METHANE + "$$$$\n" + METHANE.replace("0.6300", "0.6400") + "$$$$\n")
    assert main(["run", str(tmp_path / "m.sdf"), "--no-orbitals"]) == 0
    assert "holds 2 structures; this is the last, number 1" in capsys.readouterr().out
    assert main(["run", str(tmp_path / "m.sdf"), "--all-frames", "--no-orbitals"]) == 0
    assert "2 frames computed" in capsys.readouterr().out


CASES = [*REFUSED, *(f"element: {e}" for e in ELEMENTS), *(f"box: {b}" for b in BOXES),
         *(f"crystal: {c}" for c in CRYSTALS)]  # fmt: skip
