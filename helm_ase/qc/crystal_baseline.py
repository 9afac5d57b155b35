"""H0(T) of crystals: kinetic energy, neutral shells on all atoms, projectors, and the zero of energy.

A nucleus (or the long-ranged part of its pseudopotential, −Z erf(r / √2 r_loc) / r) and the clouds that
screen it are one neutral charge, whose potential dies like a Gaussian.  So the sum over images converges
absolutely, in any order: no Ewald sum, no term G = 0.  None of the parts alone would converge.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from helm_ase.errors import BasisError, SettingError
from helm_ase.qc.atomic_operators import functions_by_degree
from helm_ase.qc.crystal_integrals import Array, CrystalIntegrals
from helm_ase.qc.crystal_pseudopotential import pseudopotential
from helm_ase.representation import AOBasis
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.units import BOHR_IN_ANGSTROM


def crystal_hamiltonian(
    content: Any, lattice: Lattice, basis: AOBasis, operators: Sequence[AtomicOperator]
) -> tuple[RealSpaceMatrix, RealSpaceMatrix]:
    """H0(T), Hartree, and S(T), both in canonical AO order.

    Raises
    ------
    BasisError
        If an element has no operator of crystals.
    SettingError
        If there are no operators at all.
    """
    if not operators:
        raise SettingError("baseline 'fitted' has no operators yet: training fits them")
    parts = CrystalIntegrals(content, lattice, basis)
    known = {operator.number: operator for operator in operators}
    hamiltonian = parts.kinetic + pseudopotential(parts)
    for z in np.unique(parts.numbers).tolist():
        if z not in known or not known[z].is_of_crystals:
            there = [chemical_symbols[k] for k in sorted(known) if known[k].is_of_crystals]
            raise BasisError(
                f"the baseline holds no operator of {chemical_symbols[z]} in crystals, only of "
                f"{', '.join(there) or 'no element'}"
            )
        hamiltonian += _of_element(parts, known[z])
    return parts.completed(hamiltonian), parts.completed(parts.half_overlap)


def _of_element(parts: CrystalIntegrals, operator: AtomicOperator) -> Array:
    charge, width = parts.nucleus(operator.number)
    exponents = np.array([*operator.exponents, width])
    matrix = parts.fields(operator.number, exponents, np.array([*operator.electrons, -charge]))
    matrix += parts.projection(projector_matrix(parts, operator.number, operator.projectors))
    shift, moment = zero_of_energy(parts, operator.number)
    assert operator.level_shift is not None
    s = parts.half_overlap
    return np.asarray(
        matrix + (operator.level_shift * shift + (operator.potential_moment or 0.0) * moment) * s
    )


def zero_of_energy(parts: CrystalIntegrals, number: int) -> tuple[float, float]:
    """Share of an element among the atoms, and its atoms per volume of bulk (a0⁻³, zero without)."""
    count = float((parts.numbers == number).sum())
    bulk = parts.lattice.dimensions == 3
    volume = parts.lattice.volume / BOHR_IN_ANGSTROM**3
    return count / len(parts.numbers), count / volume if bulk else 0.0


def projector_matrix(parts: CrystalIntegrals, number: int, projectors: Sequence[Any]) -> Array:
    """P over the functions of a cell, (A, A), zero between atoms.

    Raises
    ------
    BasisError
        If the atoms carry other shells than the projectors are for.
    """
    atoms = np.flatnonzero(parts.numbers == number)
    functions = functions_by_degree(parts.content, atoms)
    if [f.shape[1] for f in functions] != [len(p) for p in projectors]:
        raise BasisError(
            f"the projectors of {chemical_symbols[number]} are for other shells than the basis has"
        )
    matrix = np.zeros((parts.content.nao, parts.content.nao))
    for index, values in zip(functions, projectors, strict=True):
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                matrix[index[:, i].ravel(), index[:, j].ravel()] = value
    return matrix
