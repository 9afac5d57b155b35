"""S(T) and T(T) of a crystal: integrals between the functions of cell 0 and those of cell T.

PySCF's ``pbc_intor`` has summed over T already; here each translation is an ordinary two-centre integral
between a molecule, the cell's content, and its shifted copy.
"""

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pyscf import gto

from helm_ase.errors import SettingError
from helm_ase.qc.molecule import atomic_numbers
from helm_ase.representation import AOBasis
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.units import BOHR_IN_ANGSTROM

Operator = Literal["overlap", "kinetic"]

INTEGRAL = {"overlap": "int1e_ovlp", "kinetic": "int1e_kin"}

NEGLIGIBLE = 1e-10
"""Translations without a larger element (Hartree for the kinetic energy) are left out."""


def lattice_of(cell: Any) -> Lattice:
    """Lattice of a PySCF ``Cell``; ``dimension`` 1, 2, 3 means the first so many lattice vectors."""
    return Lattice(np.asarray(cell.lattice_vectors()) * BOHR_IN_ANGSTROM, np.arange(3) < cell.dimension)


def lattice_integrals(
    cell: Any,
    basis: AOBasis,
    operator: Operator = "overlap",
    negligible: float = NEGLIGIBLE,
    lattice: Lattice | None = None,
) -> RealSpaceMatrix:
    """⟨0 μ| O |T ν⟩ of all translations that matter, canonical AO order.

    Parameters
    ----------
    cell
        PySCF ``Cell``, built, real spherical functions; with ``lattice`` a ``Mole`` will do.
    basis
        Its shells: :func:`helm_ase.qc.molecule.basis_of` of ``cell.to_mol()``.
    operator
        ``overlap``, or ``kinetic`` (−½∇², Hartree).
    negligible
        Largest element of a translation that is left out.
    lattice
        None: that of the ``Cell``.

    Raises
    ------
    SettingError
        If there is no such operator, or ``negligible`` is not between 0 and 1.
    """
    if operator not in get_args(Operator):
        raise SettingError(f"{operator!r} is not an operator; there are {', '.join(get_args(Operator))}")
    if not 0 < negligible < 1:
        raise SettingError(f"negligible is {negligible}; a number between 0 and 1 is needed")
    if lattice is None:
        home, lattice = cell.to_mol(), lattice_of(cell)
    else:
        home = cell.to_mol() if hasattr(cell, "lattice_vectors") else cell
    positions = home.atom_coords() * BOHR_IN_ANGSTROM
    translations = lattice.translations(reach(home, negligible), positions)
    half = translations[len(translations) // 2 :]  # zero stands in the middle, −T on the other side
    blocks = np.stack([_shifted_integral(home, INTEGRAL[operator], v) for v in lattice.vectors(half)])
    kept = np.abs(blocks).max((1, 2)) > negligible
    kept[0] = True
    numbers = atomic_numbers(home)
    matrix = RealSpaceMatrix.completed(half[kept], blocks[kept], numbers, basis, "pyscf")
    return matrix.reorder("e3nn")


def reach(mole: Any, negligible: float) -> float:
    """Distance in Å beyond which no two functions have an integral larger than ``negligible``.

    Two functions of the most diffuse exponent α overlap as exp(−α R² / 2) at a distance R, times a power of
    R and contraction coefficients, which four further orders of magnitude cover.
    """
    smallest = min(float(mole.bas_exp(shell).min()) for shell in range(mole.nbas))
    return math.sqrt(2 * math.log(1e4 / negligible) / smallest) * BOHR_IN_ANGSTROM


def _shifted_integral(home: Any, name: str, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """⟨μ| O |ν shifted⟩, ``vector`` in Å, (A, A), PySCF's AO order."""
    image = home.copy()
    image._env = home._env.copy()
    for axis in range(3):
        image._env[home._atm[:, gto.PTR_COORD] + axis] += vector[axis] / BOHR_IN_ANGSTROM
    return np.asarray(gto.intor_cross(name, home, image))
