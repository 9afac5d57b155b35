"""Fit of the operators of atoms to Hamiltonians of molecules, by linear least squares."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.qc.atomic_operators import bare_hamiltonian, functions_by_degree, unit_fields
from helm_ase.qc.molecule import atomic_numbers
from helm_ase.representation.atomic_operator import AtomicOperator, Matrix

SMALLEST_EXPONENT, RATIO, STEEPEST = 0.1, 2.3, 10.0
"""Exponents of the screening: 0.1 a0⁻² times powers of 2.3, until 10 Z² is reached."""
RIDGE = 1e-9
"""Relative ridge parameter, which keeps the parameters of overlapping Gaussians below 100."""
CHARGE_CLOUDS = 6
"""Gaussians that respond to the charge of their atom: the widest."""
Term = tuple[bool, int, int, int, int]
"""Whether it is a response to charge, element, degree (−1: screening), and two indices."""


def exponents_of(number: int) -> NDArray[np.float64]:
    """Exponents of the screening of one element, a0⁻²."""
    count = 1 + int(np.ceil(np.log(STEEPEST * number**2 / SMALLEST_EXPONENT) / np.log(RATIO)))
    return np.asarray(SMALLEST_EXPONENT * RATIO ** np.arange(count))


class OperatorFit:
    """Normal equations of all molecules seen so far; every matrix element counts the same.

    Parameters
    ----------
    charged
        Also fit how the operators respond to the charges of their atoms.
    """

    def __init__(self, charged: bool = False) -> None:
        self.charged = charged
        self.terms: dict[Term, int] = {}
        self.shells: dict[int, list[int]] = {}
        self.nuclei: dict[int, float] = {}
        self.gram = np.zeros((0, 0))
        self.moment = np.zeros(0)

    def add(
        self, mole: Any, hamiltonian: NDArray[np.float64], charges: NDArray[np.float64] | None = None
    ) -> None:
        """Add one molecule to the fit.

        Parameters
        ----------
        mole
            PySCF ``Mole``.
        hamiltonian
            Its H in Hartree and PySCF's AO order, (A, A).
        charges
            Charges of its atoms, e, (N,), if the operators are to respond to them.
        """
        fixed, columns = self._columns(mole, charges)
        for term in columns:
            self.terms.setdefault(term, len(self.terms))
        size = len(self.terms)
        new = size - len(self.moment)
        self.gram, self.moment = np.pad(self.gram, (0, new)), np.pad(self.moment, (0, new))
        places = np.array([self.terms[term] for term in columns])
        matrix = np.stack(list(columns.values()))
        self.gram[np.ix_(places, places)] += matrix @ matrix.T
        self.moment[places] += matrix @ (_packed(hamiltonian) - fixed)

    def _columns(
        self, mole: Any, charges: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], dict[Term, NDArray[np.float64]]]:
        """What is fixed, and the derivative of H0 with respect to every free parameter, packed."""
        if self.charged and charges is None:
            raise DatasetError("operators that respond to charges cannot be fitted without charges")
        fixed, s = _packed(bare_hamiltonian(mole)), mole.intor_symmetric("int1e_ovlp")
        columns: dict[Term, NDArray[np.float64]] = {}
        numbers = atomic_numbers(mole)
        for z in np.unique(numbers).tolist():
            atoms = np.flatnonzero(numbers == z)
            functions = functions_by_degree(mole, atoms)
            self.shells[z] = [f.shape[1] for f in functions]
            self.nuclei[z] = float(mole.atom_charge(atoms[0]))
            q = np.zeros(len(atoms)) if charges is None else charges[atoms]
            weights = np.stack([np.ones(len(atoms)), q], axis=1)
            clouds, moved = unit_fields(mole, atoms, exponents_of(z), weights) * _weights_of_triangle(
                mole.nao
            )
            fixed = fixed + self.nuclei[z] * clouds[0]  # the others move electrons away from the first
            columns |= {(False, z, -1, k, 0): cloud - clouds[0] for k, cloud in enumerate(clouds) if k}
            columns |= {(False, z, *k): v for k, v in _projectors(s, functions, np.ones(len(atoms))).items()}
            if self.charged:
                fixed = fixed - moved[0]
                clouds = moved[:CHARGE_CLOUDS]
                columns |= {(True, z, -1, k, 0): cloud - clouds[0] for k, cloud in enumerate(clouds) if k}
                columns |= {(True, z, *k): v for k, v in _projectors(s, functions, q).items()}
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
        scale = np.sqrt(self.gram.diagonal()).clip(min=1e-12)
        matrix = self.gram / np.outer(scale, scale) + RIDGE * np.eye(len(scale))
        values = np.linalg.solve(matrix, self.moment / scale) / scale
        return tuple(self._operator(z, values) for z in sorted(self.shells))

    def _operator(self, z: int, values: NDArray[np.float64]) -> AtomicOperator:
        exponents = exponents_of(z)
        response: dict[str, Any] = {}
        if self.charged:
            response["charge_electrons"] = self._moved(z, values, True, CHARGE_CLOUDS, -1.0)
            response["charge_projectors"] = self._matrices(z, values, True)
        electrons = self._moved(z, values, False, len(exponents), self.nuclei[z])
        matrices = self._matrices(z, values, False)
        return AtomicOperator(z, tuple(exponents.tolist()), electrons, matrices, **response)

    def _moved(
        self, z: int, values: NDArray[np.float64], charged: bool, count: int, total: float
    ) -> tuple[float, ...]:
        """Electrons of every Gaussian; those of the first make up the total."""
        moved = [float(values[self.terms[charged, z, -1, k, 0]]) for k in range(1, count)]
        return (total - sum(moved), *moved)

    def _matrices(self, z: int, values: NDArray[np.float64], charged: bool) -> tuple[Matrix, ...]:
        matrices = []
        for l, n in enumerate(self.shells[z]):
            matrix = np.zeros((n, n))
            for i, j in _pairs(n):
                matrix[i, j] = matrix[j, i] = values[self.terms[charged, z, l, i, j]]
            matrices.append(tuple(tuple(row) for row in matrix.tolist()))
        return tuple(matrices)


def _projectors(
    s: NDArray[np.float64], functions: Sequence[NDArray[np.int64]], weights: NDArray[np.float64]
) -> dict[tuple[int, int, int], NDArray[np.float64]]:
    """(l, i, j) → derivative of Σ weight |χ⟩ P ⟨χ| with respect to P^l_ij, packed."""
    projectors = {}
    for l, index in enumerate(functions):
        for i, j in _pairs(index.shape[1]):
            one, other = (s[:, index[:, k]] for k in (i, j))  # (A, atoms, 2l + 1)
            product = (one * weights[:, None]).reshape(len(s), -1) @ other.reshape(len(s), -1).T
            projectors[l, i, j] = _packed(product if i == j else product + product.T)
    return projectors


def _packed(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangle with products between vectors as between the matrices, (A (A + 1) / 2,)."""
    return np.asarray(symmetric[np.tril_indices(len(symmetric))] * _weights_of_triangle(len(symmetric)))


def _weights_of_triangle(size: int) -> NDArray[np.float64]:
    """1 on the diagonal and √2 below it, (A (A + 1) / 2,)."""
    rows, columns = np.tril_indices(size)
    return np.where(rows == columns, 1.0, np.sqrt(2.0))


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(n) for j in range(i, n))
