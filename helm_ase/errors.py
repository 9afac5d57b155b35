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

LONGEST = 1800
"""Largest number of characters of a message, as text quoted from files can be of any length."""


class HelmError(Exception):
    """Base class of every error raised on purpose by helm_ase.

    Its text is of bounded length and free of control characters, whatever was quoted in it.
    """

    def __str__(self) -> str:
        return plain_text(super().__str__(), LONGEST)


def plain_text(text: str, longest: int | None = None) -> str:
    r"""Text without control characters, which a terminal would obey; line breaks and tabs stay.

    Parameters
    ----------
    text
        Anything.
    longest
        Largest number of characters; of longer texts the first and the last ones are kept.

    Examples
    --------
    >>> plain_text("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if longest is not None and len(text) > longest:
        text = f"{text[: longest // 2]} … {text[-longest // 2 :]}"
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class StructureError(HelmError, InputError, ValueError):
    """A geometry that cannot be computed: empty, of unsupported periodicity, not finite, or with coincident
    atoms."""


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
    """A geometry far outside of the training data: a bond is broken, or the error bar is too large."""


class SCFError(HelmError, CalculationFailed):
    """A PySCF calculation that did not converge."""
