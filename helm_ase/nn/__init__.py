"""The network: tensors in, tensors out.  Nothing here knows ASE, PySCF or files."""

from helm_ase.nn.backbone import BackboneSettings
from helm_ase.nn.model import HELM, HELMSettings, Prediction
from helm_ase.nn.output_factor import applied_correction, apply_factor, trust_matrix

__all__ = [
    "HELM",
    "BackboneSettings",
    "HELMSettings",
    "Prediction",
    "applied_correction",
    "apply_factor",
    "trust_matrix",
]
