"""PySCF molecules from ASE structures, and integrals that do not depend on a density."""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import gto

from helm_ase.errors import BasisError, ChargeError
from helm_ase.representation import CANONICAL, AOBasis, AOMatrix, AOOrder
from helm_ase.representation.level import plain
from helm_ase.representation.ordering import reordering

_POPLE = re.compile(r"\d{3,4}\+{0,2}g(\*{0,2}|\([\ddfp,]+\))")


def is_basis_name(name: str) -> bool:
    """Whether PySCF has a basis of its own of this name.

    PySCF also opens files that are called like a basis, and evaluates expressions in them.  Names may come
    from files of labels and checkpoints: only PySCF's own may reach it.
    """
    short = plain(name)
    return short in gto.basis.ALIAS or _POPLE.fullmatch(short) is not None


def check_basis_name(name: str) -> None:
    """Refuse names that are not one of PySCF's own bases, or that a file in the working folder has.

    Raises
    ------
    BasisError
        If PySCF has no such basis, or a file in the working folder has the name of one of PySCF's bases:
        PySCF would read that file instead, also where it chooses a basis by itself.
    """
    check_impostors()
    if not is_basis_name(name):
        raise BasisError(f"PySCF has no basis {name!r}; allowed are its own names, as def2-svp or 6-31g*")


def check_impostors() -> None:
    """Refuse a working folder with files named like PySCF's bases or pseudopotentials, which it would read.

    Raises
    ------
    BasisError
        Naming them.
    """
    folder = os.getcwd()
    if impostors := _files_called_like_bases(folder, os.stat(folder).st_mtime_ns):
        raise BasisError(
            f"PySCF would take {', '.join(impostors)} in {folder} for a basis: rename it, or work elsewhere"
        )


@lru_cache(maxsize=16)
def _files_called_like_bases(folder: str, changed: int) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        return tuple(e.name for e in entries if _is_taken(e.name) and e.is_file())


def _is_taken(name: str) -> bool:
    return is_basis_name(name) or plain(name) in {**gto.basis.GTH_ALIAS, **gto.basis.PP_ALIAS}


def build_mole(
    numbers: Sequence[int] | NDArray[np.integer],
    positions: NDArray[np.float64],
    basis: str,
    charge: int = 0,
    multiplicity: int = 1,
) -> Any:
    """Build a PySCF ``Mole`` (spherical functions; the basis's own ECP where it has one).

    Parameters
    ----------
    numbers, positions
        Atomic numbers (N,) and positions (N, 3) in Å.
    basis
        Name known to PySCF.
    charge, multiplicity
        Total charge and 2S + 1.

    Raises
    ------
    ChargeError
        If multiplicity and number of electrons contradict each other.
    BasisError
        If PySCF has no such basis for one of the elements.
    """
    check_basis_name(basis)
    atoms = [
        (chemical_symbols[int(z)], tuple(map(float, r))) for z, r in zip(numbers, positions, strict=True)
    ]
    ecp = {chemical_symbols[int(z)]: basis for z in set(map(int, numbers)) if _core_electrons(basis, int(z))}
    mole = gto.Mole(verbose=0, symmetry=False, unit="Angstrom")
    try:
        mole.build(dump_input=False, parse_arg=False, atom=atoms, basis=basis, ecp=ecp, charge=charge,
                   spin=multiplicity - 1)  # fmt: skip
    except AssertionError as error:
        raise ChargeError(
            f"charge {charge} and multiplicity {multiplicity} leave no possible number of electrons"
        ) from error
    except RuntimeError as error:
        if "spin" not in str(error).lower():
            raise BasisError(f"PySCF cannot build basis {basis!r}: {error}") from error
        raise ChargeError(f"charge {charge} and multiplicity {multiplicity} do not fit: {error}") from error
    except (KeyError, gto.basis.BasisNotFoundError) as error:
        raise BasisError(f"PySCF has no basis {basis!r} for one of the elements: {error}") from error
    return mole


@lru_cache(maxsize=4096)
def _core_electrons(basis: str, z: int) -> int:
    try:
        potential = gto.basis.load_ecp(basis, chemical_symbols[z])
    except (KeyError, RuntimeError, gto.basis.BasisNotFoundError):
        return 0
    return int(potential[0]) if potential else 0


def ao_basis(name: str, elements: Sequence[int]) -> AOBasis:
    """Shells that PySCF's basis ``name`` puts on each element.

    Raises
    ------
    BasisError
        If PySCF has no such basis for one of the elements.
    """
    shells = {}
    for z in sorted(set(map(int, elements))):
        mole = build_mole([z], np.zeros((1, 3)), name, multiplicity=1 + _unpaired(name, z))
        shells[z] = tuple(int(mole.bas_angular(b)) for b in range(mole.nbas) for _ in range(mole.bas_nctr(b)))
    cores = {z: _core_electrons(name, z) for z in shells if _core_electrons(name, z)}
    return AOBasis(name, shells, cores)


def _unpaired(basis: str, z: int) -> int:
    return (z - _core_electrons(basis, z)) % 2


def basis_of(mole: Any) -> AOBasis:
    """Shells of the elements of a ``Mole``.

    Raises
    ------
    BasisError
        If two atoms of one element carry different shells.
    """
    shells: dict[int, tuple[int, ...]] = {}
    for atom in range(mole.natm):
        degrees = tuple(
            int(mole.bas_angular(b)) for b in mole.atom_shell_ids(atom) for _ in range(mole.bas_nctr(b))
        )
        z = int(gto.charge(mole.atom_symbol(atom)))
        if shells.setdefault(z, degrees) != degrees:
            raise BasisError(
                f"atoms of {chemical_symbols[z]} carry different shells; one set per element is needed"
            )
    return AOBasis(
        str(mole.basis), shells, {z: n for z in shells if (n := mole.atom_nelec_core(_first(mole, z)))}
    )


def _first(mole: Any, z: int) -> int:
    return next(a for a in range(mole.natm) if gto.charge(mole.atom_symbol(a)) == z)


def overlap(mole: Any, basis: AOBasis) -> AOMatrix:
    """Overlap matrix in canonical AO order."""
    numbers = atomic_numbers(mole)
    return AOMatrix(mole.intor_symmetric("int1e_ovlp"), numbers, basis, "pyscf").reorder("e3nn")


def orthogonaliser_of_scf(overlap: NDArray[np.float64]) -> NDArray[np.float64]:
    """X with Xᵀ S X = 1, (A, M), without the directions of S, (A, A), that PySCF's own SCF leaves out."""
    import torch  # labelling needs none of it

    from helm_ase.representation.overlap import SCF_OVERLAP_THRESHOLD, canonical_orthogonaliser

    return canonical_orthogonaliser(torch.from_numpy(overlap), SCF_OVERLAP_THRESHOLD).numpy()


def cross_overlap(mole: Any, basis: AOBasis, other: Any, other_basis: AOBasis) -> NDArray[np.float64]:
    """⟨μ|ν⟩ of the functions μ of one ``Mole`` and ν of another, canonical AO order; shape (A, A')."""
    values = gto.intor_cross("int1e_ovlp", mole, other)
    for axis, (m, b) in enumerate(((mole, basis), (other, other_basis))):
        index, sign = reordering(b.degrees(atomic_numbers(m)), "pyscf", CANONICAL)
        values = np.take(values, index, axis) * np.expand_dims(sign, 1 - axis)
    return np.asarray(values)


def dipole_integrals(mole: Any, basis: AOBasis, order: AOOrder = CANONICAL) -> NDArray[np.float64]:
    """⟨μ| r |ν⟩ about the origin in the AO order asked for, bohr; shape (3, A, A)."""
    numbers = atomic_numbers(mole)
    with mole.with_common_orig((0.0, 0.0, 0.0)):
        integrals = mole.intor_symmetric("int1e_r", comp=3)
    return np.stack([AOMatrix(x, numbers, basis, "pyscf").reorder(order).values for x in integrals])


def atomic_numbers(mole: Any) -> NDArray[np.int64]:
    """Atomic numbers, also where an ECP reduces the nuclear charge; shape (N,)."""
    return np.array([gto.charge(mole.atom_symbol(a)) for a in range(mole.natm)], dtype=np.int64)
