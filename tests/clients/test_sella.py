"""Sella on HELM."""

import numpy as np
import pytest
from ase.build import molecule
from ase.optimize import BFGS

from helm_ase import HELMCalculator

pytestmark = pytest.mark.client


@pytest.fixture(scope="module")
def sella():
    """Not at the top: it brings JAX, which only the process that runs these tests needs."""
    return pytest.importorskip("sella")


def test_sella_finds_the_same_minimum_as_bfgs(sella):
    energies = []
    for optimiser, options in ((BFGS, {}), (sella.Sella, {"order": 0, "internal": False})):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=1)
        atoms.calc = HELMCalculator()
        assert optimiser(atoms, logfile=None, **options).run(fmax=0.02, steps=100)
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.02
        energies.append(atoms.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], abs=2e-3)


@pytest.mark.slow
def test_sella_finds_planar_ammonia_as_the_saddle_point_of_its_inversion(sella):
    atoms = molecule("NH3")
    minimum = atoms.copy()
    atoms.positions[0, 2] = atoms.positions[1:, 2].mean() + 0.05
    for structure in (atoms, minimum):
        structure.calc = HELMCalculator(dtype="float64")
    assert BFGS(minimum, logfile=None).run(fmax=0.01, steps=200)
    saddle = sella.Sella(atoms, order=1, internal=False, logfile=None)
    assert saddle.run(fmax=0.01, steps=150)
    height = atoms.get_potential_energy() - minimum.get_potential_energy()
    normal = np.cross(*(atoms.positions[2:] - atoms.positions[1]))
    out_of_plane = (atoms.positions[0] - atoms.positions[1]) @ normal / np.linalg.norm(normal)
    assert abs(out_of_plane) < 0.02
    assert 0.05 < height < 0.6
