"""Orbitals as other programs write them → Kohn–Sham matrices over PySCF's AOs of a named basis.

A file lists its shells (exponents and contraction coefficients), its orbitals and their energies.  On each
atom the functions of the file are expanded exactly in those of PySCF's basis, by one-centre overlaps.
That undoes in one step the sequence of the shells, combined SP shells, signs of contractions and
segmentations that leave the space unchanged, and shows whether the named basis is the one of the file at
all.  Then H = S C ε Cᵀ S, with PySCF's S: orbitals that are not orthonormal under it betray a wrong order,
sign, unit or basis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import gto

from helm_ase.errors import BasisError
from helm_ase.qc.molecule import build_mole, is_basis_name
from helm_ase.representation.ordering import AOOrder, reordering, shell_order

COMMON_BASES = (
    "sto-3g", "def2-svp", "def2-tzvp", "def2-svpd", "def2-tzvpd", "def2-tzvpp", "def2-tzvppd", "def2-qzvp",
    "3-21g", "6-31g", "6-31g*", "6-31g**", "6-31+g*", "6-31+g**", "6-31++g**", "6-311g", "6-311g*",
    "6-311g**", "6-311+g*", "6-311+g**", "6-311++g**", "cc-pvdz", "cc-pvtz", "cc-pvqz", "aug-cc-pvdz",
    "aug-cc-pvtz", "ma-def2-svp", "ma-def2-tzvp", "pcseg-1", "pcseg-2",
)  # fmt: skip
"""Bases tried where a file does not name its own."""
SPAN_TOLERANCE = 1e-6
"""Largest norm² of a function of the file outside the space of the named basis: printed digits, not more."""
SNAP_TOLERANCE = 1e-4
"""Expansions this near to ±1 are taken as the same function, so that printed digits do not mix shells."""


@dataclass(frozen=True)
class Shell:
    """One contracted spherical shell of a file."""

    atom: int
    """Index of its atom."""
    degree: int
    exponents: NDArray[np.float64]
    """1/a0², (P,)."""
    coefficients: NDArray[np.float64]
    """Contraction coefficients of the primitives, (P,); a common factor does not matter."""


@dataclass(frozen=True)
class OrbitalSet:
    """A complete set of orbitals in the words of another program."""

    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    shells: tuple[Shell, ...]
    """In the sequence of the file's AOs."""
    order: AOOrder
    """Order of the functions inside a shell."""
    coefficients: NDArray[np.float64]
    """(spins, AOs, orbitals)."""
    energies: NDArray[np.float64]
    """Hartree, (spins, orbitals)."""
    occupations: NDArray[np.float64]
    """(spins, orbitals)."""
    charge: int | None = None
    """Derived from the occupations if the file does not give it."""
    multiplicity: int | None = None
    overlap: NDArray[np.float64] | None = None
    """S as the file prints it, (AOs, AOs), for a check."""
    orca_signs: tuple[bool, ...] = (False,)
    """Whether |m| = 3, 4 carry ORCA's sign on top of ``order``; several: whichever fits."""
    bare_primitives: tuple[bool, ...] = (False,)
    """Whether contraction coefficients include the norms of the primitives; several: whichever fits."""


@dataclass(frozen=True)
class Rebuilt:
    """The same state over PySCF's AOs."""

    hamiltonian: NDArray[np.float64]
    """Hartree, (A, A) or (2, A, A)."""
    orbital_energies: NDArray[np.float64]
    occupations: NDArray[np.float64]
    charge: int
    multiplicity: int
    deviation: float
    """Largest element of |Cᵀ S C − 1|."""


def rebuild(orbitals: OrbitalSet, basis: str, tolerance: float) -> Rebuilt:
    """Kohn–Sham matrix H = S C ε Cᵀ S in PySCF's AO order.

    Parameters
    ----------
    orbitals
        What the file says.
    basis
        Name by which PySCF knows its basis.
    tolerance
        Largest |Cᵀ S C − 1| that the digits of the file explain.

    Raises
    ------
    BasisError
        If orbitals are missing, the basis is another one, or the orbitals are not orthonormal.
    ChargeError
        If charge, multiplicity and number of electrons contradict each other.
    """
    _check_complete(orbitals)
    charge, multiplicity = _state(orbitals, basis)
    mole = build_mole(orbitals.numbers, orbitals.positions, basis, charge, multiplicity)
    counted = orbitals.occupations.sum()
    if abs(mole.nelectron - counted) > 1e-3:
        raise BasisError(
            f"the orbitals hold {counted:g} electrons, but charge {charge} and the cores of basis "
            f"{basis!r} leave {mole.nelectron}"
        )
    overlap = mole.intor_symmetric("int1e_ovlp")
    coefficients, deviation = _orthonormal(orbitals, basis, overlap, tolerance)
    half = overlap @ coefficients
    hamiltonian = np.einsum("smk,sk,snk->smn", half, orbitals.energies, half, optimize=True)
    hamiltonian = 0.5 * (hamiltonian + hamiltonian.swapaxes(1, 2))
    rank = np.argsort(orbitals.energies, axis=1, kind="stable")
    energies, occupations = (
        np.take_along_axis(x, rank, axis=1) for x in (orbitals.energies, orbitals.occupations)
    )
    if len(hamiltonian) == 1:
        hamiltonian, energies, occupations = hamiltonian[0], energies[0], occupations[0]
    return Rebuilt(hamiltonian, energies, occupations, charge, multiplicity, deviation)


def find_basis(orbitals: OrbitalSet, candidates: Sequence[str] = COMMON_BASES) -> str:
    """Name of the first basis that spans the functions of the file.

    Candidates may be words of the file.  PySCF opens files of that name and evaluates expressions in them,
    so that only names of its own bases reach it.

    Raises
    ------
    BasisError
        If none of them does.
    """
    for name in filter(is_basis_name, candidates):
        try:
            _expansion(orbitals, name)
        except BasisError:
            continue
        return name
    raise BasisError(
        f"the shells are those of none of {', '.join(candidates)}; pass basis= as PySCF names it"
    )


def _check_complete(orbitals: OrbitalSet) -> None:
    size = sum(2 * s.degree + 1 for s in orbitals.shells)
    spins = orbitals.coefficients.shape[0]
    if orbitals.coefficients.shape != (spins, size, size) or orbitals.energies.shape != (spins, size):
        raise BasisError(
            f"coefficients have shape {orbitals.coefficients.shape}, the shells {size} functions; "
            "H needs as many orbitals as functions"
        )
    for name in ("positions", "coefficients", "energies", "occupations"):
        if not np.isfinite(getattr(orbitals, name)).all():
            raise BasisError(f"{name} hold values that are not finite")
    if np.ptp(orbitals.energies) == 0:
        raise BasisError("all orbital energies are equal: these are no canonical orbitals")


def _state(orbitals: OrbitalSet, basis: str) -> tuple[int, int]:
    """Charge and multiplicity, from the occupations where the file does not state them."""
    occupied = orbitals.occupations
    if np.abs(occupied - np.round(occupied)).max() > 1e-4:
        raise BasisError("occupations are fractional: these are no Kohn–Sham orbitals of one state")
    if len(occupied) == 1 and (np.round(occupied) == 1).any():
        raise BasisError("restricted open shell: its orbital energies define no Fock matrix")
    multiplicity = 1 if len(occupied) == 1 else 1 + round(float(occupied[0].sum() - occupied[1].sum()))
    if orbitals.multiplicity is not None and orbitals.multiplicity != multiplicity:
        raise BasisError(
            f"multiplicity {orbitals.multiplicity} contradicts the occupations, which give {multiplicity}"
        )
    if orbitals.charge is not None:
        return orbitals.charge, multiplicity
    cores = sum(_core_electrons(basis, int(z)) for z in orbitals.numbers)
    return int(orbitals.numbers.sum()) - cores - round(float(occupied.sum())), multiplicity


def _orthonormal(
    orbitals: OrbitalSet, basis: str, overlap: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.float64], float]:
    """Orbitals over PySCF's AOs, (spins, A, A), and their largest deviation from orthonormality."""
    expansion = _expansion(orbitals, basis)
    unit = np.eye(len(overlap))
    shells: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for orca_signs in orbitals.orca_signs:
        index, sign = _to_pyscf_order(orbitals, orca_signs)
        matrix = np.empty_like(expansion)
        matrix[:, index] = expansion * sign
        coefficients = matrix @ orbitals.coefficients
        products = coefficients.swapaxes(1, 2) @ overlap @ coefficients
        shells.setdefault(float(np.abs(products - unit).max()), (coefficients, matrix))
    deviation = min(shells)
    if deviation > tolerance:
        raise BasisError(
            f"|Cᵀ S C − 1| reaches {deviation:.2g} in basis {basis!r}, more than {tolerance:g}: order, "
            "signs, geometry or normalisation of the file are not what this reader takes them for"
        )
    coefficients, matrix = shells[deviation]
    if orbitals.overlap is not None:
        _check_overlap(orbitals.overlap, matrix.T @ overlap @ matrix, tolerance)
    return coefficients, deviation


def _check_overlap(given: NDArray[np.float64], expected: NDArray[np.float64], tolerance: float) -> None:
    if given.shape != expected.shape or not np.abs(given - expected).max() <= tolerance:
        raise BasisError("the overlap matrix of the file is not that of its geometry and basis")


def _to_pyscf_order(orbitals: OrbitalSet, orca_signs: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Map inside the shells: x_pyscf = sign * x_file[index], shells still in the file's sequence."""
    degrees = [s.degree for s in orbitals.shells]
    index, sign = reordering(degrees, orbitals.order, "pyscf")
    if orca_signs:
        negative = {l: dict(shell_order("orca", l)) for l in set(degrees)}
        sign = sign * np.array([negative[l][m] for l in degrees for m, _ in shell_order("pyscf", l)])
    return index, sign


def _expansion(orbitals: OrbitalSet, basis: str) -> NDArray[np.float64]:
    """Functions of the file in those of PySCF, (PySCF's AOs, AOs of the file), both m orders PySCF's."""
    for bare in orbitals.bare_primitives[:-1]:
        try:
            return _expansion_of(_over_normalised(orbitals.shells, bare), orbitals.numbers, basis)
        except BasisError:
            continue
    shells = _over_normalised(orbitals.shells, orbitals.bare_primitives[-1])
    return _expansion_of(shells, orbitals.numbers, basis)


def _over_normalised(shells: Sequence[Shell], bare: bool) -> list[Shell]:
    """Shells whose coefficients multiply normalised primitives."""
    if not bare:
        return list(shells)
    return [replace(s, coefficients=s.coefficients / s.exponents ** (s.degree / 2 + 0.75)) for s in shells]


def _expansion_of(shells: Sequence[Shell], numbers: NDArray[np.int64], basis: str) -> NDArray[np.float64]:
    columns = np.concatenate([[0], np.cumsum([2 * s.degree + 1 for s in shells])]).astype(int)
    result = np.zeros((columns[-1], columns[-1]))
    row = 0
    for atom, z in enumerate(numbers):
        mine = [k for k, s in enumerate(shells) if s.atom == atom]
        theirs = pyscf_shells(basis, int(z))
        if sorted(shells[k].degree for k in mine) != [l for l, _, _ in theirs]:
            raise BasisError(f"the shells of {chemical_symbols[int(z)]} are not those of basis {basis!r}")
        for l in sorted({l for l, _, _ in theirs}):
            chosen = [k for k in mine if shells[k].degree == l]
            m = np.arange(2 * l + 1)
            for weights in _radial_expansion([shells[k] for k in chosen], theirs, l):
                for k, weight in zip(chosen, weights, strict=True):
                    result[row + m, columns[k] + m] = weight
                row += 2 * l + 1
    if row != columns[-1]:
        raise BasisError(f"{columns[-1]} functions in the file, {row} in basis {basis!r}")
    return result


def _radial_expansion(
    shells: Sequence[Shell], theirs: Sequence[tuple[int, Any, Any]], l: int
) -> NDArray[np.float64]:
    """Coefficients of the shells of one degree in PySCF's of the same atom; (theirs, mine)."""
    target = [(e, c) for degree, e, c in theirs if degree == l]
    source = [(s.exponents, s.coefficients) for s in shells]
    own = _radial_overlap(l, source, source)
    cross = _radial_overlap(l, target, source) / np.sqrt(np.diag(own))
    gram = _radial_overlap(l, target, target)
    result = np.linalg.solve(gram, cross)
    outside = 1 - np.einsum("pf,pf->f", cross, result)
    if not np.abs(outside).max() < SPAN_TOLERANCE:
        raise BasisError(f"a shell of degree {l} lies {np.abs(outside).max():.1e} outside the named basis")
    snapped = np.round(result)
    return np.asarray(snapped if np.abs(result - snapped).max() < SNAP_TOLERANCE else result)


def _radial_overlap(
    l: int, left: Sequence[tuple[Any, Any]], right: Sequence[tuple[Any, Any]]
) -> NDArray[np.float64]:
    """Overlaps of contractions of normalised primitives of degree ``l`` on one centre."""
    return np.array(
        [
            [a @ (2 * np.sqrt(np.outer(e, f)) / np.add.outer(e, f)) ** (l + 1.5) @ b for f, b in right]
            for e, a in left
        ]
    )


@lru_cache(maxsize=1024)
def pyscf_shells(basis: str, z: int) -> tuple[tuple[int, Any, Any], ...]:
    """Degree, exponents and normalised coefficients of PySCF's shells, in the sequence of its AOs.

    Raises
    ------
    BasisError
        If PySCF has no such basis for the element.
    """
    symbol = chemical_symbols[z]
    try:
        entries = gto.format_basis({symbol: basis})[symbol]
    except (KeyError, RuntimeError, ValueError, AssertionError, gto.basis.BasisNotFoundError) as error:
        raise BasisError(f"PySCF has no basis {basis!r} for {symbol}: {error}") from error
    shells = []
    for l, *rows in entries:
        table = np.array([r for r in rows if not isinstance(r, int)], dtype=np.float64)
        for column in table.T[1:]:
            norm = np.sqrt(_radial_overlap(l, [(table[:, 0], column)], [(table[:, 0], column)])[0, 0])
            shells.append((int(l), table[:, 0], column / norm))
    return tuple(shells)


@lru_cache(maxsize=1024)
def _core_electrons(basis: str, z: int) -> int:
    single = build_mole([z, z], np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]), basis)
    return int(single.atom_nelec_core(0))
