"""Kohn–Sham on a coarse grid that is corrected, by one integration, to the answers of the fine one.

The error of the coarse grid hardly depends on the density: once the SCF is nearly converged, the difference
of both grids' potentials is added to the coarse one as a constant.  The matrix that is kept, its energy and
the forces come from the fine grid, and the orbital gradient there decides whether another round is needed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.qc.grid_integration import NO_CORRECTION, GridCorrection, GridIntegration
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.stored_fit import StoredFit, by_atom

Array = NDArray[np.float64]

COARSE = 0
"""Level of the PySCF grid on which most cycles are done."""
NEAR = 1e-2
"""Norm of the orbital gradient, and change of the energy, Hartree, at which the coarse grid's error is taken:
that error is an orbital gradient of a few 1e-3, so that more cycles before it gain nothing."""
CONVERGED = 1e-5
"""Norm of the orbital gradient, Hartree, on the corrected coarse grid; cycles are cheap there."""
ACCEPTED = 4e-5
"""The same on the fine grid; forces are then within 0.5 meV/Å, matrix elements within 1 µEh (mean)."""
SLOW = 16
"""Cycles; more of them betray orbitals that turn at little cost, and then an orbital gradient stands for a
larger error of the forces: up to 100 meV/Å for 1e-3 Hartree instead of three."""
SOFT = 2e-6
"""Norm of the orbital gradient, Hartree, that is then reached after another correction."""
ROUNDS = 4
"""Largest number of corrections."""
ENERGY = 1e-5
"""Hartree; between the last cycles.  The energy's error is the square of the gradient's, which decides."""


@dataclass(frozen=True)
class FineAnswer:
    """What the fine grid says of a density."""

    energy: float
    """Hartree."""
    fock: Array
    """Hartree, (A, A) or (2, A, A)."""
    gradient: Array | None
    """Derivative of the energy with respect to the nuclei, Hartree/Bohr, (N, 3)."""
    residual: float
    """Norm of the orbital gradient, Hartree."""


@dataclass(frozen=True)
class TwoGridSolution:
    """A mean field that was converged on two grids."""

    mean_field: Any
    """PySCF RKS or UKS object with the fine grid and its energy."""
    answer: FineAnswer | None
    """None if it has not converged."""
    cycles: int


def suits_two_grids(mole: Any, level: LevelOfTheory) -> bool:
    """Whether density fitting, the functional and the grid are of the kinds that :func:`solve` knows."""
    if not level.density_fitting or level.grid_level <= COARSE:
        return False
    mf = kohn_sham(mole, level)
    integration = GridIntegration()
    separated = integration.rsh_and_hybrid_coeff(mf.xc, spin=mole.spin)[0] != 0
    return integration.handles(mf.xc) and not (separated or mf.do_nlc() or mf.do_disp())


def solve(mole: Any, level: LevelOfTheory, max_cycles: int, gradient: bool) -> TwoGridSolution:
    """Converge RKS (multiplicity 1) or UKS from PySCF's default guess.

    Parameters
    ----------
    mole
        PySCF ``Mole``.
    level
        Level of theory that :func:`suits_two_grids`.
    max_cycles
        Limit of each round.
    gradient
        Whether the nuclear gradient is wanted; it is left out if the tensor of density fitting had to go to
        disk, and is PySCF's affair then.
    """
    mf = _mean_field(mole, level, max_cycles)
    fine, coarse = mf.grids, mf.grids.copy().reset()
    coarse.level, mf.grids = COARSE, coarse
    mf._numint.keep(mole, coarse, mf.xc)
    mf.conv_tol, mf.conv_tol_grad = NEAR, NEAR
    mf.kernel()
    cycles = int(mf.cycles)
    mf.conv_tol, mf.conv_tol_grad = ENERGY, CONVERGED
    for _ in range(ROUNDS):
        if not mf.converged:
            break
        _correct(mf, fine)
        mf.kernel(dm0=mf.make_rdm1())
        cycles += int(mf.cycles)
        if not mf.converged:
            break
        if cycles > SLOW and mf.conv_tol_grad > SOFT:
            mf.conv_tol_grad = SOFT
            continue
        answer = _evaluate(mf, fine, gradient)
        if answer.residual < ACCEPTED:
            _leave(mf, fine, answer.energy)
            return TwoGridSolution(mf, answer, cycles)
    return TwoGridSolution(mf, None, cycles)


def _mean_field(mole: Any, level: LevelOfTheory, max_cycles: int) -> Any:
    mf = kohn_sham(mole, level)
    fit = StoredFit(mole, mf.with_df.auxbasis)
    fit.max_memory = mf.max_memory
    mf.with_df, mf._numint = fit, GridIntegration()
    mf.max_cycle, mf.conv_tol, mf.conv_check, mf.chkfile = max_cycles, ENERGY, False, None
    return mf


def _densities(mf: Any) -> Array:
    return np.asarray(mf.make_rdm1()).reshape(-1, mf.mol.nao, mf.mol.nao)


def _correct(mf: Any, fine: Any) -> None:
    """Correct the coarse grid such that, for the present density, it gives the result of the fine one."""
    densities = _densities(mf)
    right, wrong = (mf._numint.integrate(mf.mol, grid, mf.xc, densities) for grid in (fine, mf.grids))
    potential = (right.potential - wrong.potential).reshape(np.shape(mf.make_rdm1()))
    mf._numint.correction = GridCorrection(right.energy - wrong.energy, potential)


def _leave(mf: Any, fine: Any, energy: float) -> None:
    """Turn the mean field into an ordinary one on the fine grid."""
    mf.grids, mf.e_tot, mf._numint.correction = fine, energy, NO_CORRECTION
    mf._numint.forget()


def _evaluate(mf: Any, fine: Any, gradient: bool) -> FineAnswer:
    """Energy, Fock matrix and gradient of the present density."""
    densities, core = _densities(mf), mf.get_hcore()
    xc = mf._numint.integrate(mf.mol, fine, mf.xc, densities, gradient and mf.with_df.in_memory)
    exchange = mf._numint.rsh_and_hybrid_coeff(mf.xc, spin=mf.mol.spin)[2]
    coulomb, swapped = mf.get_jk(dm=mf.make_rdm1(), with_k=exchange != 0)
    coulomb = np.reshape(coulomb, densities.shape).sum(0)
    share = exchange * len(densities) / 2
    k = share * np.reshape(swapped, densities.shape) if exchange else np.zeros_like(densities)
    fock = core + coulomb + xc.potential - k
    energy = np.sum(densities * (core + 0.5 * (coulomb - k))) + xc.energy + mf.energy_nuc()
    shaped = fock.reshape(np.shape(mf.make_rdm1()))
    residual = float(np.linalg.norm(mf.get_grad(mf.mo_coeff, mf.mo_occ, shaped)))
    forces = None
    if xc.gradient is not None:
        forces = _gradient(mf, densities, fock, exchange) + by_atom(mf.mol, xc.gradient)
    return FineAnswer(float(energy), shaped, forces, residual)


def _gradient(mf: Any, densities: Array, fock: Array, exchange: float) -> Array:
    """Nuclear gradient of all but exchange and correlation on the grid, Hartree/Bohr, (N, 3).

    The energy-weighted density matrix is D F D, which needs no orbital energies: those of the last cycle
    belong to another Fock matrix.
    """
    mole, total = mf.mol, densities.sum(0)
    plain = mf.nuc_grad_method()
    core = plain.hcore_generator(mole)
    weighted = sum(d @ f @ d for d, f in zip(densities, fock, strict=True)) * (len(densities) / 2)
    gradient = np.stack([np.einsum("xij,ij->x", core(a), total) for a in range(mole.natm)])
    gradient -= by_atom(mole, 2 * np.einsum("xij,ij->ix", plain.get_ovlp(mole), weighted))
    spins = np.shape(mf.mo_occ)[-1]
    occupied = [c[:, n > 0] for c, n in zip(
        np.reshape(mf.mo_coeff, (-1, mole.nao, spins)), np.reshape(mf.mo_occ, (-1, spins)), strict=True
    ) if (n > 0).any()]  # fmt: skip
    fitted = mf.with_df.gradient(densities, occupied, exchange)
    total_gradient: NDArray[np.float64] = gradient + plain.grad_nuc(mole) + fitted
    return total_gradient
