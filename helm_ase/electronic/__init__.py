"""Electronic structure from H and S: orbitals, densities, observables.

It needs neither the network nor PySCF.
"""

from helm_ase.electronic.integrals import Integrals
from helm_ase.electronic.structure import ElectronicStructure
from helm_ase.representation.overlap import OVERLAP_THRESHOLD

__all__ = ["OVERLAP_THRESHOLD", "ElectronicStructure", "Integrals"]
