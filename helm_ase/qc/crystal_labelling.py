"""Labelling of a crystal with PySCF: F(k) on a mesh, energies, and a well-defined zero of energy."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from helm_ase.errors import SettingError
from helm_ase.qc.crystal import build_cell, crystal_basis, crystal_level
from helm_ase.qc.crystal_scf import (
    CrystalSCF,
    fock_and_overlap,
    forces_by_differences,
    stress_by_differences,
)
from helm_ase.qc.lattice_integrals import lattice_integrals
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.lattice import Lattice, nearest_images
from helm_ase.representation.level import LevelOfTheory
from helm_ase.representation.real_space_matrix import RealSpaceMatrix
from helm_ase.representation.structure import CrystalStructure
from helm_ase.units import HARTREE_IN_EV

SHORTEST_OF_MESH = 14.7
"""Å; with the functions of SZV bases no vector of the mesh's supercell should be shorter."""

LONGER = (1.0, 1.08, 1.16, 1.25, 1.35, 1.45, 1.6)
"""Factors of it that are tried in turn where functions reach farther."""

LARGEST_ALIAS = 5e-6
"""Largest aliasing of S(T); orbital energies between the points of the mesh err by about 3e5 meV times it."""


@dataclass(frozen=True)
class CrystalLabelSettings:
    """What the label of a crystal is made of."""

    level: LevelOfTheory = field(default_factory=crystal_level)
    mesh: tuple[int, int, int] | None = None
    """Γ-centred; None: as coarse as the aliasing of S(T) allows."""
    forces: bool = False
    """By central differences, 6 (N − 1) SCFs."""
    stress: bool = False
    """Whether the stress of bulk is computed, by central differences, which takes 12 SCFs."""
    max_cycles: int = 60
    largest_alias: float = LARGEST_ALIAS
    """Coarser meshes are refused."""

    def __post_init__(self) -> None:
        if self.max_cycles < 1:
            raise SettingError(f"max_cycles is {self.max_cycles}; it must be at least 1")


def label_crystal(
    name: str,
    numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    lattice: Lattice,
    settings: CrystalLabelSettings | None = None,
    split: str = "",
) -> LabelledCrystal:
    """Converge KRKS with Fermi smearing and collect the answers.

    Parameters
    ----------
    name
        Name of the entry.
    numbers, positions, lattice
        The crystal; positions in Å, (N, 3).
    settings
        Level of theory and mesh.
    split
        Split it is meant for.

    Raises
    ------
    SettingError
        If the mesh is too coarse for its k points to say what H(T) is.
    SCFError
        If the SCF does not converge.
    BasisError, StructureError
        If the crystal cannot be set up.
    """
    settings = settings or CrystalLabelSettings()
    begin = time.process_time()
    cell = build_cell(numbers, positions, lattice, settings.level)
    basis = crystal_basis(settings.level, numbers.tolist())
    exact = lattice_integrals(cell, basis, lattice=lattice)
    mesh, alias = fine_enough(exact, lattice, positions, settings)
    if alias > settings.largest_alias:
        raise SettingError(
            f"{name}: on a mesh of {'×'.join(map(str, mesh))} k points S(T) is wrong by {alias:.1g} (limit "
            f"{settings.largest_alias:g}), and so is H(T) between them: take a finer mesh; no vector of its "
            f"supercell should be shorter than {SHORTEST_OF_MESH:g} Å, and diffuse functions need more"
        )
    crystal = CrystalSCF(numbers, positions, lattice, settings.level, mesh, settings.max_cycles)
    mf = crystal.converge()
    vacuum = 0.0 if lattice.dimensions == 3 else vacuum_potential(mf, lattice)
    fock, overlap = fock_and_overlap(mf, mesh)
    smeared = bool(settings.level.smearing)
    return LabelledCrystal(
        name=name,
        numbers=np.asarray(numbers, np.int64),
        positions=np.asarray(positions, np.float64),
        lattice=lattice,
        mesh=mesh,
        fock=fock - vacuum * overlap,
        energy=float(mf.e_zero if smeared else mf.e_tot) * HARTREE_IN_EV,
        free_energy=crystal.free_energy(mf),
        forces=forces_by_differences(crystal, mf) if settings.forces else None,
        stress=stress_by_differences(crystal, mf) if settings.stress and lattice.dimensions == 3 else None,
        split=split,
        details={
            "alias": alias,
            "cycles": int(mf.cycles),
            "cpu_s": round(time.process_time() - begin, 2),
            "vacuum_potential_hartree": vacuum,
        },
    )


def label_crystal_structure(structure: CrystalStructure, settings: CrystalLabelSettings) -> LabelledCrystal:
    """:func:`label_crystal` of a structure, whose details the label keeps."""
    label = label_crystal(
        structure.name, structure.numbers, structure.positions, structure.lattice, settings, structure.split
    )
    return replace(label, details={**structure.details, **label.details})


def fine_enough(
    overlap: RealSpaceMatrix,
    lattice: Lattice,
    positions: NDArray[np.float64],
    settings: CrystalLabelSettings,
) -> tuple[tuple[int, int, int], float]:
    """The mesh that is asked for, or the coarsest that tells S(T); and the error of S(T) on it.

    Parameters
    ----------
    overlap
        S(T) by integrals.
    lattice, positions
        The crystal; positions in Å, (N, 3).
    settings
        Mesh, if one is asked for, and the largest error.
    """
    if settings.mesh is not None:
        return settings.mesh, alias_of(overlap, lattice, positions, settings.mesh)
    for longer in LONGER:
        mesh = mesh_of(lattice, longer * SHORTEST_OF_MESH)
        alias = alias_of(overlap, lattice, positions, mesh)
        if alias <= settings.largest_alias:
            break
    return mesh, alias


def mesh_of(lattice: Lattice, shortest: float = SHORTEST_OF_MESH) -> tuple[int, int, int]:
    """Coarse Γ-centred mesh whose supercell has no vector shorter than ``shortest`` (Å)."""
    lengths = np.linalg.norm(lattice.complete, axis=1)
    n = np.where(lattice.pbc, np.ceil(shortest / lengths - 1e-9), 1).astype(int)
    while lattice.dimensions and _shortest_vector(lattice.supercell(n.tolist())) < shortest:
        n[np.where(lattice.pbc, n * lengths, np.inf).argmin()] += 1
    return int(n[0]), int(n[1]), int(n[2])


def _shortest_vector(lattice: Lattice) -> float:
    reduced = minkowski_reduce(lattice.complete, lattice.pbc)[0][lattice.pbc]
    return float(np.linalg.norm(reduced, axis=1).min())


def alias_of(
    overlap: RealSpaceMatrix, lattice: Lattice, positions: NDArray[np.float64], mesh: Sequence[int]
) -> float:
    """Largest error of S(T) that has gone to a mesh of k points and back; it needs no SCF.

    H reaches about as far as S does for functionals without exact exchange, so this error tells that of H.
    """
    translations, shares = nearest_images(lattice, positions, mesh)
    atom = overlap.basis.atoms_of_functions(overlap.numbers)
    folded: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for t, block in zip(overlap.translations % np.array(mesh), overlap.values, strict=True):
        key = tuple(t.tolist())
        folded[key] = folded.get(key, 0.0) + block
    zero = np.zeros_like(overlap.values[0])
    exact = dict(zip(map(tuple, overlap.translations.tolist()), overlap.values, strict=True))
    back = {
        tuple(t.tolist()): share[np.ix_(atom, atom)] * folded.get(tuple((t % np.array(mesh)).tolist()), zero)
        for t, share in zip(translations, shares, strict=True)
    }
    return max(
        float(np.abs(back.get(t, zero) - exact.get(t, zero)).max()) for t in back.keys() | exact.keys()
    )


def vacuum_potential(mf: Any, lattice: Lattice) -> float:
    """Electrostatic potential energy of an electron far away from the atoms, Hartree.

    PySCF sets the mean over the cell to zero, so that levels depend on how much vacuum there is.  Of a slab
    it is the value where the atoms are farthest.  That of a chain falls off as 1/r², and images are never
    far enough; see :func:`potential_far_from_chain`.

    Parameters
    ----------
    mf
        Converged KRKS of a cell with vacuum, in a box that repeats in all directions.
    lattice
        The directions that are really periodic.
    """
    from pyscf.pbc import tools
    from pyscf.pbc.gto.pseudo import pp

    cell = mf.cell
    mesh = mf._numint.mesh
    density = np.asarray(mf.get_rho()).real.ravel()
    waves = cell.get_Gv(mesh)
    potential = tools.fft(density, mesh) * tools.get_coulG(cell, mesh=mesh)
    weight = cell.vol / len(density)
    ions = -np.einsum("ag,ag->g", cell.get_SI(waves), pp.get_vlocG(cell, waves))
    total = tools.ifft(potential + ions / weight, mesh).real
    if lattice.dimensions == 1:
        curvature = tools.ifft(-(waves**2).sum(1) * tools.fft(total, mesh), mesh).real
        return potential_far_from_chain(total, curvature, _squares_from_chain(cell, mesh, lattice))
    far = _farthest(cell, mesh, lattice)
    return float(total[far].mean())


def potential_far_from_chain(
    potential: NDArray[np.float64], curvature: NDArray[np.float64], squares: NDArray[np.float64]
) -> float:
    """Potential at infinite distance from a chain, from that of all its images, in its unit.

    The mean of V over a cell is that of all images, Σ V₁, and the constant that is wanted.  By Green's
    theorem, ∫ V₁ dx dy = ¼ ∫ r² ∇²V₁ dx dy, and ∇²V lies within the cell.

    Parameters
    ----------
    potential, curvature
        V and ∇²V on a mesh of the cell, (n,).
    squares
        r², distances from the chain's axis on the same mesh, a0², (n,).
    """
    return float(potential.mean() - 0.25 * (squares * curvature).mean())


def _squares_from_chain(cell: Any, mesh: Sequence[int], lattice: Lattice) -> NDArray[np.float64]:
    """Squared distances of grid points from the middle of a chain, normal to it, bohr²."""
    box, away = np.asarray(cell.lattice_vectors()), _away_from_vacuum(cell, mesh)
    inside = (away + 0.5) - np.round(away + 0.5)  # from the middle of the atoms
    return np.asarray((((inside * ~lattice.pbc) @ box) ** 2).sum(1))


def _farthest(cell: Any, mesh: Sequence[int], lattice: Lattice) -> NDArray[np.int64]:
    """Grid points (of the FFT's mesh) in the middle of the widest gap between atoms along every direction
    without periodicity."""
    box, away = np.asarray(cell.lattice_vectors()), _away_from_vacuum(cell, mesh)
    distance = np.linalg.norm((away * ~lattice.pbc) @ box, axis=1)
    return np.flatnonzero(distance <= distance.min() + 1e-6)


def _away_from_vacuum(cell: Any, mesh: Sequence[int]) -> NDArray[np.float64]:
    """Grid points of the FFT's mesh, fractions from the middle of the widest gaps between atoms, −½ to ½."""
    fractions = np.stack(np.meshgrid(*[np.arange(n) / n for n in mesh], indexing="ij"), -1).reshape(-1, 3)
    atoms = np.asarray(cell.atom_coords()) @ np.linalg.inv(np.asarray(cell.lattice_vectors()))
    away = fractions - np.array([_middle_of_widest_gap(x) for x in atoms.T])
    return np.asarray(away - np.round(away))


def _middle_of_widest_gap(places: NDArray[np.float64]) -> float:
    """Middle of the longest stretch of the unit circle without a place, as a fraction."""
    sorted_places = np.sort(places % 1.0)
    gaps = np.diff(sorted_places, append=sorted_places[0] + 1.0)
    return float(sorted_places[gaps.argmax()] + 0.5 * gaps.max())
