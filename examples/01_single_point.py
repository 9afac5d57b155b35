"""Energy, forces, dipole and charges of a molecule."""

from ase.build import molecule
from ase.units import Debye

from helm_ase import HELMCalculator

atoms = molecule("CH3CH2OH")
atoms.calc = HELMCalculator()

print(f"energy  {atoms.get_potential_energy():.4f} eV")
print("forces / eV/Å")
for symbol, force in zip(atoms.symbols, atoms.get_forces(), strict=True):
    print(f"  {symbol:<2}", "".join(f"{x:10.4f}" for x in force))

# These come from the predicted Hamiltonian, which is computed only now:
print(f"dipole  {(atoms.get_dipole_moment() ** 2).sum() ** 0.5 / Debye:.3f} D")
print("Mulliken charges", atoms.get_charges().round(3))
