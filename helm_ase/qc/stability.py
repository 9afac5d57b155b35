"""Stability of closed-shell solutions: singlets whose solution is not a minimum are found and followed down
to one.

A restricted solution is unstable where letting α and β orbitals differ, or turning the orbitals at all,
lowers the energy: bonds that break, some diradicals, ozone.  Its energy is then not that of the molecule, and
what is, a determinant of broken symmetry, has no Hamiltonian that a model of closed shells could have.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pyscf import lib
from pyscf.scf import stability

from helm_ase.errors import SCFError
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.stored_fit import StoredFit

LOWER = 1e-5
"""Smallest decrease of the energy, Hartree, by which a solution counts as another one."""
NEGATIVE = -1e-4
"""Curvature, Hartree, below which a solution counts as unstable; smaller ones are errors of the grid."""
SOFT = 1e-6
"""Norm of the orbital gradient, Hartree, of labels: orbitals of broken bonds turn at little cost."""
ROUNDS = 3
"""Largest number of attempts to follow an instability to a stable solution."""
COARSE = 0
"""PySCF grid level of the response, whose lowest eigenvalue only has to have the right sign."""
SEEDS = 4
"""Excitations of lowest energy, each of which the search for that eigenvalue begins with."""
ANGLES = (np.pi / 4, np.pi / 8)
"""Angles by which α and β are rotated apart: the first leaves one electron on each side of a bond between two
orbitals; from small ones an SCF falls back."""


@dataclass(frozen=True)
class LowerSolution:
    """A converged mean field below the closed-shell one that was examined."""

    mean_field: Any
    """PySCF RKS object where orbitals had only to turn, UKS where spins differ."""
    broken: bool
    """Whether α and β orbitals differ (broken symmetry)."""
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
        Largest number of cycles of each SCF.

    Raises
    ------
    SCFError
        If it is no minimum, and none is found below it.
    """
    closed, cycles = _plain(mean_field, level), 0
    if spin_curvature(closed)[0] > NEGATIVE:  # the lowest: what turns α and β alike costs exchange
        return None
    orbitals = _way_down(closed, stability.rhf_internal)
    if orbitals is not None:
        cycles += _converge(closed, closed.make_rdm1(orbitals, closed.mo_occ), max_cycles)
    curvature, direction = spin_curvature(closed)
    if curvature > NEGATIVE:
        return LowerSolution(closed, False, cycles)
    for angle in ANGLES:
        broken = closed.to_uks()
        broken.conv_tol, broken.conv_tol_grad = min(level.conv_tol, 1e-9), SOFT
        try:
            cycles += _converge(broken, _turned_apart(closed, angle * direction), max_cycles)
            cycles += _descend(broken, max_cycles)
        except SCFError:
            continue
        if broken.e_tot < closed.e_tot - LOWER:
            return LowerSolution(broken, True, cycles)
    raise SCFError("the closed-shell solution is unstable, and no stable one is found below it")


def spin_curvature(mf: Any) -> tuple[float, NDArray[np.float64]]:
    """Smallest second derivative of the energy along rotations of α against β, and where it points.

    The eigenvalue of A + B for triplets (Seeger and Pople, J. Chem. Phys. 66, 3045, 1977), Hartree, and its
    eigenvector, (V, O).

    Parameters
    ----------
    mf
        Converged RKS object.
    """
    coarse, filled = _on_coarse_grid(mf), mf.mo_occ > 0
    occupied, virtual = mf.mo_coeff[:, filled], mf.mo_coeff[:, ~filled]
    excitations = mf.mo_energy[~filled][:, None] - mf.mo_energy[filled]  # (V, O)
    respond = coarse.gen_response(singlet=False, hermi=1)

    def apply(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = x.reshape(excitations.shape)
        change = 2 * virtual @ x @ occupied.T
        product = excitations * x + virtual.T @ respond(change + change.T) @ occupied
        return np.asarray(product.ravel())

    def precondition(residual: Any, value: float, _: Any) -> Any:
        shifted = excitations.ravel() - value
        return residual / np.where(np.abs(shifted) < 1e-8, 1e-8, shifted)

    seeds = np.eye(excitations.size)[np.argsort(excitations, axis=None)[:SEEDS]]
    value, vector = lib.davidson(apply, list(seeds), precondition, tol=1e-4, verbose=0)
    return float(value), np.asarray(vector).reshape(excitations.shape)


def _turned_apart(mf: Any, rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Densities of α and β, (2, A, A), after rotations of filled into empty orbitals, (V, O), and back."""
    filled = mf.mo_occ > 0
    ordered = np.hstack([mf.mo_coeff[:, filled], mf.mo_coeff[:, ~filled]])
    n = int(filled.sum())
    generator = np.zeros((len(filled), len(filled)))
    generator[n:, :n] = rotation
    generator -= generator.T
    turned = [ordered @ scipy.linalg.expm(sign * generator)[:, :n] for sign in (1, -1)]
    return np.stack([c @ c.T for c in turned])


def _plain(mean_field: Any, level: LevelOfTheory) -> Any:
    """The same solution as an object that PySCF's response equations know."""
    made = kohn_sham(mean_field.mol, level)
    made.mo_coeff, made.mo_energy = mean_field.mo_coeff, mean_field.mo_energy
    made.mo_occ, made.e_tot, made.converged = mean_field.mo_occ, mean_field.e_tot, True
    if isinstance(getattr(mean_field, "with_df", None), StoredFit):
        made.with_df = mean_field.with_df  # its tensor is there already, and its exchange much faster
    return made


def _on_coarse_grid(mf: Any) -> Any:
    made = mf.copy()
    made.grids = mf.grids.copy().reset()
    made.grids.level = COARSE
    return made


def _way_down(mf: Any, examine: Any) -> Any:
    """Orbitals turned along a direction in which the energy falls; None at a minimum."""
    examined = examine(mf, with_symmetry=False, verbose=0, return_status=True)
    return None if examined[1] else examined[0]


def _converge(mf: Any, density: NDArray[np.float64], max_cycles: int) -> int:
    """Converge as any SCF from a density; where that does not converge, to second order first."""
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
    """Follow an unrestricted solution down until it is a minimum, or nothing is gained any more."""
    cycles = 0
    for _ in range(ROUNDS):
        before, orbitals = mf.e_tot, _way_down(mf, stability.uhf_internal)
        if orbitals is None:
            return cycles
        cycles += _converge(mf, mf.make_rdm1(orbitals, mf.mo_occ), max_cycles)
        if mf.e_tot > before - LOWER:
            return cycles
    raise SCFError(f"the broken-symmetry solution is unstable, and still so after {ROUNDS} descents")
