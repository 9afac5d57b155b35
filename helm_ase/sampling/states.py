"""Charge and multiplicity of what is sampled: ground states of atoms, vertical states of molecules."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from ase.data import chemical_symbols, ground_state_magnetic_moments

from helm_ase.errors import ChargeError

Vertical = Literal["cation", "anion", "triplet"]
"""Vertical states: one electron less, one more, or two more unpaired, at an unchanged geometry."""
HIGH_SPIN = 4
"""Multiplicity from which on users are asked whether they mean it."""
MAIN_GROUP = {*range(1, 21), *range(31, 39), *range(49, 57), *range(81, 87)}
"""Elements whose ions have the states of the neutral atoms with as many electrons."""


class State(NamedTuple):
    """Total charge in e and 2S + 1."""

    charge: int
    multiplicity: int


def atomic_multiplicity(number: int, charge: int) -> int:
    """2S + 1 of the ground state of an atom or a monatomic ion of the main groups.

    Raises
    ------
    ChargeError
        If it is another ion, or one without electrons.

    Examples
    --------
    >>> [atomic_multiplicity(z, 0) for z in (5, 6, 7, 8, 14)], atomic_multiplicity(7, 1)
    ([2, 3, 4, 3, 3], 3)
    """
    same = number - charge
    if charge and not (number in MAIN_GROUP and same in MAIN_GROUP):
        raise ChargeError(
            f"the ground state of {chemical_symbols[number]} with charge {charge:+d} is not known here: "
            "write multiplicity=N behind its SMILES"
        )
    moment = ground_state_magnetic_moments[same]
    if moment != moment:
        raise ChargeError(f"the ground state of {chemical_symbols[number]} is not known here")
    return 1 + round(float(moment))


def vertical_states(state: State, kinds: tuple[Vertical, ...]) -> Iterator[tuple[Vertical, State]]:
    """States that follow from one, of those asked for; ions of open shells are the one of lower spin."""
    charge, multiplicity = state
    lower = multiplicity - 1 if multiplicity > 1 else 2
    for kind in kinds:
        if kind == "triplet":
            yield kind, State(charge, multiplicity + 2)
        else:
            yield kind, State(charge + (1 if kind == "cation" else -1), lower)
