"""Charge and multiplicity that a structure file states."""

from typing import NamedTuple


class Stated(NamedTuple):
    """Charge and multiplicity; None: the file says nothing."""

    charge: int | None = None
    multiplicity: int | None = None


NOTHING = Stated()
