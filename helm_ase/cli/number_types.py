"""Types of numerical options: whole or real numbers within a range."""

import argparse
import math
from collections.abc import Callable

LARGEST = 10**12
"""Largest count that is accepted; larger ones are taken for typing errors."""


def whole(least: int = 0, most: int = LARGEST) -> Callable[[str], int]:
    """Type of an option that is a whole number from ``least`` to ``most``."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= value <= most:
            upper = "" if most == LARGEST and value < least else f" and at most {most}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: it must be at least {least}{upper}")
        return value

    return convert


def real(least: float = 0.0, most: float = 1e9, positive: bool = False) -> Callable[[str], float]:
    """Type of an option that is a finite number from ``least`` to ``most``, and above zero if so wanted."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not (math.isfinite(value) and least <= value <= most and (value > 0 or not positive)):
            lower = "above 0" if positive else f"at least {least:g}"
            raise argparse.ArgumentTypeError(
                f"{text} is out of range: it must be {lower} and at most {most:g}"
            )
        return value

    return convert


SEED = whole(0, 2**63 - 1)
CHARGE = whole(-1000, 1000)
MULTIPLICITY = whole(1, 1000)
COUNT = whole(1)
"""At least one."""
NUMBER = whole(0)
"""None at all, or more."""
POSITIVE = real(positive=True)
"""Above zero."""
TEMPERATURE = real(0.0, 1e6)
"""K."""
