"""Molecular dynamics of ``helm-ase run --md``."""

import argparse
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase import units as ase_units
from ase.io.trajectory import TrajectoryWriter
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from helm_ase.errors import SettingError
from helm_ase.system.terminal import progress_bar

AT_REST = 0.3
"""Largest force, eV/Å, up to which a molecule stores next to no potential energy."""


def dynamics(
    atoms: Atoms,
    options: argparse.Namespace,
    frames: TrajectoryWriter | None,
    watch: Callable[[], None] | None = None,
) -> None:
    """Run Langevin or constant-energy dynamics, showing temperature and total energy.

    Parameters
    ----------
    atoms
        With their calculator.
    options
        Options of the command line.
    frames
        Where every tenth geometry is written; None: nowhere.
    watch
        Called at every step; what it raises ends the dynamics.
    """
    rng = np.random.default_rng(options.seed)
    step = options.timestep * ase_units.fs
    if not options.keep_velocities:
        hot = starting_temperature(atoms, options.temperature) if options.nve else options.temperature
        draw_velocities(atoms, hot, rng)
    if options.nve:
        md = VelocityVerlet(atoms, step)
    else:
        friction = 0.01 / ase_units.fs
        md = Langevin(atoms, step, temperature_K=options.temperature, friction=friction, fixcm=False, rng=rng)
    if frames is not None:
        md.attach(frames.write, interval=10)
    if watch is not None:
        md.attach(watch, interval=1)
    start, seen = atoms.get_total_energy(), []
    with progress_bar(total=options.md, desc="dynamics", unit="step") as bar:
        for _ in md.irun(options.md):
            seen.append(temperature(atoms, options.nve))
            bar.set_postfix(T=f"{seen[-1]:.0f} K", refresh=False)
            bar.update(min(1, options.md - bar.n))
    drift = (atoms.get_total_energy() - start) * 1000 / len(atoms)
    print(f"{options.md} steps of {options.timestep} fs; total energy changed by {drift:.3f} meV/atom")
    print_temperatures(seen, options)


def check_velocities(atoms: Atoms, options: argparse.Namespace) -> None:
    """Compare the velocities of the file with the options, before anything is computed.

    Raises
    ------
    SettingError
        If they are to be kept but there are none, or without dynamics, or after a relaxation.
    """
    moving = bool(atoms.get_momenta().any())
    if not options.keep_velocities:
        if moving and options.md:
            print(f"the velocities in {options.file} are replaced; --keep-velocities goes on with them")
        return
    if options.opt or not options.md:
        raise SettingError("--keep-velocities goes on with --md, without --opt")
    if not moving:
        raise SettingError(f"{options.file} has no velocities to keep: leave out --keep-velocities")


def print_temperatures(seen: list[float], options: argparse.Namespace) -> None:
    """Say which temperature the dynamics had, at its start and on average."""
    mean = f"temperature {seen[0]:.0f} K at the start, {np.mean(seen):.0f} K on average"
    if not options.nve:
        print(mean)
        return
    print(f"{mean} (of the vibrations: the molecule neither drifts nor turns)")
    if seen[0] > 1.5 * options.temperature and not options.keep_velocities:
        print(
            f"a molecule at rest starts at twice {options.temperature:g} K: vibrations store the other half"
        )


def starting_temperature(atoms: Atoms, wanted: float) -> float:
    """Temperature of the velocities that leads to a mean of ``wanted`` at constant energy, K.

    A relaxed molecule turns half of its kinetic energy into potential energy, one that vibrates has that
    already.
    """
    at_rest = float(np.linalg.norm(atoms.get_forces(), axis=1).max()) < AT_REST
    return 2 * wanted if at_rest else wanted


def draw_velocities(atoms: Atoms, wanted: float, rng: np.random.Generator) -> None:
    """Velocities without drift and rotation, scaled so that the vibrations have exactly ``wanted`` K."""
    masses = atoms.get_masses()
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * np.sqrt(masses)[:, None])
    Stationary(atoms, preserve_temperature=False)
    if len(atoms) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):  # about the axis of a linear molecule
            ZeroRotation(atoms, preserve_temperature=False)
    drawn = temperature(atoms, vibrations=True)
    scale = np.sqrt(wanted / drawn) if drawn > 0 else 0.0
    atoms.set_momenta(atoms.get_momenta() * scale)


def temperature(atoms: Atoms, vibrations: bool) -> float:
    """Kinetic temperature, K: of all degrees of freedom, or of the vibrations only where nothing drifts."""
    free = vibrational_freedom(atoms) if vibrations else 3 * len(atoms)
    return 2 * float(atoms.get_kinetic_energy()) / (free * ase_units.kB) if free else 0.0


def vibrational_freedom(atoms: Atoms) -> int:
    """3N − 6; 3N − 5 of a linear molecule; 0 of an atom."""
    if len(atoms) == 1:
        return 0
    moments = _spread(atoms.positions)
    return 3 * len(atoms) - (5 if moments[1] < 1e-6 * moments[0] else 6)


def _spread(positions: NDArray[np.float64]) -> list[float]:
    """Squared extents along the principal axes, largest first."""
    centred = positions - positions.mean(axis=0)
    return [float(x) for x in np.linalg.svd(centred, compute_uv=False) ** 2] + [0.0]
