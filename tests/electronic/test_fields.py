"""Fields on grids: integrals that are known, and cube files that others read."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io.cube import read_cube
from pyscf import scf
from pyscf.tools import cubegen

from helm_ase.electronic import ElectronicStructure
from helm_ase.electronic.fields import Grid, orbital_index, sample_field, spins_with, write_cube
from helm_ase.errors import SettingError
from helm_ase.qc.integrals import MoleIntegrals
from helm_ase.qc.molecule import build_mole
from helm_ase.units import BOHR_IN_ANGSTROM

WATER = Atoms("OH2", [[0.02, 0.0, 0.11], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]])


def solve(atoms, multiplicity=1, charge=0):
    mole = build_mole(atoms.numbers, atoms.positions, "sto-3g", charge, multiplicity)
    mf = (scf.RHF if multiplicity == 1 else scf.UHF)(mole).run(verbose=0)
    return mf, ElectronicStructure.solve(
        torch.tensor(np.asarray(mf.get_fock())), torch.tensor(mf.get_ovlp()), mole.nelectron, multiplicity,
        integrals=MoleIntegrals(mole),
    )  # fmt: skip


@pytest.fixture(scope="module")
def water():
    return solve(WATER)


@pytest.fixture(scope="module")
def hydroxyl():
    return solve(WATER[:2], 2)


def volume(grid):
    return (grid.spacing / BOHR_IN_ANGSTROM) ** 3


def test_a_grid_leaves_its_margin_on_all_sides():
    grid = Grid.around(WATER.positions, 0.3, 1.7)
    points = grid.points.numpy() * BOHR_IN_ANGSTROM
    assert points.shape == (np.prod(grid.counts), 3)
    low, high = WATER.positions.min(0), WATER.positions.max(0)
    assert (points.min(0) <= low - 1.7 + 1e-9).all()
    assert (points.max(0) >= high + 1.7 - 1e-9).all()
    assert (points.max(0) < high + 1.7 + 0.3).all()
    np.testing.assert_allclose(points.mean(0), 0.5 * (low + high), atol=1e-9)


@pytest.mark.scf
def test_orbitals_are_normalised_and_valence_densities_integrate(water, hydroxyl):
    grid = Grid.around(WATER.positions, 0.12, 3.5)
    homo = sample_field(water[1], "homo", grid)
    assert abs((homo**2).sum() * volume(grid) - 1) < 2e-3
    lumo = sample_field(water[1], "lumo", grid)
    assert abs((homo * lumo).sum() * volume(grid)) < 2e-3
    assert abs(sample_field(hydroxyl[1], "spin density", grid).sum() * volume(grid) - 1) < 3e-2
    assert np.abs(sample_field(water[1], "spin density", grid)).max() == 0


@pytest.mark.scf
def test_the_potential_far_away_is_that_of_the_dipole(water):
    structure = water[1]
    direction = np.array([0.2, 0.4, -0.9]) / np.linalg.norm([0.2, 0.4, -0.9])
    centre = structure.origin().numpy()
    point = torch.from_numpy(centre + 60 * direction)[None]
    expected = float(structure.dipole() @ torch.from_numpy(direction)) / 60**2
    assert abs(float(structure.potential_at(point)) / expected - 1) < 0.05


@pytest.mark.scf
def test_names_of_orbitals(water, hydroxyl):
    assert orbital_index(water[1], "HOMO") == 4
    grid = Grid.around(WATER.positions, 1.0)
    np.testing.assert_array_equal(*(sample_field(water[1], x, grid) for x in ("density", "Density")))
    assert orbital_index(water[1], "homo-2") == 2
    assert orbital_index(water[1], "lumo + 1") == 6
    assert orbital_index(water[1], 0) == orbital_index(water[1], "0") == 0
    assert orbital_index(hydroxyl[1], "homo", 0) == 4
    assert orbital_index(hydroxyl[1], "homo", 1) == 3
    for name, words in (
        ("homo+1", "no field"),
        ("sigma", "no field"),
        ("homo-5", "does not exist"),
        (7, "does not"),
    ):
        with pytest.raises(SettingError, match=words):
            orbital_index(water[1], name)
    with pytest.raises(SettingError, match="spin 1"):
        orbital_index(water[1], "homo", 1)


@pytest.mark.scf
def test_a_lone_electron_has_orbitals_of_one_spin_only(water, hydroxyl):
    _, ion = solve(Atoms("H2", [[0, 0, 0], [0, 0, 1.0]]), 2, charge=1)
    assert spins_with(ion, "homo") == [0]
    assert spins_with(ion, "lumo") == [0, 1]
    assert spins_with(hydroxyl[1], "homo") == [0, 1]
    assert spins_with(water[1], "homo") == [0]
    with pytest.raises(SettingError, match=r"lumo\+99"):
        spins_with(water[1], "lumo+99")


@pytest.mark.parametrize("what", ["density", "homo", "lumo+1", "potential"])
def test_cube_files_are_read_by_ase_and_pyscf(water, tmp_path, what):
    mf, structure = water
    grid = write_cube(tmp_path / "x.cube", WATER, structure, what, spacing=0.4, margin=1.5)
    values = sample_field(structure, what, grid)
    with open(tmp_path / "x.cube") as file:
        found = read_cube(file)
    np.testing.assert_allclose(found["data"], values, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["origin"], grid.origin, atol=1e-5)
    np.testing.assert_allclose(found["atoms"].positions, WATER.positions, atol=1e-5)
    assert found["atoms"].numbers.tolist() == [8, 1, 1]
    np.testing.assert_allclose(np.diag(found["spacing"]), grid.spacing, atol=1e-5)
    cube = cubegen.Cube(mf.mol, 2, 2, 2)
    np.testing.assert_allclose(cube.read(str(tmp_path / "x.cube")), values, rtol=1e-5, atol=1e-7)
    assert [p.name for p in tmp_path.iterdir()] == ["x.cube"]


@pytest.mark.scf
def test_an_atom_on_a_grid_point_has_no_infinite_potential(water):
    grid = Grid(WATER.positions[0], 0.5, (2, 2, 2))
    values = sample_field(water[1], "potential", grid)
    assert np.isfinite(values).all()
    assert values[0, 0, 0] == values.max()


@pytest.mark.scf
def test_impossible_grids_and_fields_are_refused_and_leave_no_file(water, tmp_path):
    for options in (
        {"what": "x"},
        {"what": "density", "spin": 1},
        {"what": "homo", "spacing": 0.0},
        {"what": "homo", "margin": -1.0},
    ):
        with pytest.raises(SettingError):
            write_cube(tmp_path / "x.cube", WATER, water[1], **options)
    assert list(tmp_path.iterdir()) == []
