"""Recognition of the AO order of a file from its overlap matrices."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError, SettingError
from helm_ase.qc.molecule import ao_basis, build_mole, overlap
from helm_ase.representation import AOBasis, AOMatrix, AOOrder
from helm_ase.representation.ordering import shell_order

TOLERANCE = 1e-4
"""Largest |ΔS| that rounded coordinates and other values of constants can cause; a wrong order causes 0.1."""
COMMON_DEGREE = 2
"""Orders that agree up to this degree need not be told apart: no main-group element has more in def2-SVP."""
SAMPLES = 8
"""Number of molecules that are examined, spread over the file."""


def shells(name: str, numbers: NDArray[np.integer]) -> AOBasis:
    """Basis ``name`` for the elements of a molecule.

    Raises
    ------
    DatasetError
        If these are no elements.
    BasisError
        If the basis has none of its own for one of them.
    """
    if len(numbers) == 0 or not 1 <= int(np.min(numbers)) <= int(np.max(numbers)) <= 118:
        raise DatasetError(f"atomic numbers {numbers!s:.60} make no molecule")
    return _shells(name, tuple(sorted(set(map(int, numbers)))))


@lru_cache(maxsize=256)
def _shells(name: str, elements: tuple[int, ...]) -> AOBasis:
    return ao_basis(name, elements)


def to_pyscf(
    matrix: NDArray[np.float64], numbers: NDArray[np.int64], basis: AOBasis, order: AOOrder
) -> NDArray[np.float64]:
    """Return a matrix in PySCF's AO order; (A, A)."""
    return AOMatrix(matrix, numbers, basis, order).reorder("pyscf").values


class OverlapSample(NamedTuple):
    """One molecule of a file with its overlap matrix."""

    numbers: NDArray[np.int64]
    """(N,)"""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    overlap: NDArray[np.float64]
    """In the file's own AO order, (A, A)."""


class KnownOrder(NamedTuple):
    """An AO order, and the degree of shells up to which it is known to be the file's."""

    order: AOOrder
    degree: int


EVERY_DEGREE = 99


class FileOrder:
    """AO order of the matrices of a file, decided once: as given, or as the overlap matrices say.

    Parameters
    ----------
    given
        What the caller says; None: look.
    basis
        Basis as PySCF spells it.
    """

    def __init__(self, given: AOOrder | None, basis: str) -> None:
        self.basis = basis
        self._known = None if given is None else KnownOrder(given, EVERY_DEGREE)

    @property
    def is_decided(self) -> bool:
        """Whether nothing has to be read any more."""
        return self._known is not None

    def of(self, degree: int, count: int, read: Callable[[int], OverlapSample]) -> AOOrder:
        """Order of a molecule with shells up to a degree.

        Parameters
        ----------
        degree
            Largest degree of its shells.
        count
            Molecules of the file.
        read
            Index → molecule; a ``ValueError`` passes it over, for a damaged entry tells when it is asked for.

        Raises
        ------
        DatasetError
            As :func:`matching_order`, or if the order is not known up to that degree.
        """
        if self._known is None:
            self._known = matching_order(_readable(count, read), self.basis)
        if degree > self._known.degree:
            raise DatasetError(
                f"the AO order is known only up to shells of degree {self._known.degree}; pass ao_order="
            )
        return self._known.order


def _readable(count: int, read: Callable[[int], OverlapSample]) -> Iterator[OverlapSample]:
    for index in spread(count):
        try:
            sample = read(index)
        except ValueError:
            continue
        if np.isfinite(sample.positions).all() and np.isfinite(sample.overlap).all():
            yield sample


def matching_order(samples: Iterable[OverlapSample], basis_name: str) -> KnownOrder:
    """Order in which the overlap matrices of a file are written, and the degree up to which that is known.

    One molecule may leave several orders possible (a lone atom leaves all of them), hence several samples.

    Parameters
    ----------
    samples
        Molecules of the file.
    basis_name
        Basis as PySCF spells it.

    Raises
    ------
    DatasetError
        If no order reproduces them, or if they do not decide.
    """
    left: list[AOOrder] = sorted(get_args(AOOrder), key="pyscf".__ne__)
    seen = -1
    for numbers, positions, given in samples:
        basis = shells(basis_name, numbers)
        mole = build_mole(numbers, positions, basis_name, multiplicity=1 + basis.electrons(numbers) % 2)
        exact = overlap(mole, basis)
        off = {order: float(np.abs(exact.reorder(order).values - given).max()) for order in left}
        best = min(off, key=off.__getitem__)
        if not off[best] <= TOLERANCE:
            raise DatasetError(
                f"no known AO order reproduces the overlap matrices over {basis_name}: the best, {best!r}, "
                f"is off by {off[best]:.2g}. Basis, geometry or unit differ; ao_order= reads it nevertheless"
            )
        left = [order for order in left if off[order] <= TOLERANCE]
        seen = max(seen, *basis.degrees(numbers))
        if _agree(left, max(seen, COMMON_DEGREE)):
            return KnownOrder(left[0], max(seen, COMMON_DEGREE))
    if seen < 0 or not _agree(left, seen):
        raise DatasetError(
            f"the overlap matrices looked at leave the AO order open ({', '.join(left)}); pass ao_order="
        )
    return KnownOrder(left[0], seen)


def _agree(orders: list[AOOrder], lmax: int) -> bool:
    return all(shell_order(o, l) == shell_order(orders[0], l) for o in orders for l in range(lmax + 1))


def spread(count: int) -> list[int]:
    """Indices of the molecules to look at, the first one first."""
    return [int(i) for i in np.unique(np.linspace(0, max(count - 1, 0), SAMPLES).astype(int)) if i < count]


def check_order(order: Any) -> None:
    """Refuse what is no AO order.

    Raises
    ------
    SettingError
        If it is unknown.
    """
    if order is not None and order not in get_args(AOOrder):
        raise SettingError(f"unknown ao_order {order!r}; allowed: {', '.join(get_args(AOOrder))}")
