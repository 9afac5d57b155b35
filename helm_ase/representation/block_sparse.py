"""Matrices of large systems without the blocks of atoms that are far apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NEGLIGIBLE = 1e-10
"""Largest element of a block of two atoms, Hartree, that counts as zero: levels move by less than 1e-7 Eh if
all such blocks are left out."""


def block_sparse(
    values: NDArray[np.float64], starts: NDArray[np.int64], negligible: float = NEGLIGIBLE
) -> Any:
    """Sparse matrix (``scipy.sparse.csr_array``) of the blocks that are not zero.

    Parameters
    ----------
    values
        Matrix elements, (A, A).
    starts
        First function of each atom, and A at the end, (N + 1,).
    negligible
        Blocks without an element larger than this are left out; 0: only those that are zero.
    """
    from scipy.sparse import csr_array

    first = np.asarray(starts[:-1])
    largest = np.maximum.reduceat(np.maximum.reduceat(np.abs(values), first, axis=0), first, axis=1)
    atoms = np.repeat(np.arange(len(first)), np.diff(starts))
    near = largest > negligible
    return csr_array(np.where(near[np.ix_(atoms, atoms)], values, 0.0))
