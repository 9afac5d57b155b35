"""Exceptions of the package.

Each is also the type an ASE user expects to catch (``InputError``, ``CalculationFailed``) and, where
a plain Python type is customary, that type too.
"""

from ase.calculators.calculator import (
    CalculationFailed,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
)


class HelmError(Exception):
    """Base class of every error raised on purpose by helm_ase."""


class StructureError(HelmError, InputError, ValueError):
    """A geometry that no model can take: empty, periodic, not finite, coincident atoms."""


class ElementError(HelmError, InputError, ValueError):
    """An element that the model was not trained on or that the basis lacks."""


class ChargeError(HelmError, InputError, ValueError):
    """A charge or multiplicity that is contradictory, impossible, or unknown to the model."""


class SettingError(HelmError, InputError, ValueError):
    """An unknown keyword or a value outside what is allowed."""


class BasisError(HelmError, ValueError):
    """An AO basis, AO order or matrix shape that does not fit."""


class CheckpointError(HelmError, CalculatorSetupError, RuntimeError):
    """A checkpoint that is unknown, corrupt, incompatible or cannot be fetched."""


class UntrainedError(HelmError, PropertyNotImplementedError):
    """A quantity that the model was never trained to predict."""


class DatasetError(HelmError, ValueError):
    """A file of labels that cannot be read; the message names file and entry."""


class PredictionError(HelmError, CalculationFailed):
    """The network or the eigenvalue solver returned something that is not a finite number."""


class ExtrapolationError(HelmError, CalculationFailed):
    """A molecule that has left what the model knows: a bond is broken, or the error bar out of bounds."""


class SCFError(HelmError, CalculationFailed):
    """A PySCF calculation that did not converge."""
