"""Converging Kohn–Sham calculations: first by plain DIIS, then by methods for difficult cases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import SCFError
from helm_ase.qc.level import LevelOfTheory, kohn_sham

Guess = Callable[[Any], NDArray[np.float64] | None]
"""``Mole`` → density matrix to start from, in PySCF AO order, or None if there is none for this molecule."""

LEVEL_SHIFT = 0.3
"""Level shift, Hartree: larger than the gaps at which orbitals change places from cycle to cycle."""


@dataclass(frozen=True)
class Convergence:
    """A converged mean field and how it was reached."""

    mean_field: Any
    """PySCF RKS or UKS object, converged without level shift."""
    route: str
    """Name of the attempt that succeeded."""
    cycles: int
    """SCF cycles of all attempts together."""


def converge(
    mole: Any,
    level: LevelOfTheory,
    max_cycles: int = 60,
    guess: Guess | None = None,
    routes: Sequence[str] = ("diis", "model", "level shift", "second order"),
) -> Convergence:
    """Converge RKS (multiplicity 1) or UKS.

    Parameters
    ----------
    mole
        PySCF ``Mole``.
    level
        Level of theory.
    max_cycles
        Limit of each attempt.
    guess
        Density for the attempt ``model``; without it that attempt is left out.
    routes
        Attempts in their order: ``diis`` from PySCF's default guess, ``model`` from ``guess``, ``level
        shift`` (virtual orbital energies raised by 0.3 Eh, then released), ``second order`` (trust-region
        Newton).

    Raises
    ------
    SCFError
        If no attempt converges.
    """
    cycles = 0
    tried: list[str] = []
    density: NDArray[np.float64] | None = None
    for route in routes:
        mf = kohn_sham(mole, level)
        mf.max_cycle, mf.chkfile = max_cycles, None  # HDF5, which does not survive a full disk
        start = guess(mole) if route == "model" and guess else None
        if route == "model" and start is None:
            continue
        tried.append(route)
        cycles += ROUTES[route](mf, density if start is None else start)
        if mf.converged:
            return Convergence(mf, route, cycles)
        density = np.asarray(mf.make_rdm1())
    raise SCFError(f"not converged after {cycles} cycles by {', '.join(tried)} ({max_cycles} cycles each)")


def _run_plain(mf: Any, density: NDArray[np.float64] | None) -> int:
    mf.kernel(dm0=density)
    return int(mf.cycles)


def _run_from_default(mf: Any, density: NDArray[np.float64] | None) -> int:
    return _run_plain(mf, None)


def _run_shifted(mf: Any, density: NDArray[np.float64] | None) -> int:
    mf.level_shift = LEVEL_SHIFT
    cycles = _run_plain(mf, density)
    mf.level_shift = 0.0  # virtual orbital energies must come out where they belong
    return cycles + _run_plain(mf, mf.make_rdm1())


def _run_second_order(mf: Any, density: NDArray[np.float64] | None) -> int:
    solver = mf.newton()
    solver.max_cycle = mf.max_cycle
    solver.kernel(dm0=density)
    return int(solver.max_cycle if not solver.converged else 0) + _run_plain(mf, solver.make_rdm1())


ROUTES: dict[str, Callable[[Any, NDArray[np.float64] | None], int]] = {
    "diis": _run_from_default,
    "model": _run_plain,
    "level shift": _run_shifted,
    "second order": _run_second_order,
}
"""Name of an attempt → function of mean field and density to start from, returning cycles."""
