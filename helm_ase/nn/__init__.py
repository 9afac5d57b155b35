"""The network: tensors in, tensors out.  Nothing here knows ASE, PySCF or files."""

from helm_ase.nn.assembly import trust_correction, trust_matrix
from helm_ase.nn.backbone import BackboneSettings
from helm_ase.nn.model import HELM, HELMSettings, Prediction

__all__ = [
    "HELM",
    "BackboneSettings",
    "HELMSettings",
    "Prediction",
    "trust_correction",
    "trust_matrix",
]
