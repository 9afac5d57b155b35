"""Contribution of one atom to the one-electron Hamiltonian of a molecule."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from helm_ase.errors import SettingError

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class AtomicOperator:
    """Fitted operator of one element: a potential that screens the nucleus, and projectors on the atom's
    functions.

    It replaces the Coulomb, exchange and correlation potentials of an atom of charge q in a molecule:

        V = Σ_k (n_k + q c_k) ∫ g_k(r') / |r − r'| dr' + Σ_l Σ_ij Σ_m |χ_ilm⟩ (P^l_ij + q Q^l_ij) ⟨χ_jlm|

    with normalised s Gaussians g_k, and χ the atom's functions in the basis of the level of theory.  An
    operator without c and Q takes every atom as neutral.

    Raises
    ------
    SettingError
        If numbers are not finite, exponents not positive, or shapes do not fit.
    """

    number: int
    """Atomic number of the element."""
    exponents: tuple[float, ...]
    """Exponents of the Gaussians g_k, a0⁻²."""
    electrons: tuple[float, ...]
    """Numbers of electrons n_k; fitted ones sum to the charge of the nucleus (of the core where there is an
    ECP)."""
    projectors: tuple[Matrix, ...]
    """Projectors P^l for l = 0, 1, …, Hartree: symmetric, one row for each contracted shell of degree l."""
    charge_electrons: tuple[float, ...] = ()
    """Response c_k of the electrons of the first exponents to a charge; fitted ones sum to −1, so that a
    charge has its potential at a distance."""
    charge_projectors: tuple[Matrix, ...] = ()
    """Response Q^l of the projectors to a charge for l = 0, 1, …, Hartree, of the shape of ``projectors``."""
    exchange: float | None = None
    """Strength u of the exchange splitting between α and β electrons in an open shell, Hartree; None for an
    operator that knows none.  See :mod:`helm_ase.qc.exchange_splitting`."""
    level_shift: float | None = None
    """Shift of the energy scale in crystals, Hartree times S, as the element's share of the atoms; None for
    an operator of molecules."""
    potential_moment: float | None = None
    """Contribution of every atom to the mean potential of bulk crystals, Hartree·a0³ times S over the
    volume of the cell: the mean potential of superposed neutral atoms, which the zero of energy of bulk
    leaves out."""

    def __post_init__(self) -> None:
        """Lists, which is what JSON knows, become tuples of plain numbers."""
        object.__setattr__(self, "number", int(self.number))
        for name in ("exponents", "electrons", "charge_electrons"):
            object.__setattr__(self, name, _numbers(getattr(self, name)))
        for name in ("projectors", "charge_projectors"):
            matrices = tuple(tuple(_numbers(row) for row in matrix) for matrix in getattr(self, name))
            object.__setattr__(self, name, matrices)
        shifts = [x for x in (self.level_shift, self.potential_moment, self.exchange) if x is not None]
        _numbers(shifts)
        fits = len(self.exponents) == len(self.electrons) >= len(self.charge_electrons)
        fits = fits and all(map(_is_symmetric, self.projectors + self.charge_projectors))
        if not fits or min(self.exponents, default=1.0) <= 0 or not 1 <= self.number <= 118:
            raise SettingError(
                f"the operator of element {self.number} needs as many positive exponents "
                f"({self.exponents}) as electrons ({self.electrons}), and symmetric projectors"
            )
        sizes = [list(map(len, matrices)) for matrices in (self.projectors, self.charge_projectors)]
        if self.responds_to_charge and sizes[0] != sizes[1]:
            raise SettingError(
                f"the operator of element {self.number} has projectors of {sizes[0]} shells, but its "
                f"response to charge has them of {sizes[1]}"
            )

    @property
    def responds_to_charge(self) -> bool:
        """Whether the operator depends on the charge of the atom."""
        return bool(self.charge_electrons)

    def to_json(self) -> dict[str, Any]:
        """The fields that are not empty, as a dictionary for JSON, from which the operator can be constructed
        again."""
        return {k: v for k, v in asdict(self).items() if v not in ((), None)}

    @property
    def is_of_crystals(self) -> bool:
        """Whether it holds the terms of crystals."""
        return self.level_shift is not None


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(map(float, values))
    if not all(map(math.isfinite, numbers)):
        raise SettingError(f"an atomic operator holds numbers that are not finite: {numbers}")
    return numbers


def _is_symmetric(matrix: Matrix) -> bool:
    n = len(matrix)
    return all(len(row) == n for row in matrix) and all(
        matrix[i][j] == matrix[j][i] for i in range(n) for j in range(i)
    )
