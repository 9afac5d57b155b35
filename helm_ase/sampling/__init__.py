"""Generation of geometries to label: conformers, GFN2-xTB dynamics, normal modes, weakly bound dimers."""

from helm_ase.sampling.campaign import SamplingResult, sample
from helm_ase.sampling.molecules import Molecule, Reading, from_smiles, read_molecules
from helm_ase.sampling.output import check_output, summarise, write
from helm_ase.sampling.settings import SamplingSettings
from helm_ase.sampling.task import Drop

__all__ = [
    "Drop",
    "Molecule",
    "Reading",
    "SamplingResult",
    "SamplingSettings",
    "check_output",
    "from_smiles",
    "read_molecules",
    "sample",
    "summarise",
    "write",
]
