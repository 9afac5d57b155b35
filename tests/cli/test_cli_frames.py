"""``helm-ase run --all-frames`` and ``--vibrations``."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from helm_ase import HELMCalculator
from helm_ase.cli import main

NAMES = ("H2O", "CH4", "NH3", "HCN")


def run(*arguments):
    return main([str(a) for a in arguments])


@pytest.fixture
def frames(tmp_path):
    path = tmp_path / "frames.xyz"
    write(path, [molecule(name) for name in NAMES])
    return path


def test_all_frames_are_computed_and_written_in_their_order(frames, tmp_path, capsys):
    assert run("run", frames, "--all-frames", "-o", tmp_path / "out.extxyz") == 0
    printed = capsys.readouterr().out
    assert "4 frames computed\n" in printed
    rows = [line.split() for line in printed.splitlines()[1:5]]
    written = read(tmp_path / "out.extxyz", index=":")
    assert [a.get_chemical_formula() for a in written] == [row[1] for row in rows]
    for k, (name, atoms, row) in enumerate(zip(NAMES, written, rows, strict=True)):
        alone = molecule(name)
        alone.calc = HELMCalculator()
        assert row[0] == str(k)
        assert float(row[2]) == pytest.approx(alone.get_potential_energy(), abs=2e-5)
        assert atoms.get_potential_energy() == pytest.approx(alone.get_potential_energy(), abs=2e-5)
        np.testing.assert_allclose(atoms.get_forces(), alone.get_forces(), atol=2e-5)


def test_a_slice_of_frames_and_a_trajectory_file(frames, tmp_path, capsys):
    assert run("run", f"{frames}@1:3", "--all-frames") == 0
    assert "2 frames computed" in capsys.readouterr().out
    write(tmp_path / "frames.traj", read(frames, index=":"))
    assert run("run", tmp_path / "frames.traj", "--all-frames") == 0
    assert "4 frames computed" in capsys.readouterr().out


def test_a_frame_that_cannot_be_computed_is_named_and_the_rest_go_on(tmp_path, capsys):
    write(tmp_path / "mixed.xyz", [molecule("H2O"), Atoms("Au"), molecule("CH4")])
    assert run("run", tmp_path / "mixed.xyz", "--all-frames", "-o", tmp_path / "out.xyz") == 0
    printed = capsys.readouterr().out
    assert "has not seen Au" in printed
    assert "2 frames computed, 1 not" in printed
    assert len(read(tmp_path / "out.xyz", index=":")) == 2


def test_if_no_frame_can_be_computed_the_command_fails_and_leaves_no_file(tmp_path, capsys):
    write(tmp_path / "gold.xyz", [Atoms("Au"), Atoms("Au")])
    assert run("run", tmp_path / "gold.xyz", "--all-frames", "-o", tmp_path / "out.xyz") == 1
    assert "none of 2 frames" in capsys.readouterr().err
    assert not (tmp_path / "out.xyz").exists()
    (tmp_path / "broken.xyz").write_text("this is not a structure\n")
    assert run("run", tmp_path / "broken.xyz", "--all-frames") == 1
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--opt"], "--opt is for one structure"),
        (["--vibrations"], "--vibrations is for one structure"),
        (["--keep-velocities"], "--keep-velocities is for one structure"),
        (["--kpts", "2", "2", "2"], "--kpts is for one structure"),
        (["--smearing", "0"], "--smearing is for one structure"),
        (["--bands", "bands.png"], "--bands is for one structure"),
        (["-o", "out.cif"], "writes .xyz or .extxyz files"),
        (["-o", "nowhere/out.xyz"], "no folder nowhere"),
    ],
)
def test_options_that_make_no_sense_for_all_frames_are_refused(frames, option, message, capsys):
    assert run("run", frames, "--all-frames", *option) == 1
    assert message in capsys.readouterr().err


def test_vibrations_are_printed_after_an_optimisation(frames, capsys, tmp_path):
    picture = tmp_path / "infrared.png"
    options = ["--opt", "--fmax", 0.005, "--vibrations", "--spectrum", picture, "--no-orbitals"]
    assert run("run", f"{frames}@0", *options) == 0
    printed = capsys.readouterr().out
    assert "Zero-point energy" in printed
    assert "intensity / km/mol" in printed
    assert "ideal gas at 298.15 K" in printed
    assert picture.stat().st_size > 5000
    assert "not a minimum" not in printed
    assert run("run", f"{frames}@1", "--vibrations", "--no-orbitals") == 0
    assert "cm^-1" in capsys.readouterr().out


def test_vibrations_far_from_a_minimum_come_with_a_word(tmp_path, capsys):
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=1)
    write(tmp_path / "water.xyz", atoms)
    assert run("run", tmp_path / "water.xyz", "--vibrations", "--no-orbitals") == 0
    assert "this is not a minimum" in capsys.readouterr().out
