"""What follows from H and S: orbitals, densities, observables.  No network and no PySCF here."""

from helm_ase.electronic.properties import dipole_moment, mulliken_charges
from helm_ase.electronic.structure import OVERLAP_THRESHOLD, ElectronicStructure

__all__ = ["OVERLAP_THRESHOLD", "ElectronicStructure", "dipole_moment", "mulliken_charges"]
