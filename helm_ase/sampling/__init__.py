"""Generation of geometries to label: conformers, GFN2-xTB dynamics, normal modes, weakly bound dimers, and
distorted crystals."""

from helm_ase.sampling.campaign import SamplingResult, sample
from helm_ase.sampling.crystals import CrystalSampling, read_crystals, sample_crystals, summarise_crystals
from helm_ase.sampling.molecules import Molecule, Reading, from_smiles, read_molecules
from helm_ase.sampling.output import check_output, summarise, write
from helm_ase.sampling.settings import SamplingSettings
from helm_ase.sampling.task import Drop

__all__ = [
    "CrystalSampling",
    "Drop",
    "Molecule",
    "Reading",
    "SamplingResult",
    "SamplingSettings",
    "check_output",
    "from_smiles",
    "read_crystals",
    "read_molecules",
    "sample",
    "sample_crystals",
    "summarise",
    "summarise_crystals",
    "write",
]
