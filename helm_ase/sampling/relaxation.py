"""GFN2-xTB: the calculator, and geometries at or near its minima."""

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.optimize import LBFGS

from helm_ase.sampling.optional import load


def xtb_calculator(charge: int, multiplicity: int) -> Any:
    """GFN2-xTB as an ASE calculator, silent; charge in e, multiplicity 2S + 1."""
    return load("tblite.ase").TBLite(method="GFN2-xTB", charge=charge, multiplicity=multiplicity, verbosity=0)


def relax(atoms: Atoms, fmax: float, steps: int) -> bool:
    """Move ``atoms`` downhill; True if the largest force fell below ``fmax`` (eV/Å) within ``steps``.

    Raises
    ------
    CalculationFailed
        If xTB fails or its answer is not finite.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow on the way to the error below
        converged = LBFGS(atoms, logfile=None).run(fmax=fmax, steps=steps)
    check_finite(atoms)
    return bool(converged)


def check_finite(atoms: Atoms) -> None:
    """Refuse a geometry or energy that is not finite.

    Raises
    ------
    CalculationFailed
        If that is so.
    """
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.get_potential_energy()):
        raise CalculationFailed("GFN2-xTB gave an energy or forces that are not finite")
