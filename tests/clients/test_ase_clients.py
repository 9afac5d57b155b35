"""ASE's own optimisers, dynamics and analysis tools driven by the calculator."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE, LBFGS
from ase.thermochemistry import IdealGasThermo
from ase.vibrations import Vibrations

from helm_ase import HELMCalculator

pytestmark = pytest.mark.client


def distorted(name, amplitude=0.08, **keywords):
    atoms = molecule(name)
    atoms.rattle(amplitude, seed=4)
    atoms.calc = HELMCalculator(**keywords)
    return atoms


def relaxed(name, fmax, **keywords):
    atoms = distorted(name, 0.02, **keywords)
    assert BFGS(atoms, logfile=None).run(fmax=fmax, steps=300)
    return atoms


@pytest.mark.parametrize("optimiser", [BFGS, LBFGS, FIRE])
def test_an_optimiser_reaches_a_minimum_below_the_start(optimiser):
    atoms = distorted("CH3OH")
    start = atoms.get_potential_energy()
    assert optimiser(atoms, logfile=None).run(fmax=0.02, steps=300)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.02
    assert atoms.get_potential_energy() < start - 1e-3


def test_different_optimisers_agree_about_the_energy_of_the_minimum():
    energies = []
    for optimiser in (BFGS, FIRE):
        atoms = distorted("H2O", dtype="float64")
        assert optimiser(atoms, logfile=None).run(fmax=0.005, steps=500)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], abs=1e-3)


def test_the_optimised_water_looks_like_water():
    atoms = relaxed("H2O", 0.01)
    assert atoms.get_distance(0, 1) == pytest.approx(0.967, abs=0.03)
    assert atoms.get_distance(0, 2) == pytest.approx(0.967, abs=0.03)
    assert atoms.get_angle(1, 0, 2) == pytest.approx(102.5, abs=5)


def test_langevin_dynamics_at_room_temperature_stays_a_molecule():
    atoms = relaxed("H2O", 0.05)
    rng = np.random.default_rng(1)
    thermalize_momenta(atoms, 300, rng=rng)
    md = Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, fixcm=False, rng=rng)
    md.run(100)
    assert np.isfinite(atoms.positions).all()
    assert np.isfinite(atoms.get_momenta()).all()
    assert 0 < atoms.get_temperature() < 1500
    assert 0.8 < atoms.get_distance(0, 1) < 1.2
    assert 0.8 < atoms.get_distance(0, 2) < 1.2


def energies_at_constant_energy(name, steps):
    """Total energy in meV/atom after each step of 0.5 fs, in single precision."""
    atoms = relaxed(name, 0.02)
    thermalize_momenta(atoms, 300, rng=np.random.default_rng(2))
    Stationary(atoms)
    ZeroRotation(atoms)
    md = VelocityVerlet(atoms, 0.5 * units.fs)
    energies = [atoms.get_total_energy() for _ in md.irun(steps)]
    return np.array(energies) * 1000 / len(atoms)


@pytest.mark.parametrize(
    ("name", "steps"), [("H2O", 100), pytest.param("CH3OH", 200, marks=pytest.mark.slow)]
)
def test_total_energy_stays_constant(name, steps):
    energies = energies_at_constant_energy(name, steps)
    assert np.abs(energies - energies[0]).max() < 2.0


@pytest.mark.slow
def test_total_energy_drifts_by_less_than_one_mev_per_atom_and_picosecond():
    energies = energies_at_constant_energy("CH3OH", 2000)
    picoseconds = np.arange(len(energies)) * 0.5e-3
    drift = np.polyfit(picoseconds, energies, 1)[0]
    assert abs(drift) < 1.0
    assert np.ptp(energies) < 5.0


def test_vibrations_and_thermochemistry_of_water(tmp_path):
    atoms = relaxed("H2O", 0.003, dtype="float64")
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"))
    vibrations.run()
    energies = vibrations.get_energies()
    modes = energies[-3:]
    assert np.abs(modes.imag).max() == 0
    np.testing.assert_allclose(modes.real / units.invcm, [1640, 3740, 3840], rtol=0.15)
    assert np.abs(energies[:-3]).max() < 150 * units.invcm
    thermo = IdealGasThermo(
        modes.real, "nonlinear", potentialenergy=atoms.get_potential_energy(), atoms=atoms,
        symmetrynumber=2, spin=0,
    )  # fmt: skip
    free = thermo.get_gibbs_energy(298.15, 101325, verbose=False) - atoms.get_potential_energy()
    assert free == pytest.approx(0.08, abs=0.12)


def rotated_hydroxyl(atoms, degrees):
    """Methanol with its hydroxyl hydrogen turned about the C–O bond."""
    carbon, oxygen, hydrogen = 0, 1, 3
    assert atoms.get_chemical_symbols()[:2] == ["C", "O"]
    assert atoms.get_distance(oxygen, hydrogen) < 1.2
    other = next(i for i in range(len(atoms)) if i not in (carbon, oxygen, hydrogen))
    turned = atoms.copy()
    turned.set_dihedral(
        other, carbon, oxygen, hydrogen,
        atoms.get_dihedral(other, carbon, oxygen, hydrogen) + degrees, indices=[hydrogen],
    )  # fmt: skip
    return turned


@pytest.mark.slow  # calculator/test_copies.py: molecules that share a calculator get their own numbers
def test_an_elastic_band_with_one_shared_calculator_finds_the_barrier_of_the_hydroxyl_rotation():
    first = relaxed("CH3OH", 0.02)
    shared = first.calc
    images = [rotated_hydroxyl(first, degrees) for degrees in (0, 30, 60, 90, 120)]
    for image in images:
        image.calc = shared
    assert BFGS(images[-1], logfile=None).run(fmax=0.02, steps=100)
    band = NEB(images, allow_shared_calculator=True, method="improvedtangent")
    FIRE(band, logfile=None).run(fmax=0.1, steps=20)
    energies = np.array([image.get_potential_energy() for image in images])
    for image, energy in zip(images, energies, strict=True):
        alone = image.copy()
        alone.calc = HELMCalculator()
        assert alone.get_potential_energy() == pytest.approx(energy, abs=1e-4)
    assert energies[-1] == pytest.approx(energies[0], abs=0.005)
    assert energies.argmax() == 2
    assert 0.005 < energies.max() - energies[0] < 0.2


def test_dissociation_pulls_a_stretched_bond_together():
    atoms = Atoms("HF", [[0, 0, 0], [0, 0, 1.1]], calculator=HELMCalculator())
    assert atoms.get_forces()[1, 2] < 0 < atoms.get_forces()[0, 2]
