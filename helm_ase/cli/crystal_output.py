"""What ``helm-ase run`` prints and draws of a crystal."""

from ase import Atoms

from helm_ase.errors import StructureError
from helm_ase.pictures.bands import (
    describe_gap,
    draw_bands,
    draw_density_of_bands,
    gap_of_both,
    zero_of_energy,
)
from helm_ase.units import HARTREE_IN_EV


def check_pictures(atoms: Atoms, bands: str | None, density: str | None, levels: str | None) -> None:
    """Refuse pictures that the structure does not have.

    Raises
    ------
    StructureError
        If bands of a molecule or the level diagram of a crystal are asked for.
    """
    if (bands or density) and not atoms.pbc.any():
        raise StructureError("--bands and --dos are for crystals, and nothing is periodic here: try --levels")
    if levels and atoms.pbc.any():
        raise StructureError("--levels is for molecules; a crystal has --bands and --dos")


def print_bands(atoms: Atoms, bands: str | None, density: str | None) -> None:
    """Print Fermi level, gap and charges, and draw bands and density of states to files."""
    calc = atoms.calc
    mesh = calc.get_bands(atoms)
    print(f"\nFermi level  {mesh.fermi_level * HARTREE_IN_EV:.3f} eV  {zero_of_energy(atoms.pbc.all())}")
    print(f"on a mesh of {'×'.join(map(str, calc.get_mesh_size(atoms)))} k points: {describe_gap(mesh.gap)}")
    charges = [f"{name} {q:+.2f}" for name, q in zip(atoms.symbols, atoms.get_charges(), strict=True)]
    print(f"Mulliken charges  {', '.join(charges[:12])}{' …' if len(charges) > 12 else ''}")
    title = atoms.get_chemical_formula()
    if bands:
        structure = calc.band_structure(atoms=atoms)
        draw_bands(structure, mesh, bands, title)
        gap = describe_gap(gap_of_both(structure, mesh))
        print(f"bands: {bands}; with the path {structure.path.path}: {gap}")
    if density:
        draw_density_of_bands(mesh, density, title)
        print(f"density of states: {density}")
