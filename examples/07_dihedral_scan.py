"""Turn ethanol about its C–O bond: gaps, error bars, refined energies, and a picture of the HOMO."""

import argparse

import numpy as np
from ase.build import molecule

from helm_ase import HELMCalculator
from helm_ase.pictures.orbitals import draw_orbital

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="two angles")
options = parser.parse_args()

atoms = molecule("CH3CH2OH")
carbon, oxygen = 1, 2
hydroxyl = next(a.index for a in atoms if a.symbol == "H" and atoms.get_distance(oxygen, a.index) < 1.1)
atoms.calc = calc = HELMCalculator()

angles = np.linspace(60, 180, 2) if options.quick else np.arange(0, 361, 20)
rows = []
for angle in angles:
    atoms.set_dihedral(0, carbon, oxygen, hydroxyl, angle, indices=[hydroxyl])
    homo, lumo = calc.get_homo_lumo()
    steps = calc.refine(2)  # two Fock matrices, the first of the predicted density
    trust = calc.get_reliability()  # from the first one
    rows.append(
        (angle, atoms.get_potential_energy(), steps.energy, lumo - homo, steps.gap, trust.fock_residual)
    )

table = np.array(rows)
lowest, lowest_refined = table[:, 1].min(), table[:, 2].min()
print("dihedral  network two steps   gap two steps  |F[D]−H|")
print("  degree      meV       meV    eV        eV       µEh")
for angle, energy, refined, gap, refined_gap, residual in rows:
    print(f"{angle:8.0f} {1e3 * (energy - lowest):8.1f} {1e3 * (refined - lowest_refined):9.1f} {gap:5.2f} "
          f"{refined_gap:9.2f} {1e6 * residual:9.0f}")  # fmt: skip

structure = calc.get_electronic_structure()
draw_orbital(structure, atoms, "homo.png", "homo", title="HOMO of ethanol")
calc.write("homo.cube", "homo", spacing=0.4 if options.quick else 0.2)
bonds = structure.bond_orders()
print(f"C–O bond order {bonds[carbon, oxygen]:.2f}; pictures: homo.png, homo.cube")
