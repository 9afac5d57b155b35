"""Data types used by the whole package: structures, bases, AO orders, matrices and graphs."""

from helm_ase.representation.ao_matrix import AOMatrix
from helm_ase.representation.basis import AOBasis
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.ordering import CANONICAL, AOOrder, reordering

__all__ = [
    "CANONICAL",
    "AOBasis",
    "AOMatrix",
    "AOOrder",
    "LabelledMolecule",
    "LevelOfTheory",
    "reordering",
]
