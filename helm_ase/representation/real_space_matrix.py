"""One operator of a crystal: its blocks between cell 0 and every cell within reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helm_ase.errors import BasisError
from helm_ase.representation.ao_matrix import AOMatrix
from helm_ase.representation.basis import AOBasis
from helm_ase.representation.lattice import integer_grid
from helm_ase.representation.ordering import CANONICAL, AOOrder, reordering

LARGEST_SKEW = 1e-6
"""H(−T) and H(T)ᵀ may differ by so much, in the operator's unit, and are averaged; more is refused."""


@dataclass(frozen=True)
class RealSpaceMatrix:
    """H_μν(T) = ⟨0 μ| H |T ν⟩ of a real, symmetric operator for integer translations T.

    Translations are sorted as words are, and closed under T → −T: −T stands as far from the end as T from
    the beginning, and H(−T) = H(T)ᵀ to the last bit.  Blocks that are absent are zero.  A molecule has the
    single translation zero.
    """

    translations: NDArray[np.int64]
    """(n_T, 3)."""
    values: NDArray[np.float64]
    """Matrix elements, (n_T, A, A), in the unit of the operator (Hartree for H); not to be written to."""
    numbers: NDArray[np.int64]
    """Atomic numbers of the atoms of a cell, (N,)."""
    basis: AOBasis
    """Shells of every element."""
    order: AOOrder = CANONICAL
    """Order of the functions inside a shell."""

    def __post_init__(self) -> None:
        t, values = np.asarray(self.translations), np.asarray(self.values, dtype=np.float64)
        self._check_shapes(t, values)
        order = np.lexsort(t.T[::-1])
        t, values = np.array(t[order], dtype=np.int64), values[order]
        if (twice := (np.diff(t, axis=0) == 0).all(1)).any():
            raise BasisError(f"translation {t[:-1][twice][0].tolist()} is given twice")
        if not np.array_equal(t, -t[::-1]):
            alone = next(x for x in t.tolist() if (-np.array(x)).tolist() not in t.tolist())
            raise BasisError(
                f"translation {alone} has no counterpart of opposite sign; "
                f"RealSpaceMatrix.completed adds the missing ones as transposes"
            )
        mirrored = values[::-1].transpose(0, 2, 1)
        if (skew := np.abs(values - mirrored).max(initial=0.0)) > LARGEST_SKEW:
            raise BasisError(f"H(−T) and the transpose of H(T) differ by {skew:.2g}: no Hermitian matrix")
        values = 0.5 * (values + mirrored)
        for name, value in (("translations", t), ("values", values)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def _check_shapes(self, t: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        size = self.basis.size(self.numbers)
        if t.ndim != 2 or t.shape[1] != 3 or len(t) == 0 or not np.issubdtype(t.dtype, np.integer):
            raise BasisError(f"translations {t.dtype} {t.shape} are no integers of shape (n_T, 3), n_T > 0")
        if values.shape != (len(t), size, size):
            raise BasisError(
                f"blocks of shape {values.shape} do not fit {len(t)} translations and {len(self.numbers)} "
                f"atoms with {size} functions in basis {self.basis.name!r}"
            )
        if not np.isfinite(values).all():
            raise BasisError("the blocks hold numbers that are not finite")

    # -- other ways to make one ----------------------------------------------------------------------

    @classmethod
    def completed(
        cls,
        translations: ArrayLike,
        values: NDArray[np.float64],
        numbers: NDArray[np.int64],
        basis: AOBasis,
        order: AOOrder = CANONICAL,
    ) -> "RealSpaceMatrix":
        """From any translations, e.g. one half of them: what is missing is added as the transpose.

        Raises
        ------
        BasisError
            If shapes do not fit, or blocks that are given contradict each other.
        """
        t = np.asarray(translations, dtype=np.int64)
        given = {tuple(x) for x in t.tolist()}
        missing = [n for n, x in enumerate(t.tolist()) if tuple(-y for y in x) not in given]
        t = np.concatenate([t, -t[missing]])
        values = np.concatenate([values, values[missing].transpose(0, 2, 1)])
        return cls(t, values, numbers, basis, order)

    @classmethod
    def of_molecule(cls, matrix: AOMatrix) -> "RealSpaceMatrix":
        """The case of a single translation, zero."""
        zero = np.zeros((1, 3), dtype=np.int64)
        return cls(zero, matrix.values[None], matrix.numbers, matrix.basis, matrix.order)

    def molecule(self) -> AOMatrix:
        """The matrix of a molecule.

        Raises
        ------
        BasisError
            If there are other translations than zero.
        """
        if self.translations.any():
            raise BasisError(f"a matrix with {len(self.translations)} translations belongs to no molecule")
        return AOMatrix(self.values[0], self.numbers, self.basis, self.order)

    # -- parts ----------------------------------------------------------------------------------------

    def at(self, translation: Sequence[int]) -> NDArray[np.float64]:
        """H(T), (A, A); zero where T is out of reach."""
        place = np.flatnonzero((self.translations == np.asarray(translation)).all(1))
        return np.asarray(self.values[place[0]]) if len(place) else np.zeros_like(self.values[0])

    def block(self, i: int, j: int, translation: Sequence[int]) -> NDArray[np.float64]:
        """Block of atom ``i`` of cell 0 and atom ``j`` of cell T, shape (AOs on i, AOs on j)."""
        o = self.basis.offsets(self.numbers)
        return np.asarray(self.at(translation)[o[i] : o[i + 1], o[j] : o[j + 1]])

    def pruned(self, threshold: float) -> "RealSpaceMatrix":
        """Without the translations (other than zero) whose elements are all at most ``threshold``."""
        kept = (np.abs(self.values).max((1, 2)) > threshold) | ~self.translations.any(1)
        return self._with(self.translations[kept], self.values[kept])

    def _with(self, translations: NDArray[np.int64], values: NDArray[np.float64]) -> "RealSpaceMatrix":
        return RealSpaceMatrix(translations, values, self.numbers, self.basis, self.order)

    def __add__(self, other: "RealSpaceMatrix") -> "RealSpaceMatrix":
        """Sum of two operators of one crystal, on the translations of either.

        Raises
        ------
        BasisError
            If they have other atoms, another basis or another AO order.
        """
        same = np.array_equal(self.numbers, other.numbers) and self.basis == other.basis
        if not same or self.order != other.order:
            raise BasisError("operators of different atoms, bases or AO orders cannot be added")
        both = np.concatenate([self.translations, other.translations])
        t, place = np.unique(both, axis=0, return_inverse=True)
        values = np.zeros((len(t), *self.values.shape[1:]))
        np.add.at(values, place.reshape(-1), np.concatenate([self.values, other.values]))
        return self._with(t, values)

    # -- the same operator, described otherwise -------------------------------------------------------

    def reorder(self, order: AOOrder) -> "RealSpaceMatrix":
        """Return the same operator with its AOs in another order."""
        if order == self.order:
            return self
        index, sign = reordering(self.basis.degrees(self.numbers), self.order, order)
        values = self.values[:, index][:, :, index] * np.outer(sign, sign)
        return RealSpaceMatrix(self.translations, values, self.numbers, self.basis, order)

    def renumbered(self, permutation: Sequence[int]) -> "RealSpaceMatrix":
        """Atom ``k`` of the result is atom ``permutation[k]`` of this one, as in ``atoms[permutation]``.

        Raises
        ------
        BasisError
            If it is not a permutation of the atoms.
        """
        if sorted(permutation) != list(range(len(self.numbers))):
            raise BasisError(f"{list(permutation)} is not a permutation of {len(self.numbers)} atoms")
        o = self.basis.offsets(self.numbers)
        index = np.concatenate([np.arange(o[i], o[i + 1]) for i in permutation])
        values, numbers = self.values[:, index][:, :, index], self.numbers[list(permutation)]
        return RealSpaceMatrix(self.translations, values, numbers, self.basis, self.order)

    def rewrapped(self, moved: ArrayLike) -> "RealSpaceMatrix":
        """The same crystal with atom i of the cell replaced by its image ``moved[i]`` cells away, (N, 3).

        The block of i and j at T stands at T + moved[i] − moved[j] then.
        """
        n = np.repeat(np.asarray(moved, dtype=np.int64), np.diff(self.basis.offsets(self.numbers)), axis=0)
        target = self.translations[:, None, None] + n[:, None] - n[None, :]  # (n_T, A, A, 3)
        t, slot = np.unique(target.reshape(-1, 3), axis=0, return_inverse=True)
        values = np.zeros((len(t), *self.values.shape[1:]))
        rows, columns = np.indices(self.values.shape[1:])
        values[slot.reshape(self.values.shape), rows, columns] = self.values
        return self._with(t, values)

    def recelled(self, transformation: ArrayLike) -> "RealSpaceMatrix":
        """The same crystal described by the lattice vectors ``transformation @ cell`` of the same volume.

        T becomes T U⁻¹, and k becomes U k.

        Raises
        ------
        BasisError
            If the transformation is not an integer matrix of determinant ±1.
        """
        u = np.asarray(transformation)
        if u.shape != (3, 3) or not np.array_equal(u, np.round(u)) or abs(round(np.linalg.det(u))) != 1:
            raise BasisError(f"{u.tolist()} is not an integer matrix of determinant 1 or −1")
        return self._with(np.round(self.translations @ np.linalg.inv(u)).astype(np.int64), self.values)

    def supercell(self, repeats: Sequence[int]) -> "RealSpaceMatrix":
        """The same crystal described by a larger cell; atoms as in ASE's ``atoms.repeat(repeats)``.

        Raises
        ------
        BasisError
            If a repeat is less than 1.
        """
        n = np.asarray(repeats, dtype=np.int64)
        if n.shape != (3,) or (n < 1).any():
            raise BasisError(f"repeats {tuple(repeats)}: three numbers from 1 upwards are needed")
        cells, size = integer_grid(np.zeros(3), n - 1), self.values.shape[1]
        large: dict[tuple[int, ...], NDArray[np.float64]] = {}
        for c, cell in enumerate(cells):
            for t, block in zip(self.translations, self.values, strict=True):
                outer, inner = np.divmod(cell + t, n)
                d = int(np.ravel_multi_index(tuple(inner), tuple(n)))
                target = large.setdefault(tuple(outer.tolist()), np.zeros((len(cells) * size,) * 2))
                target[c * size : (c + 1) * size, d * size : (d + 1) * size] = block
        numbers = np.tile(self.numbers, len(cells))
        t = np.array(list(large), dtype=np.int64)
        return RealSpaceMatrix(t, np.stack(list(large.values())), numbers, self.basis, self.order)
