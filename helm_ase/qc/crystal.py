"""PySCF cells from ASE structures: valence bases with the pseudopotentials of Goedecker, Teter and Hutter,
and all-electron bases for matrices that other programs made."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import gto

from helm_ase.errors import BasisError, StructureError
from helm_ase.qc.level import functional_variant
from helm_ase.qc.molecule import basis_of, check_basis_name, check_impostors
from helm_ase.representation import AOBasis
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory, plain
from helm_ase.units import BOHR_IN_ANGSTROM

VACUUM = 10.0
"""Vacuum, Å, between a slab or chain and its images, as PySCF treats all three directions as periodic."""

PRECISION = 1e-8
"""PySCF's, of sums over the lattice; the Fock matrix of graphene differs from that with 1e-10, which takes
twice as long, by 3e-9 Hartree."""


def crystal_level(
    functional: str = "pbe",
    basis: str = "gth-szv-molopt-sr",
    pseudopotential: str = "gth-pbe",
    plane_wave_cutoff: float = 160.0,
    smearing: float = 0.005,
    conv_tol: float = 1e-8,
) -> LevelOfTheory:
    """Level of theory of crystals with the PySCF that is installed.

    Raises
    ------
    BasisError
        If PySCF has no such valence basis or pseudopotential.
    SettingError
        If it does not know the functional.
    """
    import pyscf

    check_valence_basis(basis, pseudopotential)
    code = "PySCF " + ".".join(pyscf.__version__.split(".")[:2])
    return LevelOfTheory(
        functional.lower(), functional_variant(functional), basis.lower(), False, 0, conv_tol, code,
        pseudopotential=pseudopotential.lower(), plane_wave_cutoff=plane_wave_cutoff, smearing=smearing,
    )  # fmt: skip


def check_valence_basis(basis: str, pseudopotential: str) -> None:
    """Refuse what is not a pair of PySCF's own valence bases and pseudopotentials, and files in their way.

    Raises
    ------
    BasisError
        Naming what there is.
    """
    check_impostors()
    for name, known, kind in (
        (basis, gto.basis.GTH_ALIAS, "valence basis"),
        (pseudopotential, gto.basis.PP_ALIAS, "pseudopotential"),
    ):
        if plain(name) not in known:
            raise BasisError(
                f"PySCF has no {kind} {name!r} for crystals; there are {', '.join(sorted(known))}"
            )


def build_content(
    numbers: Sequence[int] | NDArray[np.integer], positions: NDArray[np.float64], level: LevelOfTheory
) -> Any:
    """The atoms of a cell as a PySCF ``Mole`` with the functions of the crystal, for integrals; without a
    pseudopotential in the level, with all electrons.

    Raises
    ------
    BasisError
        If PySCF has no such basis for one of the elements.
    """
    if level.pseudopotential:
        check_valence_basis(level.basis, level.pseudopotential)
    else:
        check_basis_name(level.basis)
    # in bohr: PySCF's conversion differs from ours by a relative 7e-10, enough to part degenerate levels
    mole = gto.Mole(verbose=0, symmetry=False, unit="Bohr")
    return _built(mole, numbers, positions / BOHR_IN_ANGSTROM, level, spin=None)


def build_cell(
    numbers: Sequence[int] | NDArray[np.integer],
    positions: NDArray[np.float64],
    lattice: Lattice,
    level: LevelOfTheory,
    heights: NDArray[np.float64] | None = None,
) -> Any:
    """PySCF ``Cell``; along directions without periodicity images are ``VACUUM`` apart, or the box has the
    given ``heights`` (Å, (3,)).

    Raises
    ------
    BasisError
        If PySCF has no such basis for one of the elements.
    StructureError
        If the cell holds an odd number of electrons: crystals are closed shells here.
    """
    from pyscf.pbc import gto as pbc_gto

    check_valence_basis(level.basis, level.pseudopotential)
    cell = pbc_gto.Cell(verbose=0, unit="Angstrom", precision=PRECISION)
    cell.a = box_of(lattice, positions, heights)
    cell.ke_cutoff = level.plane_wave_cutoff
    cell = _built(cell, numbers, positions, level, spin=None)
    if cell.nelectron % 2:
        raise StructureError(
            f"a cell with {cell.nelectron} valence electrons has an open shell: take a supercell with an "
            f"even number"
        )
    return cell


def box_of(
    lattice: Lattice, positions: NDArray[np.float64], heights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Lattice vectors, Å, (3, 3), with vacuum along directions without periodicity.

    Parameters
    ----------
    lattice, positions
        The crystal; positions in Å, (N, 3).
    heights
        Lengths along directions without periodicity, Å, (3,); None: what the atoms and ``VACUUM`` take.
    """
    if heights is None:
        heights = np.ptp(lattice.fractional(positions), axis=0) + VACUUM  # these directions have unit vectors
        heights[:] = heights[~lattice.pbc].max(initial=VACUUM)  # quadrupoles of chains cancel in a square
    return np.where(lattice.pbc[:, None], lattice.cell, lattice.complete * heights[:, None])


def _built(
    mole: Any, numbers: Sequence[int] | NDArray[np.integer], positions: NDArray[np.float64],
    level: LevelOfTheory, spin: int | None,
) -> Any:  # fmt: skip
    atoms = [
        (chemical_symbols[int(z)], tuple(map(float, r))) for z, r in zip(numbers, positions, strict=True)
    ]
    try:
        mole.build(
            dump_input=False, parse_arg=False, atom=atoms, basis=level.basis,
            pseudo=level.pseudopotential or None, spin=spin,
        )  # fmt: skip
    except (KeyError, RuntimeError, gto.basis.BasisNotFoundError) as error:
        raise BasisError(
            f"PySCF has no basis {level.basis!r} with {level.pseudopotential!r} for one of the elements: "
            f"{error}"
        ) from error
    return mole


def crystal_basis(level: LevelOfTheory, elements: Sequence[int]) -> AOBasis:
    """Shells that the level puts on each element, and the electrons that its pseudopotentials replace.

    Raises
    ------
    BasisError
        If PySCF has no such basis for one of the elements.
    """
    numbers = sorted(set(map(int, elements)))
    places = np.zeros((len(numbers), 3))
    places[:, 0] = 5.0 * np.arange(len(numbers))
    basis = basis_of(build_content(numbers, places, level))
    return AOBasis(level.basis, basis.shells, basis.core_electrons)
