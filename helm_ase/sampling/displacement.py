"""Displacements along normal modes, thermal within the harmonic approximation of GFN2-xTB."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from helm_ase.sampling.relaxation import relax
from helm_ase.sampling.settings import Statistics

STEP = 0.005
"""Step of the finite differences, Å."""
SOFTEST = 100.0
"""Wavenumber, 1/cm, as which softer modes count: along them the harmonic potential ends early."""
TIGHT_FMAX = 0.003
"""eV/Å; remaining forces would shift the mean of the soft modes."""
ANHARMONIC = 0.2
"""eV; see :meth:`NormalModes.displace`."""
HBAR = units._hbar * units.J * units.second
"""In eV times ASE's unit of time."""


@dataclass(frozen=True)
class NormalModes:
    """Minimum, frequencies and directions of the vibrations."""

    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    frequencies: NDArray[np.float64]
    """Angular, in ASE's unit of inverse time, (M,)."""
    directions: NDArray[np.float64]
    """Displacement for a unit of each mass-weighted coordinate, Å / (Å √u), (M, N, 3)."""
    energy: float
    """At the minimum, eV."""

    def displace(
        self, temperature: float, statistics: Statistics, random: np.random.Generator
    ) -> tuple[NDArray[np.float64], float]:
        """One random geometry at ``temperature`` (K), Å, (N, 3), and the highest energy it may have, eV.

        That is twice the harmonic energy of the displacement and :data:`ANHARMONIC`: straight displacements
        along torsions stretch bonds, and beyond this the geometry is not one of that temperature.
        """
        widths = mode_widths(self.frequencies, temperature, statistics)
        amplitudes = widths * random.standard_normal(len(widths))
        harmonic = float(np.sum((self.frequencies * amplitudes) ** 2) / 2)
        positions = self.positions + np.einsum("m,mnk->nk", amplitudes, self.directions)
        return positions, self.energy + 2 * harmonic + ANHARMONIC


def mode_widths(
    frequencies: NDArray[np.float64], temperature: float, statistics: Statistics
) -> NDArray[np.float64]:
    """Standard deviation of each mass-weighted coordinate, Å √u, (M,).

    Classical: kT/ω² is its square, so that a mode holds kT/2 on average.  Wigner: ħ/2ω · coth(ħω/2kT), the
    marginal distribution of positions of the quantum oscillator, with zero-point motion also at 0 K.
    """
    softest = SOFTEST * units.invcm / HBAR
    omega = np.maximum(frequencies, softest)
    if statistics == "classical":
        return np.asarray(np.sqrt(units.kB * temperature) / omega)
    thermal = np.ones_like(omega)
    if temperature > 0:
        thermal = 1 / np.tanh(HBAR * omega / (2 * units.kB * temperature))
    return np.asarray(np.sqrt(HBAR / (2 * omega) * thermal))


def normal_modes(atoms: Atoms, steps: int) -> NormalModes | None:
    """Vibrations about the minimum near ``atoms``; None if there is none within ``steps`` of relaxation.

    ``atoms`` is moved.  Costs 6 N forces after relaxation.

    Raises
    ------
    CalculationFailed
        If xTB fails.
    """
    if not relax(atoms, TIGHT_FMAX, steps):
        return None
    minimum, energy = atoms.get_positions(), float(atoms.get_potential_energy())
    roots = np.repeat(np.sqrt(atoms.get_masses()), 3)
    weighted = _hessian(atoms) / np.outer(roots, roots)
    internal = _internal_directions(minimum, atoms.get_masses())
    squares, vectors = np.linalg.eigh(internal.T @ weighted @ internal)
    if (squares < -((SOFTEST * units.invcm / HBAR) ** 2)).any():  # a saddle point
        return None
    directions = ((internal @ vectors).T / roots).reshape(-1, len(atoms), 3)
    return NormalModes(minimum, np.sqrt(np.maximum(squares, 0)), directions, energy)


def _hessian(atoms: Atoms) -> NDArray[np.float64]:
    minimum = atoms.get_positions()
    rows = []
    for coordinate in range(minimum.size):
        forces = []
        for sign in (1.0, -1.0):
            shifted = minimum.copy()
            shifted.flat[coordinate] += sign * STEP
            atoms.set_positions(shifted)
            forces.append(atoms.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / (2 * STEP))
    hessian = np.array(rows)
    return np.asarray((hessian + hessian.T) / 2)


def _internal_directions(positions: NDArray[np.float64], masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal basis of mass-weighted motion without translation and rotation, (3N, 3N − 6 or − 5)."""
    roots = np.sqrt(masses)[:, None]
    centred = positions - masses @ positions / masses.sum()
    external = [roots * axis for axis in np.eye(3)]
    external += [roots * np.cross(axis, centred) for axis in np.eye(3)]
    vectors, values, _ = np.linalg.svd(np.array(external).reshape(6, -1).T, full_matrices=True)
    # a linear molecule does not rotate about its axis, an atom not at all
    rank = int(np.sum(values > 1e-3 * values.max()))
    return np.asarray(vectors[:, rank:])
