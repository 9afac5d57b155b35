"""What a file says about the state of a molecule, besides its atoms."""

from typing import NamedTuple


class Stated(NamedTuple):
    """Charge and multiplicity; None: the file says nothing."""

    charge: int | None = None
    multiplicity: int | None = None


NOTHING = Stated()
