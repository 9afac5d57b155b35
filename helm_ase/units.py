"""Conversion factors between units, which all modules take from here.

Everything is built from ASE's CODATA values, so that a number converted here and one converted by ASE agree
to the last digit.  ASE's values are those of CODATA 2014; its Hartree in eV differs from that of CODATA 2018
by a relative 8e-9.  For energies in eV from other programs this amounts to 0.02 mEh in the total energy of a
bromine atom.
"""

from ase import units

BOHR_IN_ANGSTROM: float = units.Bohr
"""Length: 1 a0 in Å."""

DEBYE_IN_E_ANGSTROM: float = units.Debye
"""Dipole: 1 D in e·Å."""

HARTREE_IN_EV: float = units.Hartree
"""Energy: 1 Eh in eV."""

HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM: float = HARTREE_IN_EV / BOHR_IN_ANGSTROM
"""Force: 1 Eh/a0 in eV/Å."""

ATOMIC_DIPOLE_IN_E_ANGSTROM: float = BOHR_IN_ANGSTROM
"""Dipole: 1 e·a0 in e·Å, the unit of ASE."""

ATOMIC_POLARIZABILITY_IN_E2_ANGSTROM2_PER_EV: float = BOHR_IN_ANGSTROM**2 / HARTREE_IN_EV
"""Polarizability: 1 a0³ (e²·a0²/Eh) in e²·Å²/eV, the unit of ASE's Raman module."""

KM_PER_MOL_IN_SQUARED_DEBYE_PER_SQUARED_ANGSTROM_PER_AMU: float = (
    units._Nav * units._e**2 / (12 * units._eps0 * units._c**2 * units._amu) * 1e-3 * units.Debye**2
)
"""Infrared intensity: 1 (D/Å)²/amu in km/mol, N_A (∂μ/∂Q)² / (12 ε0 c²)."""

__all__ = [
    "ATOMIC_DIPOLE_IN_E_ANGSTROM",
    "ATOMIC_POLARIZABILITY_IN_E2_ANGSTROM2_PER_EV",
    "BOHR_IN_ANGSTROM",
    "DEBYE_IN_E_ANGSTROM",
    "HARTREE_IN_EV",
    "HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM",
    "KM_PER_MOL_IN_SQUARED_DEBYE_PER_SQUARED_ANGSTROM_PER_AMU",
]
