"""Infrared intensities of harmonic vibrations, and what follows from them: spectrum and thermochemistry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from helm_ase.errors import SettingError
from helm_ase.units import DEBYE_IN_E_ANGSTROM, KM_PER_MOL_IN_SQUARED_DEBYE_PER_SQUARED_ANGSTROM_PER_AMU

if TYPE_CHECKING:  # ASE's vibrations import Matplotlib, for which every user of a calculator would wait
    from ase.thermochemistry import IdealGasThermo
    from ase.vibrations import VibrationsData

DISPLACEMENT = 0.01
"""Å by which atoms are moved to either side for derivatives of the dipole."""
LINEAR = 1e-3
"""A molecule whose smallest moment of inertia is below this fraction of the largest is linear."""
STANDARD_TEMPERATURE, STANDARD_PRESSURE = 298.15, 1e5
"""K and Pa."""

Dipoles = Callable[[Sequence[Atoms]], Sequence[NDArray[np.float64]]]
"""Dipoles in e·Å of several geometries."""


@dataclass(frozen=True)
class InfraredSpectrum:
    """Harmonic vibrations of a molecule with their infrared intensities (double-harmonic approximation)."""

    vibrations: "VibrationsData"
    """Normal modes, translations and rotations among them."""
    intensities: NDArray[np.float64]
    """Infrared intensity of each mode, km/mol, (3N,)."""
    dipole_derivatives: NDArray[np.float64]
    """∂μ/∂R, e, (3N, 3): row for each coordinate of each atom, column for each component of the dipole."""

    @property
    def wavenumbers(self) -> NDArray[np.float64]:
        """Harmonic wavenumbers, cm⁻¹, negative for imaginary ones, (3N,)."""
        energies = self.vibrations.get_energies()
        return np.asarray((energies.real - energies.imag) / units.invcm, dtype=np.float64)

    @property
    def internal(self) -> NDArray[np.int64]:
        """Indices of the modes that are vibrations, in their order."""
        return internal_modes(self.vibrations)

    def broadened(self, grid: NDArray[np.float64], width: float = 20.0) -> NDArray[np.float64]:
        """Absorption of the vibrations with Lorentzian lines, km/mol per cm⁻¹, (G,).

        Parameters
        ----------
        grid
            Wavenumbers, cm⁻¹, (G,).
        width
            Full width of a line at half its height, cm⁻¹.

        Raises
        ------
        SettingError
            If the width is not positive.
        """
        if not width > 0:
            raise SettingError(f"the width of lines is {width} cm-1; it must be positive")
        half = width / 2
        distance = grid[:, None] - self.wavenumbers[self.internal]  # (G, M)
        lines = half / np.pi / (distance**2 + half**2)
        return np.asarray(lines @ self.intensities[self.internal], dtype=np.float64)


def predict_infrared(
    vibrations: "VibrationsData", dipoles: Dipoles, displacement: float = DISPLACEMENT
) -> InfraredSpectrum:
    """Infrared intensities from normal modes and central differences of dipoles at 6N displaced geometries.

    Parameters
    ----------
    vibrations
        Normal modes.
    dipoles
        Function that gives the dipoles, e·Å, of several geometries about one fixed origin.
    displacement
        Distance by which each atom is moved to either side, Å.

    Raises
    ------
    SettingError
        If the displacement is not positive.
    """
    if not displacement > 0:
        raise SettingError(f"the displacement is {displacement} Å; it must be positive")
    atoms = vibrations.get_atoms()
    moved = []
    for atom in range(len(atoms)):
        for axis in range(3):
            for side in (1, -1):
                geometry = atoms.copy()
                geometry.positions[atom, axis] += side * displacement
                moved.append(geometry)
    values = np.array(dipoles(moved)).reshape(-1, 2, 3)  # (3N, ±, 3)
    slopes = (values[:, 0] - values[:, 1]) / (2 * displacement)  # e, (3N, 3)
    modes = vibrations.get_modes(all_atoms=True).reshape(-1, slopes.shape[0])  # Å/√amu, (modes, 3N)
    along = modes @ slopes / DEBYE_IN_E_ANGSTROM  # D/Å/√amu, (modes, 3)
    strength = (along**2).sum(1) * KM_PER_MOL_IN_SQUARED_DEBYE_PER_SQUARED_ANGSTROM_PER_AMU
    return InfraredSpectrum(vibrations, strength, slopes)


def rotations(atoms: Atoms) -> int:
    """Number of rotations of a molecule: none of an atom, two of a linear molecule, otherwise three."""
    if len(atoms) == 1:
        return 0
    moments = np.sort(atoms.get_moments_of_inertia())
    return 2 if moments[0] < LINEAR * moments[2] else 3


def internal_modes(vibrations: "VibrationsData") -> NDArray[np.int64]:
    """Indices of the modes that are vibrations: all but the five or six of smallest wavenumber, real or
    imaginary, which are translations and rotations."""
    outer = 3 + rotations(vibrations.get_atoms())
    return np.sort(np.argsort(np.abs(vibrations.get_energies()), kind="stable")[outer:])


def ideal_gas(
    vibrations: "VibrationsData", energy: float, multiplicity: int = 1, symmetry_number: int = 1
) -> "IdealGasThermo":
    """Thermochemistry of a molecule as an ideal gas of rigid rotors and harmonic oscillators.

    Parameters
    ----------
    vibrations
        Normal modes at a minimum.
    energy
        Total energy, eV.
    multiplicity
        Spin multiplicity 2S + 1.
    symmetry_number
        Number of rotations that bring the molecule onto itself.

    Raises
    ------
    SettingError
        If a vibration is imaginary: the geometry is not a minimum.
    """
    from ase.thermochemistry import IdealGasThermo

    atoms = vibrations.get_atoms()
    energies = vibrations.get_energies()[internal_modes(vibrations)]
    if (energies.imag != 0).any():
        raise SettingError(
            f"{int((energies.imag != 0).sum())} vibrations are imaginary: this geometry is not a minimum, "
            "and the thermochemistry of an ideal gas needs one"
        )
    shape = {0: "monatomic", 2: "linear", 3: "nonlinear"}[rotations(atoms)]
    return IdealGasThermo(
        energies.real, shape, energy, atoms=atoms, symmetrynumber=symmetry_number, spin=(multiplicity - 1) / 2
    )
