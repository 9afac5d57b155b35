"""ASE calculators: one for a single model, one for a committee of models; their keywords and methods."""

from helm_ase.calculator.helm import HELMCalculator

__all__ = ["HELMCalculator"]
