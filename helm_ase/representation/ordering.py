"""Orders of the 2l + 1 spherical functions inside one shell, as data.

Every program lists the real spherical harmonics of a shell in its own order and with its own signs.
They are written down here once, as lists of ``(m, sign)``; every conversion is derived from them.
The reference functions are the real solid harmonics with polar axis z and positive sign
(m < 0: sin |m|φ, m > 0: cos mφ), which is also what e3nn gives when it is fed (y, z, x).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import BasisError

AOOrder = Literal["e3nn", "pyscf", "orca", "psi4", "gaussian"]
CANONICAL: AOOrder = "e3nn"
"""The order used inside the network and in :class:`~helm_ase.representation.AOMatrix`: m = −l … l."""


def _ascending(l: int) -> list[tuple[int, int]]:
    return [(m, 1) for m in range(-l, l + 1)]


def _zero_first(l: int) -> list[tuple[int, int]]:
    return [(0, 1)] + [(sign * m, 1) for m in range(1, l + 1) for sign in (1, -1)]


_P_CARTESIAN = [(1, 1), (-1, 1), (0, 1)]  # p as x, y, z


def shell_order(order: AOOrder, l: int) -> list[tuple[int, int]]:
    """List ``(m, sign)`` of the functions of a shell of degree ``l`` as ``order`` stores them.

    Raises
    ------
    BasisError
        If the order is unknown.
    """
    match order:
        case "e3nn":
            return _ascending(l)
        case "pyscf":
            return _P_CARTESIAN if l == 1 else _ascending(l)
        case "psi4":
            return _zero_first(l)
        case "gaussian":
            return _P_CARTESIAN if l == 1 else _zero_first(l)
        case "orca":  # functions with |m| = 3 and 4 carry the opposite sign
            return [(m, -1 if abs(m) in (3, 4) else 1) for m, _ in _zero_first(l)]
    raise BasisError(f"unknown AO order {order!r}; known orders are {', '.join(get_args(AOOrder))}")


def reordering(
    degrees: Sequence[int], source: AOOrder, target: AOOrder
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index and sign map from one AO order to another.

    Parameters
    ----------
    degrees
        Degree l of every shell, in the sequence in which the AOs are listed.
    source, target
        AO orders.

    Returns
    -------
    index, sign
        Each of shape (A,): ``x_target = sign * x_source[index]`` for anything indexed by AOs.
    """
    index: list[int] = []
    sign: list[int] = []
    offset = 0
    for l in degrees:
        position = {m: (k, s) for k, (m, s) in enumerate(shell_order(source, l))}
        for m, s_target in shell_order(target, l):
            k, s_source = position[m]
            index.append(offset + k)
            sign.append(s_source * s_target)
        offset += 2 * l + 1
    return np.asarray(index, dtype=np.int64), np.asarray(sign, dtype=np.float64)
