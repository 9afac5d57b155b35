"""Orbital levels, gap and level diagram from the predicted Hamiltonian."""

from ase.build import molecule
from ase.dft.bandgap import bandgap

from helm_ase import HELMCalculator
from helm_ase.pictures.levels import draw_levels, level_table

atoms = molecule("C6H6")
atoms.calc = calc = HELMCalculator()

homo, lumo = calc.get_homo_lumo()
print(f"HOMO {homo:.3f} eV   LUMO {lumo:.3f} eV   gap {lumo - homo:.3f} eV")
print(f"the same through ASE: gap {bandgap(calc)[0]:.3f} eV")

h, s = calc.get_hamiltonian(), calc.get_overlap()  # Hartree, PySCF AO order
print(f"Hamiltonian {h.shape}, electrons in the density: {(calc.get_density_matrix() * s).sum():.6f}")

structure = calc.get_electronic_structure()
print(level_table(structure))
draw_levels(structure, "levels.png", "benzene")
