"""Operators of atoms from Hamiltonians of molecules, by linear least squares."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.qc.atomic_operators import bare_hamiltonian, functions_by_degree, screening
from helm_ase.qc.molecule import atomic_numbers
from helm_ase.representation.atomic_operator import AtomicOperator

SMALLEST_EXPONENT, RATIO, STEEPEST = 0.1, 2.3, 10.0
"""Exponents of the screening: 0.1 a0⁻² times powers of 2.3, until 10 Z² is reached."""
RIDGE = 1e-9
"""Relative; keeps the parameters of overlapping Gaussians below 100."""
Term = tuple[int, int, int, int]
"""Element, degree (−1: screening), and two indices."""


def exponents_of(number: int) -> NDArray[np.float64]:
    """Exponents of the screening of one element, a0⁻²."""
    count = 1 + int(np.ceil(np.log(STEEPEST * number**2 / SMALLEST_EXPONENT) / np.log(RATIO)))
    return np.asarray(SMALLEST_EXPONENT * RATIO ** np.arange(count))


class OperatorFit:
    """Normal equations of all molecules seen so far; every matrix element counts the same."""

    def __init__(self) -> None:
        self.terms: dict[Term, int] = {}
        self.shells: dict[int, list[int]] = {}
        self.charges: dict[int, float] = {}
        self.gram = np.zeros((0, 0))
        self.moment = np.zeros(0)

    def add(self, mole: Any, hamiltonian: NDArray[np.float64]) -> None:
        """Take in one molecule, a PySCF ``Mole``, and its H in Hartree and PySCF's AO order, (A, A)."""
        fixed, columns = self._columns(mole)
        for term in columns:
            self.terms.setdefault(term, len(self.terms))
        size = len(self.terms)
        new = size - len(self.moment)
        self.gram, self.moment = np.pad(self.gram, (0, new)), np.pad(self.moment, (0, new))
        places = np.array([self.terms[term] for term in columns])
        matrix = np.stack(list(columns.values()))
        self.gram[np.ix_(places, places)] += matrix @ matrix.T
        self.moment[places] += matrix @ (_packed(hamiltonian) - fixed)

    def _columns(self, mole: Any) -> tuple[NDArray[np.float64], dict[Term, NDArray[np.float64]]]:
        """What is fixed, and the derivative of H0 with respect to every free parameter, packed."""
        fixed, s = _packed(bare_hamiltonian(mole)), mole.intor_symmetric("int1e_ovlp")
        columns: dict[Term, NDArray[np.float64]] = {}
        numbers = atomic_numbers(mole)
        for z in np.unique(numbers).tolist():
            atoms = np.flatnonzero(numbers == z)
            functions = functions_by_degree(mole, atoms)
            self.shells[z] = [f.shape[1] for f in functions]
            self.charges[z] = float(mole.atom_charge(atoms[0]))
            clouds = [_packed(screening(mole, atoms, [e], [1.0])) for e in exponents_of(z)]
            fixed = fixed + self.charges[z] * clouds[0]  # the others move electrons away from the first
            columns |= {(z, -1, k, 0): cloud - clouds[0] for k, cloud in enumerate(clouds) if k}
            for l, index in enumerate(functions):
                for i, j in _pairs(index.shape[1]):
                    one, other = (s[:, index[:, k]].reshape(len(s), -1) for k in (i, j))
                    product = one @ other.T
                    columns[z, l, i, j] = _packed(product if i == j else product + product.T)
        return fixed, columns

    def solve(self) -> tuple[AtomicOperator, ...]:
        """Operators of all elements seen.

        Raises
        ------
        DatasetError
            If no molecule was seen.
        """
        if not self.terms:
            raise DatasetError("no Hamiltonian to fit the operators of the baseline to")
        scale = np.sqrt(self.gram.diagonal())
        matrix = self.gram / np.outer(scale, scale) + RIDGE * np.eye(len(scale))
        values = np.linalg.solve(matrix, self.moment / scale) / scale
        return tuple(self._operator(z, values) for z in sorted(self.shells))

    def _operator(self, z: int, values: NDArray[np.float64]) -> AtomicOperator:
        exponents = exponents_of(z)
        moved = [float(values[self.terms[z, -1, k, 0]]) for k in range(1, len(exponents))]
        projectors = []
        for l, n in enumerate(self.shells[z]):
            matrix = np.zeros((n, n))
            for i, j in _pairs(n):
                matrix[i, j] = matrix[j, i] = values[self.terms[z, l, i, j]]
            projectors.append(tuple(tuple(row) for row in matrix.tolist()))
        electrons = [self.charges[z] - sum(moved), *moved]
        return AtomicOperator(z, tuple(exponents.tolist()), tuple(electrons), tuple(projectors))


def _packed(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangle with products between vectors as between the matrices, (A (A + 1) / 2,)."""
    rows, columns = np.tril_indices(len(symmetric))
    return np.asarray(symmetric[rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0)))


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(n) for j in range(i, n))
