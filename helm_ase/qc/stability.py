"""Singlets whose closed-shell solution is no minimum: found out, and followed down to one.

A restricted solution is unstable where letting α and β orbitals differ, or turning the orbitals at all,
lowers the energy: bonds that break, some diradicals, ozone.  Its energy is then not that of the molecule, and
what is, a determinant of broken symmetry, has no Hamiltonian that a model of closed shells could have.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscf.scf import stability

from helm_ase.errors import SCFError
from helm_ase.qc.level import LevelOfTheory, kohn_sham

LOWER = 1e-5
"""Hartree; what is not lower by so much is the same solution."""
ROUNDS = 3
"""How often a solution is followed down before it is given up."""
COARSE = 0
"""PySCF grid level of the response, whose lowest eigenvalue only has to have the right sign."""


@dataclass(frozen=True)
class LowerSolution:
    """A converged mean field below the closed-shell one that was examined."""

    mean_field: Any
    """PySCF RKS object where orbitals had only to turn, UKS where spins differ."""
    broken: bool
    """Whether α and β differ."""
    cycles: int


def follow_instability(mean_field: Any, level: LevelOfTheory, max_cycles: int) -> LowerSolution | None:
    """Examine a closed-shell solution; the lower one that it leads to, or None if it is a minimum.

    Parameters
    ----------
    mean_field
        Converged RKS object, of any integration.
    level
        Level of theory.
    max_cycles
        Of each SCF.

    Raises
    ------
    SCFError
        If it is no minimum, and none is found below it.
    """
    closed, cycles = _plain(mean_field, level), 0
    orbitals = _way_down(closed, stability.rhf_internal)
    if orbitals is not None:
        cycles += _converge(closed, closed.make_rdm1(orbitals, closed.mo_occ), max_cycles)
    turned = closed.e_tot < mean_field.e_tot - LOWER
    orbitals = _way_down(closed, stability.rhf_external)
    if orbitals is None:
        return LowerSolution(closed, False, cycles) if turned else None
    for start in _starts(closed, orbitals):
        found = closed.to_uks()
        found.conv_tol = level.conv_tol
        try:
            cycles += _converge(found, start, max_cycles) + _descend(found, max_cycles)
        except SCFError:
            continue
        if found.e_tot < closed.e_tot - LOWER:
            return LowerSolution(found, True, cycles)
    raise SCFError("the closed-shell solution is unstable, and no stable one is found below it")


def _plain(mean_field: Any, level: LevelOfTheory) -> Any:
    """The same solution as an object that PySCF's response equations know."""
    made = kohn_sham(mean_field.mol, level)
    made.mo_coeff, made.mo_energy = mean_field.mo_coeff, mean_field.mo_energy
    made.mo_occ, made.e_tot, made.converged = mean_field.mo_occ, mean_field.e_tot, True
    return made


def _way_down(mf: Any, examine: Any) -> Any:
    """Orbitals turned along the direction in which the energy falls; None at a minimum."""
    coarse = mf.copy()
    coarse.grids = mf.grids.copy().reset()
    coarse.grids.level = COARSE
    orbitals, stable = examine(coarse, with_symmetry=False, verbose=0, return_status=True)
    return None if stable else orbitals


def _starts(closed: Any, orbitals: Any) -> Iterator[NDArray[np.float64]]:
    """Densities of α and β, (2, A, A): along the instability, and HOMO and LUMO mixed to either side.

    One electron on each side is where a broken bond ends.
    """
    occupied = [np.asarray(o)[:, : closed.mol.nelectron // 2] for o in orbitals]
    yield np.stack([o @ o.T for o in occupied])
    c, n = closed.mo_coeff, closed.mol.nelectron // 2
    homo, lumo = c[:, n - 1], c[:, n]
    core = c[:, : n - 1] @ c[:, : n - 1].T
    sides = [(homo + sign * lumo) / np.sqrt(2) for sign in (1, -1)]
    yield np.stack([core + np.outer(side, side) for side in sides])


def _converge(mf: Any, density: NDArray[np.float64], max_cycles: int) -> int:
    """As any SCF from a density; where that does not converge, to second order first."""
    mf.max_cycle = max_cycles
    mf.kernel(dm0=density)
    cycles = int(mf.cycles)
    if not mf.converged:
        solver = mf.newton()
        solver.max_cycle = max_cycles
        solver.kernel(dm0=density)
        mf.kernel(dm0=solver.make_rdm1())
        cycles += int(mf.cycles)
    if not mf.converged:
        raise SCFError("the closed-shell solution is unstable, and the one below it does not converge")
    return cycles


def _descend(mf: Any, max_cycles: int) -> int:
    """Follow an unrestricted solution down until it is a minimum."""
    cycles = 0
    for _ in range(ROUNDS):
        orbitals = _way_down(mf, stability.uhf_internal)
        if orbitals is None:
            return cycles
        cycles += _converge(mf, mf.make_rdm1(orbitals, mf.mo_occ), max_cycles)
    raise SCFError(f"the broken-symmetry solution is unstable, and still so after {ROUNDS} descents")
