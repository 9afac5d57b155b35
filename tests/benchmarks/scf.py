"""What the benchmarks compare with: PySCF at the model's level of theory, and GFN2-xTB."""

import time

import numpy as np
from ase import Atoms
from ase.units import Bohr

from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole


def scf_seconds(atoms: Atoms, level: LevelOfTheory) -> tuple[float, float, int]:
    """CPU seconds of the self-consistent field and of its gradient, and the number of cycles."""
    from pyscf import lib

    lib.num_threads(1)
    field = kohn_sham(build_mole(atoms.numbers, atoms.positions, level.basis), level)
    start = time.process_time()
    field.kernel()
    middle = time.process_time()
    if not field.converged:
        raise RuntimeError(f"the SCF of {atoms.symbols.formula} did not converge")
    gradient = field.nuc_grad_method()
    gradient.verbose = 0
    gradient.kernel()
    return middle - start, time.process_time() - middle, field.cycles


def xtb_energy_and_forces(atoms: Atoms) -> tuple[float, np.ndarray]:
    """GFN2-xTB from scratch: energy in Eh, gradient in Eh/a0."""
    from tblite.interface import Calculator

    calculator = Calculator("GFN2-xTB", atoms.numbers, atoms.positions / Bohr)
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    return float(result.get("energy")), np.asarray(result.get("gradient"))
