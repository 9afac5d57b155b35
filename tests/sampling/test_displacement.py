"""Thermal displacements along normal modes obey equipartition and the quantum oscillator."""

import numpy as np
import pytest
from ase import units
from ase.build import molecule

pytest.importorskip("tblite")

from helm_ase.sampling.displacement import HBAR, mode_widths, normal_modes
from helm_ase.sampling.relaxation import xtb_calculator

DRAWS = 200


def relaxed_modes(name):
    atoms = molecule(name)
    atoms.calc = xtb_calculator(0, 1)
    return atoms, normal_modes(atoms, 200)


@pytest.mark.parametrize(("name", "vibrations"), [("H2", 1), ("CO2", 4), ("H2O", 3), ("CH4", 9), ("H2CO", 6)])
def test_vibrations_number_3n_minus_6_or_5(name, vibrations):
    atoms, modes = relaxed_modes(name)
    assert len(modes.frequencies) == vibrations
    assert (modes.frequencies > 0).all()
    masses = atoms.get_masses()
    weighted = modes.directions * np.sqrt(masses)[:, None]
    overlap = np.einsum("mnk,lnk->ml", weighted, weighted)
    assert np.allclose(overlap, np.eye(vibrations), atol=1e-8)
    centre = np.einsum("n,mnk->mk", masses, modes.directions)
    assert np.abs(centre).max() < 1e-6


def test_water_has_the_frequencies_of_gfn2_xtb():
    _, modes = relaxed_modes("H2O")
    wavenumbers = HBAR * modes.frequencies / units.invcm
    assert wavenumbers == pytest.approx([1540, 3640, 3650], abs=30)


@pytest.mark.parametrize("name", ["H2O", "H2CO"])
def test_the_mean_potential_energy_is_half_kt_per_mode(name, rng):
    atoms, modes = relaxed_modes(name)
    temperature = 60.0
    energies = []
    for _ in range(DRAWS):
        atoms.positions = modes.displace(temperature, "classical", rng)[0]
        energies.append(atoms.get_potential_energy() - modes.energy)
    expected = len(modes.frequencies) / 2 * units.kB * temperature
    error = expected * np.sqrt(2 / len(modes.frequencies) / DRAWS)  # of a mean of χ² numbers
    assert np.mean(energies) == pytest.approx(expected, abs=4 * error)


def test_quantum_widths_have_zero_point_motion_and_the_classical_limit():
    omega = np.array([1000.0, 3000.0]) * units.invcm / HBAR
    assert mode_widths(omega, 0.0, "wigner") == pytest.approx(np.sqrt(HBAR / (2 * omega)))
    assert mode_widths(omega, 0.0, "classical") == pytest.approx(0)
    assert mode_widths(omega, 1e5, "wigner") == pytest.approx(mode_widths(omega, 1e5, "classical"), rel=1e-3)
    assert (mode_widths(omega, 300.0, "wigner") > mode_widths(omega, 300.0, "classical")).all()


def test_displacements_keep_centre_of_mass(rng):
    atoms, modes = relaxed_modes("H2CO")
    positions, highest = modes.displace(300.0, "wigner", rng)
    masses = atoms.get_masses()
    assert np.allclose(masses @ positions, masses @ modes.positions, atol=1e-6)
    assert highest > modes.energy


def test_a_saddle_point_has_no_normal_modes():
    flat = molecule("NH3")
    flat.positions[:, 2] = 0.0
    flat.calc = xtb_calculator(0, 1)
    assert normal_modes(flat, 200) is None
