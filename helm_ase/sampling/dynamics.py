"""Short molecular dynamics with GFN2-xTB."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from numpy.typing import NDArray

from helm_ase.sampling.relaxation import check_finite
from helm_ase.sampling.settings import SamplingSettings


def run_dynamics(
    atoms: Atoms, temperature: float, settings: SamplingSettings, random: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Langevin dynamics from a minimum; yields the kept frames, Å, (N, 3).

    All energy is kinetic at first and half of it soon potential, so velocities are drawn at twice the
    temperature (K).  The thermostat is too slow to heat a molecule within such short trajectories.

    Raises
    ------
    CalculationFailed
        If xTB fails or the trajectory leaves the finite numbers.
    """
    thermalize_momenta(atoms, 2 * temperature, rng=random)
    dynamics = Langevin(
        atoms,
        settings.timestep * units.fs,
        temperature_K=temperature,
        friction=settings.friction / units.fs,
        fixcm=False,
        rng=random,
    )
    for _ in range(settings.frames):
        dynamics.run(settings.md_steps)
        check_finite(atoms)
        yield atoms.get_positions()
