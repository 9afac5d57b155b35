"""Distorted crystals: what strain and displacement leave alone, and what the command makes of files."""

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule

from helm_ase.cli import main
from helm_ase.errors import SettingError, StructureError
from helm_ase.representation.lattice import Lattice
from helm_ase.sampling.crystals import CrystalSampling, distort, read_crystals, sample_crystals


def tilted():
    """Graphene in a plane that is none of the axes'."""
    atoms = graphene(a=2.46)
    atoms.rotate(35, (1, 2, 0), rotate_cell=True)
    return atoms


def chain():
    return Atoms("C2", [[0, 0, 0], [1.3, 0, 0]], cell=[2.6, 0, 0], pbc=[True, False, False])


@pytest.mark.parametrize("atoms", [tilted(), chain(), bulk("C", "diamond", 3.57)])
def test_strain_stays_in_the_periodic_directions(atoms):
    """Fractions of periodic vectors and distances from plane or axis are those of before."""
    before, lattice = atoms.copy(), Lattice.of_atoms(atoms)
    distort(atoms, 0.1, 0.0, np.random.default_rng(3))
    after = Lattice.of_atoms(atoms)
    assert not np.allclose(after.cell[after.pbc], lattice.cell[lattice.pbc], atol=0.01)
    both = np.concatenate([after.cell[after.pbc], lattice.cell[lattice.pbc]])
    assert np.linalg.matrix_rank(both, 1e-8) == lattice.dimensions
    fractions = [x.fractional(a.positions) for x, a in ((lattice, before), (after, atoms))]
    np.testing.assert_allclose(*fractions, atol=1e-7)


def test_strain_and_displacements_are_as_large_as_asked_for():
    sheet = bulk("C", "diamond", 3.57, cubic=True)
    strains, moves = [], []
    for seed in range(200):
        made = sheet.copy()
        distort(made, 0.05, 0.1, np.random.default_rng(seed))
        stretch = np.linalg.solve(sheet.cell.array, made.cell.array)
        strains.append(stretch - np.eye(3))
        moves.append(made.positions - sheet.positions @ stretch)
    np.testing.assert_allclose(strains, np.swapaxes(strains, 1, 2), atol=1e-12)
    assert 0.049 < np.abs(strains).max() <= 0.05
    assert np.std(moves) == pytest.approx(0.1, rel=0.05)
    assert abs(np.mean(moves)) < 0.01


def test_equal_settings_give_equal_structures_whatever_else_is_sampled():
    settings = CrystalSampling(3, seed=7)
    alone = sample_crystals([chain()], settings).structures
    beside = [a for a in sample_crystals([tilted(), chain()], settings).structures if a.pbc.sum() == 1]
    assert len(alone) == len(beside) == 4
    for a, b in zip(alone, beside, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert a.info == b.info
    other = sample_crystals([chain()], CrystalSampling(3, seed=8)).structures
    assert {a.info["seed"] for a in alone}.isdisjoint(a.info["seed"] for a in other)


def test_the_first_is_the_crystal_itself_in_its_supercell():
    made = sample_crystals([tilted()], CrystalSampling(0, supercell=(2, 3, 1))).structures
    (atoms,) = made
    np.testing.assert_allclose(atoms.positions, tilted().repeat((2, 3, 1)).positions)
    assert atoms.info["method"] == "as given"
    with pytest.raises(StructureError, match="without periodicity"):
        sample_crystals([tilted()], CrystalSampling(0, supercell=(1, 1, 2)))


def test_structures_with_atoms_too_close_are_dropped_and_told_of():
    result = sample_crystals([bulk("C", "diamond", 3.57)], CrystalSampling(20, rattle=0.6))
    assert len(result.drops) > 0
    assert len(result.structures) + len(result.drops) == 21
    for atoms in result.structures:
        d = atoms.repeat((3, 3, 3)).get_all_distances()
        assert d[np.triu_indices(len(d), 1)].min() >= 0.65 * 2 * 0.76


@pytest.mark.parametrize(
    ("name", "value"), [("strain", 0.6), ("rattle", -0.1), ("distortions", -1), ("limit", 0)]
)
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(SettingError):
        CrystalSampling(**{name: value})


def test_molecules_are_left_to_the_sampling_of_molecules(tmp_path):
    ase.io.write(tmp_path / "m.xyz", molecule("CH4"))
    ase.io.write(tmp_path / "c.xyz", chain())
    assert read_crystals([tmp_path / "m.xyz", tmp_path / "c.xyz"]) == []
    with pytest.raises(StructureError, match=r"m\.xyz, frame 1 is a molecule"):
        read_crystals([tmp_path / "c.xyz", tmp_path / "m.xyz"])


def test_a_molecule_in_a_box_is_no_crystal(tmp_path, capsys):
    """Readers set pbc of what is in a box; molecules as near as in a molecular crystal are one."""
    boxed, packed = molecule("H2O"), molecule("H2O")
    for atoms, length in ((boxed, 9.0), (packed, 4.0)):
        atoms.set_cell([length] * 3)
        atoms.pbc = True
        atoms.positions += [0, 0, 0.2]  # one of its atoms beyond the wall
        atoms.wrap()
    ase.io.write(tmp_path / "boxed.cif", boxed)
    ase.io.write(tmp_path / "packed.cif", packed)
    assert read_crystals([tmp_path / "boxed.cif"]) == []
    assert len(read_crystals([tmp_path / "packed.cif"])) == 1
    for command in ("sample", "label"):
        output = str(tmp_path / ("x.xyz" if command == "sample" else "x.h5"))
        assert main([command, str(tmp_path / "boxed.cif"), "-o", output]) == 1
        assert "--no-pbc" in capsys.readouterr().err


def test_the_command_writes_what_the_label_command_reads(tmp_path, capsys):
    from helm_ase.labelling import read_structures

    ase.io.write(tmp_path / "diamond.cif", bulk("C", "diamond", 3.57, cubic=True))
    output = tmp_path / "out.xyz"
    command = ["sample", str(tmp_path / "diamond.cif"), "-o", str(output), "--distortions", "4"]
    assert main([*command, "--supercell", "1", "1", "2", "--limit", "3"]) == 0
    assert "3 structures of 1 crystals" in capsys.readouterr().out
    found = read_structures([output])
    assert [s.lattice.dimensions for s in found] == [3, 3, 3]
    assert [len(s.numbers) for s in found] == [16, 16, 16]
    assert all(s.name.startswith("diamond-1x1x2-") and s.details["kind"] == "crystal" for s in found)
    assert (tmp_path / "out.xyz.dropped.jsonl").read_text() == ""
    assert main([*command, "--rattle", "0.9", "--force"]) == 0
    dropped = (tmp_path / "out.xyz.dropped.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in dropped} == {"atoms too close"}


def test_a_slab_whose_file_calls_the_vacuum_periodic_is_refused_or_told_of(tmp_path, capsys):
    """Levels of bulk count from the mean potential, which the width of the vacuum changes."""
    from helm_ase.labelling import read_structures

    path, output = tmp_path / "sheet.cif", tmp_path / "out.xyz"
    ase.io.write(path, graphene(vacuum=6))
    for command, name in (("sample", "x.xyz"), ("label", "x.h5")):
        assert main([command, str(path), "-o", str(tmp_path / name)]) == 1
        assert "--pbc ab" in capsys.readouterr().err
    assert main(["sample", str(path), "-o", str(output), "--distortions", "2", "--pbc", "ab"]) == 0
    assert [s.lattice.pbc.tolist() for s in read_structures([output])] == [[True, True, False]] * 3
    assert [s.lattice.dimensions for s in read_structures([path], pbc="ab")] == [2]
    with pytest.raises(StructureError, match="names no cell vectors"):
        read_structures([path], pbc="xy")
    assert main(["sample", "--smiles", "CO", "-o", str(tmp_path / "m.xyz"), "--pbc", "ab"]) == 1
    assert "--pbc is for crystals" in capsys.readouterr().err


def test_files_and_frames_of_one_name_give_structures_of_different_names(tmp_path):
    for k, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        ase.io.write(tmp_path / folder / "sheet.xyz", graphene(a=2.46 + 0.02 * k, vacuum=5), format="extxyz")
    crystals = read_crystals([tmp_path / folder / "sheet.xyz" for folder in "ab"])
    names = [atoms.info["name"] for atoms in sample_crystals(crystals, CrystalSampling(3)).structures]
    assert len(set(names)) == len(names) == 8


def test_a_file_that_is_not_there_is_told_of_beside_a_crystal(tmp_path):
    ase.io.write(tmp_path / "sheet.xyz", graphene(vacuum=5), format="extxyz")
    with pytest.raises(StructureError, match=r"no file .*typo\.cif"):
        read_crystals([tmp_path / "sheet.xyz", tmp_path / "typo.cif"])


@pytest.mark.parametrize("state", [{"charge": 1}, {"multiplicity": 3}])
def test_a_crystal_that_states_a_charge_or_an_open_shell_is_refused(state, tmp_path):
    atoms = graphene(vacuum=5)
    atoms.info |= state
    ase.io.write(tmp_path / "sheet.xyz", atoms, format="extxyz")
    with pytest.raises(StructureError, match="neutral closed"):
        read_crystals([tmp_path / "sheet.xyz"])
