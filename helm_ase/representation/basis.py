"""Atomic-orbital basis of a model: which shells each element carries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.errors import BasisError, ElementError


@dataclass(frozen=True)
class AOBasis:
    """The contracted spherical shells of every element, without exponents.

    PySCF computes the integrals; network, matrices and checkpoints need only the number, degrees and sequence
    of the functions on each atom.

    Examples
    --------
    >>> basis = AOBasis("sto-3g", {1: (0,), 8: (0, 0, 1)})
    >>> basis.size([8, 1, 1])
    7
    """

    name: str
    """Name by which PySCF knows the basis, e.g. ``def2-svp``."""
    shells: Mapping[int, tuple[int, ...]]
    """Atomic number → degree l of each contracted shell, in the order of the AOs."""
    core_electrons: Mapping[int, int] = field(default_factory=dict)
    """Atomic number → electrons replaced by an effective core potential (absent: none)."""

    def __post_init__(self) -> None:
        for z, degrees in self.shells.items():
            if not 0 < z < len(chemical_symbols) or not degrees or min(degrees) < 0:
                raise BasisError(f"basis {self.name!r}: element {z} with shells {degrees} makes no sense")

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers covered, ascending."""
        return tuple(sorted(self.shells))

    @property
    def lmax(self) -> int:
        """Largest degree of any shell."""
        return max(max(degrees) for degrees in self.shells.values())

    def shells_of(self, z: int) -> tuple[int, ...]:
        """Degrees of the shells of element ``z``.

        Raises
        ------
        ElementError
            If the basis does not cover the element.
        """
        try:
            return self.shells[int(z)]
        except KeyError:
            known = ", ".join(chemical_symbols[e] for e in self.elements)
            raise ElementError(
                f"basis {self.name!r} has no functions for {chemical_symbols[int(z)]}; it covers {known}"
            ) from None

    def size_of(self, z: int) -> int:
        """Number of AOs on an atom of element ``z``."""
        return sum(2 * l + 1 for l in self.shells_of(z))

    def degrees(self, numbers: Sequence[int] | NDArray[np.integer]) -> list[int]:
        """Degree of every shell of a molecule, in the order of the AOs."""
        return [l for z in numbers for l in self.shells_of(int(z))]

    def size(self, numbers: Sequence[int] | NDArray[np.integer]) -> int:
        """Number A of AOs of a molecule."""
        return sum(self.size_of(int(z)) for z in numbers)

    def offsets(self, numbers: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        """First AO of every atom and, last, the number of AOs; shape (N + 1,)."""
        return np.concatenate([[0], np.cumsum([self.size_of(int(z)) for z in numbers])]).astype(np.int64)

    def atoms_of_functions(self, numbers: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        """Atom on which each AO sits, (A,)."""
        return np.repeat(np.arange(len(numbers)), np.diff(self.offsets(numbers)))

    @cached_property
    def slots(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """Atomic number → one ``(l, k)`` per shell: the k-th shell of degree l on that element.

        Weights of the network's heads are stored per slot, so that the 2p shell of carbon and that of
        oxygen share them while no element is padded to the shells of another.
        """
        return {z: _slots(self.shells[z]) for z in self.elements}

    def restricted_to(self, elements: Sequence[int]) -> "AOBasis":
        """Return the same basis for fewer elements."""
        return AOBasis(
            self.name,
            {int(z): self.shells_of(z) for z in sorted(elements)},
            {int(z): self.core_electrons[z] for z in sorted(elements) if z in self.core_electrons},
        )

    def electrons(self, numbers: Sequence[int] | NDArray[np.integer], charge: int = 0) -> int:
        """Number of electrons treated explicitly."""
        return int(sum(int(z) - self.core_electrons.get(int(z), 0) for z in numbers)) - charge


def _slots(degrees: Sequence[int]) -> tuple[tuple[int, int], ...]:
    seen: dict[int, int] = {}
    slots = []
    for l in degrees:
        slots.append((l, seen.get(l, 0)))
        seen[l] = seen.get(l, 0) + 1
    return tuple(slots)
