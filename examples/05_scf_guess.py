"""Start a real DFT calculation from the predicted density matrix."""

import argparse

from ase.build import molecule
from pyscf import dft, gto

from helm_ase import HELMCalculator

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="a smaller molecule")
options = parser.parse_args()

atoms = molecule("H2O" if options.quick else "CH3CHO")
atoms.calc = calc = HELMCalculator()

mole = gto.M(
    atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), basis="def2-svp", verbose=0
)
for name, guess in {"minao": None, "HELM": calc.get_density_matrix()}.items():
    mf = dft.RKS(mole, xc="b3lyp").density_fit()
    energy = mf.kernel(dm0=guess)
    print(f"{name:>6}: {mf.cycles:2d} cycles, {energy:.8f} Eh")
