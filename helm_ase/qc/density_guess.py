"""A predicted density as initial guess of any PySCF calculation of the same molecule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf import gto, scf
from pyscf.lo import orth

from helm_ase.errors import BasisError, ChargeError, StructureError
from helm_ase.qc.molecule import atomic_numbers, orthogonaliser_of_scf

SAME_PLACE = 1e-5
"""bohr."""


def density_for(
    mole: Any, orbitals: NDArray[np.float64], occupied: tuple[int, ...], target: Any
) -> NDArray[np.float64]:
    """Density matrix for ``mf.kernel(dm0=…)`` of another ``Mole`` of the same molecule.

    In another basis the occupied orbitals are projected on it and made orthonormal again, so that the density
    holds its electrons and is idempotent.

    Parameters
    ----------
    mole
        ``Mole`` of the prediction.
    orbitals
        Its coefficients, (s, A, M).
    occupied
        Occupied orbitals of each spin.
    target
        ``Mole`` of the calculation: any basis, unit of input and functional.

    Returns
    -------
    ndarray
        (A', A'), or (2, A', A') of an open shell.

    Raises
    ------
    StructureError
        If the target has other atoms, another order of them, or another geometry.
    ChargeError
        If its charge or spin differ.
    BasisError
        If it leaves out core electrons that the prediction has, or the other way round.
    """
    if not isinstance(target, gto.Mole):
        raise StructureError(f"{target!r} is no Mole of PySCF: pass mol=gto.M(...), or nothing")
    if not target._built:
        raise StructureError("the Mole is not built: call mol.build()")
    _check_same(mole, target)
    overlap = target.intor_symmetric("int1e_ovlp")
    x = orthogonaliser_of_scf(overlap)  # (A', M')
    mixed = gto.intor_cross("int1e_ovlp", target, mole)
    densities = []
    for c, n in zip(orbitals, occupied, strict=True):
        guess = x @ (x.T @ mixed @ c[:, :n])
        guess = guess @ orth.lowdin(guess.T @ overlap @ guess) if n else guess
        densities.append(2 / len(orbitals) * guess @ guess.T)
    return densities[0] if len(densities) == 1 else np.stack(densities)


def own_guess(mole: Any) -> NDArray[np.float64]:
    """PySCF's own initial guess, a superposition of atomic densities: (A, A), or (2, A, A) for open
    shells."""
    return np.asarray((scf.RHF if mole.spin == 0 else scf.UHF)(mole).init_guess_by_minao())


def _check_same(mole: Any, target: Any) -> None:
    ours, theirs = atomic_numbers(mole), atomic_numbers(target)
    if not np.array_equal(ours, theirs):
        raise StructureError(
            f"the Mole has the atoms {theirs.tolist()}, the prediction {ours.tolist()}, in this order"
        )
    if (far := np.abs(mole.atom_coords() - target.atom_coords()).max()) > SAME_PLACE:
        raise StructureError(
            f"the Mole has another geometry: an atom is {far:.3g} bohr from its place (mind unit= and turned "
            "or shifted input, symmetry=True among it)"
        )
    if (mole.charge, mole.spin) != (target.charge, target.spin):
        raise ChargeError(
            f"the Mole has charge {target.charge} and spin (2S) {target.spin}, the prediction {mole.charge} "
            f"and {mole.spin}"
        )
    if mole.nelectron != target.nelectron:
        raise BasisError(
            f"the Mole has {target.nelectron} electrons, the prediction {mole.nelectron}: one of them has "
            "effective core potentials"
        )
