"""What the command line says of its numbers, and when it ends a run."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from helm_ase import ExtrapolationWarning, HELMCalculator
from helm_ase.cli import main
from helm_ase.system.terminal import plain_warnings
from shared.attached import PURE

pytestmark = pytest.mark.filterwarnings("ignore::helm_ase.ExtrapolationWarning")


def run(*arguments):
    return main(["run", *(str(a) for a in arguments)])


def put(folder, atoms):
    path = folder / "molecule.xyz"
    write(path, atoms)
    return path


def fluorine(length):
    return Atoms("F2", [[0, 0, 0], [0, 0, length]])


def test_a_known_molecule_is_trusted_with_its_number(tmp_path, capsys):
    assert run(put(tmp_path, molecule("CH3OH")), "--no-orbitals") == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("verdict"))
    assert line.startswith("verdict  trusted: error bar ")


def test_a_broken_bond_ends_with_words_and_without_numbers(tmp_path, capsys):
    path, output = put(tmp_path, fluorine(2.28)), tmp_path / "out.xyz"
    assert run(path, "-o", output) == 1
    printed = capsys.readouterr()
    assert "energy  " not in printed.out
    assert "refused: 2 fragments" in printed.err
    assert "--allow-extrapolation goes on" in printed.err
    assert not output.exists()
    assert run(path, "-o", output, "--allow-extrapolation", "--no-orbitals") == 0
    assert "verdict  refused" in capsys.readouterr().out
    assert output.exists()


@pytest.mark.filterwarnings("default::helm_ase.ExtrapolationWarning")
@pytest.mark.parametrize("more", [(), ("--opt",), ("--allow-extrapolation", "--no-orbitals")])
def test_the_reasons_are_told_once(more, tmp_path, capsys):
    with warnings.catch_warnings(record=True) as told:
        run(put(tmp_path, fluorine(2.28)), *more)
    assert not told  # a command line would print them before the verdict, which says the same
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("bonds are broken") == 1


def test_an_optimisation_that_starts_from_a_broken_bond_does_not_start(tmp_path, capsys):
    frames = tmp_path / "old.traj"
    frames.write_text("kept")
    assert run(put(tmp_path, fluorine(1.8)), "--opt", "--trajectory", frames) == 1
    assert "bonds are broken" in capsys.readouterr().err
    assert frames.read_text() == "kept"


def test_dynamics_that_scatter_the_atoms_stop_and_keep_their_frames(tmp_path, capsys):
    frames = tmp_path / "md.traj"
    arguments = ["--md", 50, "--timestep", 50, "--trajectory", frames]
    assert run(put(tmp_path, molecule("H2O")), *arguments) == 1
    error = capsys.readouterr().err
    assert "stopped after" in error
    assert "the trajectory ends with this geometry" in error
    last = read(frames, -1)
    assert HELMCalculator().get_verdict(last).trust == "refused"
    assert len(read(frames, ":")) >= 2


def test_with_permission_it_goes_on(tmp_path, capsys):
    arguments = ["--md", 3, "--timestep", 0.1, "--no-orbitals", "--allow-extrapolation"]
    assert run(put(tmp_path, fluorine(1.8)), *arguments) == 0
    assert "3 steps" in capsys.readouterr().out


@pytest.mark.parametrize("steps", [40, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["H2O", "CH3OH", "HF", "N2"])
def test_ordinary_dynamics_are_not_stopped(name, steps, tmp_path, capsys):
    """Forty steps are more than a period of every bond here."""
    assert run(put(tmp_path, molecule(name)), "--md", steps, "--no-orbitals") == 0
    assert f"{steps} steps" in capsys.readouterr().out


@pytest.mark.scf
def test_refined_numbers_are_the_main_answer(tmp_path, capsys):
    atoms = molecule("H2O")
    assert run(put(tmp_path, atoms), "--refine", 2) == 0
    printed = capsys.readouterr().out
    atoms.calc = HELMCalculator(refine=2)
    homo, lumo = atoms.calc.get_homo_lumo()
    assert f"energy  {atoms.get_potential_energy():.5f}"[:-1] in printed
    assert f"gap  {lumo - homo:.3f}" in printed
    assert f"{atoms.get_forces()[0, 2]:.6f}"[:-2] in printed
    assert "helm-organic-1 + 2 SCF steps" in printed
    assert "the last SCF step changed the energy" in printed
    assert np.isfinite(homo)


@pytest.mark.filterwarnings("always::helm_ase.ExtrapolationWarning")
def test_a_warning_is_one_line_of_text_and_extrapolation_has_advice(tmp_path, capsys):
    assert run(put(tmp_path, molecule("C6H6")), "--model", PURE, "--no-orbitals") == 0
    printed = capsys.readouterr()
    assert "advice   --refine 2" in printed.out
    with plain_warnings():
        text = warnings.formatwarning("too far", ExtrapolationWarning, "a.py", 1)
        assert text == "helm-ase: warning: too far\n"
        assert "a.py:1" in warnings.formatwarning("other", UserWarning, "a.py", 1, "")
    assert "a.py:1" in warnings.formatwarning("too far", ExtrapolationWarning, "a.py", 1, "")
