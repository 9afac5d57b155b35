"""HELM, a neural network for energies, forces and Kohn–Sham Hamiltonians, as an ASE calculator.

>>> from ase.build import molecule
>>> from helm_ase import HELMCalculator
>>> atoms = molecule("CH3CH2OH")
>>> atoms.calc = HELMCalculator()

Public names are loaded on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helm_ase.calculator.committee import HELMCommittee
    from helm_ase.calculator.helm import HELMCalculator
    from helm_ase.checkpoint import list_models, load_model
    from helm_ase.electronic import ElectronicStructure
    from helm_ase.errors import HelmError
    from helm_ase.prediction.domain import ExtrapolationWarning
    from helm_ase.prediction.many import predict_many
    from helm_ase.representation import AOBasis, AOMatrix
    from helm_ase.representation.graph import AtomicGraph

_HOME = {
    "HELMCalculator": "helm_ase.calculator.helm",
    "HELMCommittee": "helm_ase.calculator.committee",
    "ExtrapolationWarning": "helm_ase.prediction.domain",
    "predict_many": "helm_ase.prediction.many",
    "load_model": "helm_ase.checkpoint",
    "list_models": "helm_ase.checkpoint",
    "ElectronicStructure": "helm_ase.electronic",
    "HelmError": "helm_ase.errors",
    "AOBasis": "helm_ase.representation",
    "AOMatrix": "helm_ase.representation",
    "AtomicGraph": "helm_ase.representation.graph",
}

__all__ = [
    "AOBasis",
    "AOMatrix",
    "AtomicGraph",
    "ElectronicStructure",
    "ExtrapolationWarning",
    "HELMCalculator",
    "HELMCommittee",
    "HelmError",
    "list_models",
    "load_model",
    "predict_many",
]

try:
    __version__ = version("helm-ase")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'helm_ase' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
