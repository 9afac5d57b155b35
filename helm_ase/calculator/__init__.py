"""HELM behind ASE's interface: one model, or several as one calculator; their keywords and getters."""

from helm_ase.calculator.helm import HELMCalculator

__all__ = ["HELMCalculator"]
