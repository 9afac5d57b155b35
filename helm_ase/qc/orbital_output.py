"""Predicted orbitals as files that other programs read: molden, and PySCF's checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf.scf import chkfile
from pyscf.tools import molden

from helm_ase.system.atomic_write import whole_file

SPINS = ("Alpha", "Beta")


@dataclass(frozen=True)
class OrbitalTable:
    """Orbitals of each spin, PySCF AO order; s is 1 (closed shell) or 2 (α, β)."""

    energies: NDArray[np.float64]
    """Hartree, (s, M)."""
    coefficients: NDArray[np.float64]
    """(s, A, M)."""
    occupations: NDArray[np.float64]
    """Electrons, (s, M)."""


def write_molden(path: str | Path, mole: Any, orbitals: OrbitalTable) -> None:
    """Write geometry, basis and all orbitals as a molden file.

    Parameters
    ----------
    path
        File to write; it appears only when it is complete.
    mole, orbitals
        Molecule, and what is predicted for it.
    """
    with whole_file(path) as target, target.open("w", encoding="utf8") as file:
        molden.header(mole, file, ignore_h=False)
        rows = zip(SPINS, orbitals.coefficients, orbitals.energies, orbitals.occupations, strict=False)
        for spin, c, e, occupied in rows:
            molden.orbital_coeff(mole, file, c, spin=spin, ignore_h=False, ene=e, occ=occupied)


def write_chkfile(path: str | Path, mole: Any, orbitals: OrbitalTable) -> None:
    """Write a PySCF checkpoint, as ``mf.chkfile`` of a finished calculation, for ``init_guess='chkfile'``.

    Parameters
    ----------
    path
        File to write (HDF5); it appears only when it is complete.
    mole, orbitals
        Molecule, and what is predicted for it.
    """
    arrays = orbitals.energies, orbitals.coefficients, orbitals.occupations
    energies, coefficients, occupations = (x[0] if len(x) == 1 else x for x in arrays)
    with whole_file(path) as target:
        chkfile.dump_scf(mole, str(target), float("nan"), energies, coefficients, occupations)
