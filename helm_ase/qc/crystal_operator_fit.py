"""Operators of atoms in crystals from Hamiltonians, by linear least squares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.qc.crystal_baseline import projector_matrix, zero_of_energy
from helm_ase.qc.crystal_integrals import Array, CrystalIntegrals
from helm_ase.qc.crystal_pseudopotential import pseudopotential
from helm_ase.representation import AOBasis
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix

SMALLEST_EXPONENT, RATIO = 0.15, 2.3
"""Exponents of the clouds: 0.15 a0⁻² times powers of 2.3, until twice that of the core is passed."""
RIDGE = 1e-8
"""Relative ridge parameter, which keeps the parameters of overlapping Gaussians small."""
Term = tuple[int, str, int, int, int]
"""Element, kind of term, and three indices."""


def cloud_exponents(core: float) -> Array:
    """Exponents of the clouds around a core of some exponent, a0⁻², (k,)."""
    count = 2 + int(np.log(2 * min(core, 500.0) / SMALLEST_EXPONENT) / np.log(RATIO))
    return np.asarray(SMALLEST_EXPONENT * RATIO ** np.arange(count))


class CrystalOperatorFit:
    """Normal equations of all crystals seen so far: every element of H(T) of a crystal counts the same, and
    crystals by their matrices per atom."""

    def __init__(self) -> None:
        self.terms: dict[Term, int] = {}
        self.cores: dict[int, tuple[float, float]] = {}
        self.shells: dict[int, list[int]] = {}
        self.gram = np.zeros((0, 0))
        self.moment = np.zeros(0)

    def add(self, content: Any, lattice: Lattice, basis: AOBasis, hamiltonian: RealSpaceMatrix) -> None:
        """Add one crystal to the fit.

        Parameters
        ----------
        content
            The atoms of a cell as a PySCF ``Mole``.
        lattice, basis
            Lattice and basis of the crystal.
        hamiltonian
            H(T), Hartree, in any AO order.
        """
        parts = CrystalIntegrals(content, lattice, basis)
        fixed, columns = self._columns(parts)
        h = hamiltonian.reorder("pyscf")
        target = np.stack([h.at(t) for t in parts.half]) - fixed
        for term in columns:
            self.terms.setdefault(term, len(self.terms))
        new = len(self.terms) - len(self.moment)
        self.gram, self.moment = np.pad(self.gram, (0, new)), np.pad(self.moment, (0, new))
        places = np.array([self.terms[term] for term in columns])
        weight = np.where(parts.half.any(1), 2.0, 1.0)[:, None, None] / len(parts.numbers)
        matrix = np.stack([(weight**0.5 * c).ravel() for c in columns.values()])
        self.gram[np.ix_(places, places)] += matrix @ matrix.T
        self.moment[places] += matrix @ (weight**0.5 * target).ravel()

    def _columns(self, parts: CrystalIntegrals) -> tuple[Array, dict[Term, Array]]:
        """What is fixed, and the derivative of H0 with respect to every free parameter, (n, A, A) each."""
        fixed = parts.kinetic + pseudopotential(parts)
        columns: dict[Term, Array] = {}
        for z in np.unique(parts.numbers).tolist():
            charge, core = self.cores.setdefault(z, parts.nucleus(z))
            clouds = parts.fields(z, np.array([*cloud_exponents(core), core]))
            fixed += charge * (clouds[0] - clouds[-1])  # the others move electrons away from the first
            columns |= {(z, "cloud", k, 0, 0): c - clouds[0] for k, c in enumerate(clouds[:-1]) if k}
            columns |= self._projectors(parts, z)
            share, density = zero_of_energy(parts, z)
            columns[z, "shift", 0, 0, 0] = share * parts.half_overlap
            if density:
                columns[z, "moment", 0, 0, 0] = density * parts.half_overlap
        return fixed, columns

    def _projectors(self, parts: CrystalIntegrals, z: int) -> dict[Term, Array]:
        degrees = parts.basis.shells_of(z)
        sizes = self.shells.setdefault(z, [degrees.count(l) for l in range(max(degrees) + 1)])
        projectors: dict[Term, Array] = {}
        for l, n in enumerate(sizes):
            for i in range(n):
                for j in range(i, n):
                    unit = [np.zeros((m, m)) for m in sizes]
                    unit[l][i, j] = unit[l][j, i] = 1.0
                    projectors[z, "projector", l, i, j] = parts.projection(projector_matrix(parts, z, unit))
        return projectors

    def solve(self) -> tuple[AtomicOperator, ...]:
        """Operators of all elements seen.

        Raises
        ------
        DatasetError
            If no crystal was seen.
        """
        if not self.terms:
            raise DatasetError("no crystal to fit the operators of the baseline to")
        scale = np.sqrt(self.gram.diagonal()).clip(min=1e-12)
        matrix = self.gram / np.outer(scale, scale) + RIDGE * np.eye(len(scale))
        solution = np.linalg.solve(matrix, self.moment / scale) / scale
        return tuple(self._operator(z, solution) for z in sorted(self.cores))

    def _operator(self, z: int, values: NDArray[np.float64]) -> AtomicOperator:
        charge, core = self.cores[z]
        exponents = cloud_exponents(core)
        moved = [float(values[self.terms[z, "cloud", k, 0, 0]]) for k in range(1, len(exponents))]
        matrices = []
        for l, n in enumerate(self.shells[z]):
            matrix = [[float(values[self.terms[z, "projector", l, min(i, j), max(i, j)]]) for j in range(n)]
                      for i in range(n)]  # fmt: skip
            matrices.append(tuple(map(tuple, matrix)))
        moment = self.terms.get((z, "moment", 0, 0, 0))
        return AtomicOperator(
            z, tuple(exponents.tolist()), (charge - sum(moved), *moved), tuple(matrices),
            level_shift=float(values[self.terms[z, "shift", 0, 0, 0]]),
            potential_moment=0.0 if moment is None else float(values[moment]),
        )  # fmt: skip
