"""Charge and multiplicity of an ``Atoms`` object, for which ASE has no rule.

In order of precedence: ``atoms.info`` (``charge``; ``multiplicity`` or one of its aliases), the calculator's
keywords, the sums of initial charges and magnetic moments, neutral singlet.  Reading writes nothing to
``atoms``, and a value found in ``atoms.info`` does not outlive the call.
"""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from helm_ase.errors import ChargeError

CHARGE_KEYS = ("charge", "total_charge")
"""Keys of ``atoms.info`` that mean the charge."""
MULTIPLICITY_KEYS = ("multiplicity", "spin", "spin_multiplicity", "mult", "total_spin")
"""Keys of ``atoms.info`` that mean 2S + 1 (``spin`` and ``total_spin`` are so used by OMol25 models)."""


class ChargeState(NamedTuple):
    """Total charge in e and 2S + 1."""

    charge: int
    multiplicity: int


def charge_state(atoms: Atoms, charge: int | None = None, multiplicity: int | None = None) -> ChargeState:
    """Charge and multiplicity of ``atoms``; the keywords are the calculator's, None if not given.

    Keywords take precedence over the initial charges and moments.

    Raises
    ------
    ChargeError
        If a value is not an integer, aliases contradict each other, or sums are not whole numbers.
    """
    found_charge = _info_value(atoms.info, CHARGE_KEYS)
    found_multiplicity = _info_value(atoms.info, MULTIPLICITY_KEYS)
    if found_charge is None:
        found_charge = charge
        if charge is None:
            found_charge = _whole(atoms.get_initial_charges().sum(), "initial charges")
    if found_multiplicity is None:
        found_multiplicity = multiplicity
        if multiplicity is None:
            moments = np.asarray(atoms.get_initial_magnetic_moments(), dtype=float)
            if moments.ndim != 1:
                raise ChargeError("non-collinear initial magnetic moments are not supported")
            found_multiplicity = 1 + abs(_whole(moments.sum(), "initial magnetic moments"))
    assert found_charge is not None and found_multiplicity is not None  # noqa: PT018
    if found_multiplicity < 1:
        raise ChargeError(f"multiplicity {found_multiplicity} is not possible: it is 2S + 1, at least 1")
    return ChargeState(found_charge, found_multiplicity)


def give_state(atoms: Atoms, charge: int | None = None, multiplicity: int | None = None) -> None:
    """Set charge and multiplicity in ``atoms.info``, replacing existing values; None leaves them
    unchanged."""
    for value, keys in ((charge, CHARGE_KEYS), (multiplicity, MULTIPLICITY_KEYS)):
        if value is not None:
            for key in keys:
                atoms.info.pop(key, None)
            atoms.info[keys[0]] = value


def check_parity(electrons: int, state: ChargeState) -> None:
    """Refuse impossible combinations of electron count and multiplicity.

    Raises
    ------
    ChargeError
        If the parity is wrong or there are fewer electrons than unpaired spins.
    """
    unpaired = state.multiplicity - 1
    if electrons < unpaired or (electrons - unpaired) % 2:
        parity = "odd" if electrons % 2 else "even"
        raise ChargeError(
            f"{electrons} electrons (charge {state.charge}) cannot have multiplicity {state.multiplicity}; "
            f"an {parity} number needs an {'even' if electrons % 2 else 'odd'} multiplicity: "
            f"set charge= and multiplicity= (--charge and --multiplicity on the command line), or "
            "atoms.info['charge'] and atoms.info['multiplicity']"
        )


def _info_value(info: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    values = {key: info[key] for key in keys if info.get(key) is not None}
    for key, value in values.items():
        if not is_whole(value):
            raise ChargeError(f"atoms.info[{key!r}] is {value!r}; it must be an integer")
    distinct = {int(value) for value in values.values()}
    if len(distinct) > 1:
        raise ChargeError(f"atoms.info contradicts itself: {values}; keep one of them")
    return distinct.pop() if distinct else None


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; strings, truth values and the like are not."""
    if isinstance(value, bool | np.bool_):
        return False
    return isinstance(value, Integral) or (
        isinstance(value, float | np.floating) and float(value).is_integer()
    )


def _whole(value: float, what: str) -> int:
    if not np.isfinite(value) or abs(value - round(value)) > 0.05:  # partial charges in files are rounded
        raise ChargeError(
            f"the {what} sum to {value:.4f}, which is not a whole number: set atoms.info instead"
        )
    return round(value)
