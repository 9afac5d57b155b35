"""Molecules with a calculator attached, and the same ones for PySCF."""

from ase.build import molecule
from pyscf import gto

from helm_ase import HELMCalculator

PURE = "helm-hcnof-2"
"""A shipped model without an energy baseline: GFN2-xTB adds what converges to 1e-8 only and reaches further
than any network, so laws that hold to rounding are asked of this one."""


def with_calc(name="H2O", rattle=0.03, **keywords):
    atoms = molecule(name)
    atoms.rattle(rattle, seed=1)
    atoms.calc = HELMCalculator(**keywords)
    return atoms


def pyscf_molecule(atoms):
    geometry = [(s, tuple(map(float, r))) for s, r in zip(atoms.symbols, atoms.positions, strict=True)]
    return gto.M(atom=geometry, basis="def2-svp", unit="Angstrom", verbose=0)
