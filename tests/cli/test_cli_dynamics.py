"""Molecular dynamics at the command line: the temperature that was asked for is the one that is there."""

import argparse

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.lj import LennardJones
from ase.io import read, write

from helm_ase.cli import main
from helm_ase.cli.dynamics import draw_velocities, dynamics, temperature


@pytest.mark.parametrize("name", ["H2", "CO2", "H2O", "CH3CH2OH"])
def test_velocities_neither_drift_nor_turn_and_have_the_wanted_temperature(name):
    atoms = molecule(name)
    draw_velocities(atoms, 300, np.random.default_rng(1))
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-10
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-9
    assert temperature(atoms, vibrations=True) == pytest.approx(300, rel=1e-9)


def test_an_atom_alone_stands_still():
    atoms = Atoms("He")
    draw_velocities(atoms, 300, np.random.default_rng(1))
    assert np.array_equal(atoms.get_momenta(), np.zeros((1, 3)))
    assert temperature(atoms, vibrations=True) == 0


def test_dynamics_at_constant_energy_have_the_wanted_temperature_on_average(capsys):
    """A stiff cluster of argon, whose vibrations are nearly harmonic at 5 K."""
    octahedron = 3.8 / np.sqrt(2) * np.concatenate([np.eye(3), -np.eye(3)])
    atoms = Atoms("Ar6", octahedron, calculator=LennardJones(sigma=3.4, epsilon=0.0104, rc=20))
    options = argparse.Namespace(
        seed=0, nve=True, temperature=5.0, timestep=10.0, md=1000, keep_velocities=False
    )
    dynamics(atoms, options, None)
    printed = capsys.readouterr().out
    assert "temperature 10 K at the start" in printed
    assert float(printed.split("at the start, ")[1].split()[0]) == pytest.approx(5, abs=1)
    assert "twice 5 K" in printed


def test_run_says_which_temperature_it_had(tmp_path, capsys):
    path, frames = tmp_path / "ethanol.xyz", tmp_path / "md.traj"
    write(path, molecule("CH3CH2OH"))
    arguments = ["--md", "10", "--nve", "--trajectory", frames, "--no-orbitals"]
    assert main([str(a) for a in ["run", path, *arguments]]) == 0
    first = read(frames, 0)
    kinetic = first.get_kinetic_energy() / units.kB * 2 / 21
    assert f"temperature {kinetic:.0f} K at the start" in capsys.readouterr().out
    assert min(abs(kinetic - 300), abs(kinetic - 600)) < 0.01


def run_md(source, steps, target, *more):
    arguments = ["run", source, "--md", steps, "--nve", "--trajectory", target, "--no-orbitals", *more]
    return main([str(a) for a in arguments])


def test_dynamics_go_on_from_the_velocities_of_a_file(tmp_path, capsys):
    path, whole, begin, end = (tmp_path / x for x in ("water.xyz", "whole.traj", "begin.traj", "end.traj"))
    write(path, molecule("H2O"))
    assert [run_md(path, 20, whole), run_md(path, 10, begin)] == [0, 0]
    assert run_md(begin, 10, end, "--keep-velocities") == 0
    once, twice = read(whole, -1), read(end, -1)
    np.testing.assert_allclose(twice.positions, once.positions, atol=1e-5)
    np.testing.assert_allclose(twice.get_momenta(), once.get_momenta(), atol=1e-4)
    capsys.readouterr()
    assert run_md(begin, 10, tmp_path / "other.traj") == 0
    assert "--keep-velocities goes on with them" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--opt"]])
def test_velocities_that_cannot_be_kept_are_refused(tmp_path, capsys, more):
    write(tmp_path / "water.xyz", molecule("H2O"))
    assert run_md(tmp_path / "water.xyz", 10, tmp_path / "x.traj", "--keep-velocities", *more) == 1
    assert "--keep-velocities" in capsys.readouterr().err
    assert not (tmp_path / "x.traj").exists()
