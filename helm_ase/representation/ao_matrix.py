"""Matrix of a symmetric operator, together with its basis and AO order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import BasisError
from helm_ase.representation.basis import AOBasis
from helm_ase.representation.ordering import CANONICAL, AOOrder, reordering


@dataclass(frozen=True)
class AOMatrix:
    """A symmetric matrix of one operator (H, S, D …) over the AOs of one molecule."""

    values: NDArray[np.float64]
    """Matrix elements, shape (A, A), in the unit of the operator (Hartree for H)."""
    numbers: NDArray[np.int64]
    """Atomic numbers, shape (N,)."""
    basis: AOBasis
    """Shells of every element."""
    order: AOOrder = CANONICAL
    """Order of the functions inside a shell."""

    def __post_init__(self) -> None:
        size = self.basis.size(self.numbers)
        if self.values.shape != (size, size):
            raise BasisError(
                f"matrix of shape {self.values.shape} does not fit {len(self.numbers)} atoms with "
                f"{size} functions in basis {self.basis.name!r}"
            )

    def reorder(self, order: AOOrder) -> "AOMatrix":
        """Return the same operator with its AOs in another order."""
        if order == self.order:
            return self
        index, sign = reordering(self.basis.degrees(self.numbers), self.order, order)
        values = self.values[np.ix_(index, index)] * np.outer(sign, sign)
        return AOMatrix(values, self.numbers, self.basis, order)

    def block(self, i: int, j: int) -> NDArray[np.float64]:
        """Block of atoms ``i`` and ``j``, shape (AOs on i, AOs on j)."""
        offsets = self.basis.offsets(self.numbers)
        return self.values[offsets[i] : offsets[i + 1], offsets[j] : offsets[j + 1]]

    def blocks(self) -> dict[tuple[int, int], NDArray[np.float64]]:
        """All blocks with i ≤ j; the others are their transposes."""
        n = len(self.numbers)
        return {(i, j): self.block(i, j) for i in range(n) for j in range(i, n)}

    @classmethod
    def from_blocks(
        cls,
        blocks: dict[tuple[int, int], NDArray[np.float64]],
        numbers: NDArray[np.int64],
        basis: AOBasis,
        order: AOOrder = CANONICAL,
    ) -> "AOMatrix":
        """Assemble a matrix from blocks; pairs that are absent stay zero.

        Raises
        ------
        BasisError
            If a block has the wrong shape, or both (i, j) and (j, i) are given.
        """
        offsets = basis.offsets(numbers)
        values = np.zeros((offsets[-1], offsets[-1]))
        for (i, j), block in blocks.items():
            rows, cols = slice(offsets[i], offsets[i + 1]), slice(offsets[j], offsets[j + 1])
            if i != j and (j, i) in blocks:
                raise BasisError(f"blocks ({i}, {j}) and ({j}, {i}) are both given; keep one")
            if block.shape != values[rows, cols].shape:
                raise BasisError(f"block ({i}, {j}) is {block.shape}, not {values[rows, cols].shape}")
            values[rows, cols] = block
            values[cols, rows] = block.T
        return cls(values, np.asarray(numbers, dtype=np.int64), basis, order)
