"""Contributions to the error of a Hamiltonian by pair of elements and by distance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.representation import AOBasis

BIN_WIDTH = 0.5
"""Width of a bin of distances, Å."""
ON_SITE = -1
"""Index of the distance class of an atom with itself."""

ElementPair = tuple[int, int, bool]
"""Lower and higher atomic number; whether it is one atom with itself."""


@dataclass(frozen=True)
class Tally:
    """Sums over the matrix elements of one class; the elements of both triangles count."""

    elements: int = 0
    absolute: float = 0.0
    """Σ |ΔH|, Hartree."""
    squared: float = 0.0
    """Σ ΔH², Hartree²."""
    share: float = 0.0
    """Σ over molecules of Σ |ΔH| / number of elements of the molecule, Hartree: shares of all classes, over
    the number of molecules, add up to the mean error of H."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.elements + other.elements,
            self.absolute + other.absolute,
            self.squared + other.squared,
            self.share + other.share,
        )

    @property
    def mean(self) -> float:
        """Mean absolute element, Hartree."""
        return self.absolute / self.elements

    @property
    def rms(self) -> float:
        """Root mean square element, Hartree."""
        return float(np.sqrt(self.squared / self.elements))


@dataclass(frozen=True)
class Breakdown:
    """Errors by class of matrix elements."""

    pairs: Mapping[ElementPair, Tally]
    distances: Mapping[int, Tally]
    """Index k of a bin from k to k + 1 times :data:`BIN_WIDTH` → errors; −1: an atom with itself."""
    molecules: int = 1

    @property
    def total(self) -> Tally:
        """Over all elements."""
        return sum(self.pairs.values(), Tally())


def break_down(
    difference: NDArray[np.float64], numbers: NDArray[np.int64], positions: NDArray[np.float64],
    basis: AOBasis,
) -> Breakdown:  # fmt: skip
    """Sort the elements of an error matrix into classes.

    Parameters
    ----------
    difference
        ΔH, Hartree, (s, A, A), atoms in the order of ``numbers``.
    numbers, positions
        Atomic numbers (N,) and positions in Å, (N, 3).
    basis
        Shells of every element.
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    starts = basis.offsets(numbers)[:-1]
    sums = np.stack([_block_sums(np.abs(difference), starts), _block_sums(np.square(difference), starts)])
    functions = np.diff(basis.offsets(numbers))
    count = np.outer(functions, functions) * len(difference)
    low, high = np.minimum.outer(numbers, numbers), np.maximum.outer(numbers, numbers)
    own = np.eye(len(numbers), dtype=bool)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    bins = np.where(own, ON_SITE, (apart / BIN_WIDTH).astype(np.int64))
    codes = (low * len(chemical_symbols) + high) * 2 + own
    pairs = {_element_pair(code): tally for code, tally in _tallies(codes, sums, count).items()}
    return Breakdown(pairs, _tallies(bins, sums, count))


def combine(parts: Iterable[Breakdown]) -> Breakdown:
    """Add up the breakdowns of several molecules."""
    pairs: dict[ElementPair, Tally] = {}
    distances: dict[int, Tally] = {}
    molecules = 0
    for part in parts:
        for pair, tally in part.pairs.items():
            pairs[pair] = pairs.get(pair, Tally()) + tally
        for k, tally in part.distances.items():
            distances[k] = distances.get(k, Tally()) + tally
        molecules += part.molecules
    return Breakdown(dict(sorted(pairs.items())), dict(sorted(distances.items())), molecules)


def pair_name(pair: ElementPair) -> str:
    """``C on-site`` for the blocks of a carbon with itself, ``H-C`` for those of a hydrogen and a carbon."""
    low, high, own = pair
    return f"{chemical_symbols[low]} on-site" if own else f"{chemical_symbols[low]}-{chemical_symbols[high]}"


def bin_name(k: int) -> str:
    """Distances of a bin, Å."""
    return "on-site" if k == ON_SITE else f"{k * BIN_WIDTH:g}-{(k + 1) * BIN_WIDTH:g}"


def _block_sums(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over the block of every pair of atoms and over spins, (N, N)."""
    rows = np.add.reduceat(values.sum(0), starts, axis=0)
    return np.asarray(np.add.reduceat(rows, starts, axis=1))


def _tallies(
    classes: NDArray[np.int64], sums: NDArray[np.float64], count: NDArray[np.int64]
) -> dict[int, Tally]:
    """Tally of every class; ``classes`` and ``count`` (N, N), ``sums`` of |ΔH| and ΔH² (2, N, N)."""
    names, index = np.unique(classes, return_inverse=True)
    index = index.reshape(-1)
    absolute, squared, elements = (
        np.bincount(index, x.reshape(-1), len(names)) for x in (sums[0], sums[1], count)
    )
    whole = count.sum()
    return {
        int(name): Tally(int(n), float(a), float(q), float(a / whole))
        for name, n, a, q in zip(names, elements, absolute, squared, strict=True)
    }


def _element_pair(code: int) -> ElementPair:
    both, own = divmod(code, 2)
    low, high = divmod(both, len(chemical_symbols))
    return low, high, bool(own)
