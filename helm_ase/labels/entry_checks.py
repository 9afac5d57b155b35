"""Physical laws that one label must obey: each check is one number and the largest value it may have."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from ase.data import covalent_radii
from numpy.typing import NDArray

from helm_ase.qc.baseline import baseline_hamiltonian
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import basis_of, build_mole, dipole_integrals, overlap
from helm_ase.qc.rebuild import Rebuilt, rebuild
from helm_ase.representation import AOBasis, LabelledMolecule, LevelOfTheory
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

LOW_VIRTUALS = 6
"""Number of virtual orbitals that count as frontier orbitals: about as many as a user looks at."""
ROUNDING = 2.0**-24
"""Relative rounding error of a float32."""
COARSE_GRID = (20, 110)


@dataclass
class Entry:
    """One label and what can be computed from it, each at most once."""

    label: LabelledMolecule
    level: LevelOfTheory

    @cached_property
    def mole(self) -> Any:
        """PySCF molecule at the level's basis."""
        label = self.label
        return build_mole(label.numbers, label.positions, self.level.basis, label.charge, label.multiplicity)

    @cached_property
    def basis(self) -> AOBasis:
        """Shells of its elements."""
        return basis_of(self.mole)

    @cached_property
    def overlap(self) -> NDArray[np.float64]:
        """PySCF's S in PySCF's order, (A, A)."""
        return overlap(self.mole, self.basis).reorder("pyscf").values

    @cached_property
    def matrices(self) -> NDArray[np.float64]:
        """Hamiltonian of each spin channel, (s, A, A)."""
        return self.label.matrices

    @cached_property
    def solutions(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Orbital energies (A,) and orbitals (A, A) of each spin channel."""
        return [scipy.linalg.eigh(h, self.overlap) for h in self.matrices]

    @cached_property
    def occupied(self) -> tuple[int, ...]:
        """Occupied orbitals of each spin channel."""
        return tuple(self.mole.nelec[: self.label.spin_channels])

    @cached_property
    def density(self) -> NDArray[np.float64]:
        """Density matrix of the orbitals of H, both spins together, (A, A)."""
        orbitals = [c[:, :n] for (_, c), n in zip(self.solutions, self.occupied, strict=True)]
        return np.asarray(sum(c @ c.T for c in orbitals) * (2 / len(orbitals)))

    @cached_property
    def level_noise(self) -> NDArray[np.float64]:
        """Scatter of each orbital energy if the matrices were rounded to float32, Hartree, (s, A); otherwise
        zero."""
        h = self.matrices
        if not np.array_equal(h, h.astype(np.float32)):
            return np.zeros(h.shape[:2])
        squares = [c**2 for _, c in self.solutions]
        rows = [
            np.einsum("ji,jk,ki->i", c, 2 / 3 * (m * ROUNDING) ** 2, c)
            for m, c in zip(h, squares, strict=True)
        ]
        deviations: NDArray[np.float64] = np.sqrt(np.stack(rows))
        return deviations

    @cached_property
    def rebuilt(self) -> Rebuilt:
        """What PySCF makes of the density of H."""
        return rebuild(self.label, self.level, forces=self.label.forces is not None)


Measure = Callable[[Entry], float | None]
"""Value of one check; None where the label lacks what it needs."""


@dataclass(frozen=True)
class Check:
    """One law that every label obeys."""

    name: str
    measure: Measure
    allowed: float
    unit: str
    meaning: str
    """Explanation of what is wrong if the check fails."""
    allowed_coarse: float | None = None
    """Limit on integration grids below level 2, if another."""

    def limit(self, level: LevelOfTheory) -> float:
        """Largest value allowed at a level of theory."""
        if level.grid_level < 2 and self.allowed_coarse is not None:
            return self.allowed_coarse
        return self.allowed


def basis_size(entry: Entry) -> float | None:
    """Functions of H less those of the basis; raises where no such molecule exists."""
    functions = entry.mole.nao
    return None if entry.label.hamiltonian is None else float(abs(entry.label.functions - functions))


def closeness(entry: Entry) -> float | None:
    """Largest ratio of the sum of two covalent radii and their distance."""
    if len(entry.label.numbers) < 2:
        return None
    first, second = np.triu_indices(len(entry.label.numbers), 1)
    distances = np.linalg.norm(entry.label.positions[first] - entry.label.positions[second], axis=1)
    radii = covalent_radii[entry.label.numbers]
    return float(np.max((radii[first] + radii[second]) / np.maximum(distances, 1e-6)))


def overlap_difference(entry: Entry) -> float | None:
    """max |S of the file − S of PySCF|."""
    return None if entry.label.overlap is None else float(np.abs(entry.label.overlap - entry.overlap).max())


def _level_differences(entry: Entry, which: Callable[[int], slice]) -> float | None:
    stored = entry.label.orbital_energies
    if stored is None:
        return None
    rows = zip(
        stored.reshape(len(entry.solutions), -1),
        entry.solutions,
        entry.level_noise,
        entry.occupied,
        strict=True,
    )
    # 8 standard deviations of rounding are no disagreement: they only show where S is nearly singular
    return max(
        float(np.max((np.abs(a - e) - 8 * noise)[which(n)], initial=0.0)) for a, (e, _), noise, n in rows
    )


def frontier_levels(entry: Entry) -> float | None:
    """max |stored orbital energy − that from H and S| of the occupied and the lowest virtual orbitals."""
    return _level_differences(entry, lambda n: slice(0, n + LOW_VIRTUALS))


def all_levels(entry: Entry) -> float | None:
    """max |stored orbital energy − that from H and S| of all orbitals."""
    return _level_differences(entry, lambda n: slice(None))


def occupation_sum(entry: Entry) -> float | None:
    """|Σ stored occupations − electrons|, the larger of both spins."""
    if entry.label.occupations is None:
        return None
    sums = entry.label.occupations.reshape(entry.label.spin_channels, -1).sum(1)
    wanted = entry.mole.nelec if len(sums) == 2 else (sum(entry.mole.nelec),)
    return float(np.abs(sums - wanted).max())


def density_trace(entry: Entry) -> float | None:
    """|Tr(D S) − electrons| of the stored density, the larger of both spins."""
    if entry.label.density is None:
        return None
    density = entry.label.density.reshape(-1, *entry.overlap.shape)
    wanted = entry.mole.nelec if len(density) == 2 else (sum(entry.mole.nelec),)
    return float(np.abs(np.einsum("sij,ij->s", density, entry.overlap) - wanted).max())


def density_difference(entry: Entry) -> float | None:
    """Electrons that the stored density places in other orbitals than those of H: ½ ‖S^½ ΔD S^½‖."""
    if entry.label.density is None:
        return None
    stored = entry.label.density.reshape(-1, *entry.overlap.shape).sum(0)
    root = scipy.linalg.sqrtm(entry.overlap).real
    return float(0.5 * np.linalg.norm(root @ (stored - entry.density) @ root))


def dipole_difference(entry: Entry) -> float | None:
    """max |stored dipole − dipole of the density of H|."""
    if entry.label.dipole is None or entry.label.hamiltonian is None:
        return None
    electronic = np.einsum("xij,ij->x", dipole_integrals(entry.mole, entry.basis, "pyscf"), entry.density)
    nuclear = entry.mole.atom_charges() @ (entry.label.positions / BOHR_IN_ANGSTROM)
    return float(np.abs(nuclear - electronic - entry.label.dipole).max())


def mulliken_sum(entry: Entry) -> float | None:
    """|Σ Mulliken charges − charge|."""
    charges = entry.label.mulliken_charges
    return None if charges is None else float(abs(charges.sum() - entry.label.charge))


def spectrum(entry: Entry) -> float | None:
    """max |energy of an occupied orbital − that of superposed atoms|, where nothing stored says more about
    the AO order."""
    label = entry.label
    others = (label.orbital_energies, label.dipole, label.density, label.overlap)
    if label.hamiltonian is None or any(x is not None for x in others):
        return None
    baseline = Baseline("minao", COARSE_GRID) if entry.basis.core_electrons else Baseline("sap")
    atoms = baseline_hamiltonian(entry.mole, entry.basis, entry.level, baseline).reorder("pyscf").values
    reference = scipy.linalg.eigh(atoms, entry.overlap, eigvals_only=True)
    pairs = zip(entry.solutions, entry.occupied, strict=True)
    return max(float(np.max(np.abs(e - reference)[:n], initial=0.0)) for (e, _), n in pairs)


def energy_scale(entry: Entry) -> float | None:
    """|ln| of energy over that of Thomas–Fermi atoms with Scott's and the exchange terms."""
    if entry.label.energy is None or entry.basis.core_electrons:
        return None
    z = entry.label.numbers.astype(float)
    atoms = float(np.sum(-0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)))
    ratio = entry.label.energy / HARTREE_IN_EV / atoms
    return abs(float(np.log(ratio))) if ratio > 0 else float("inf")


def net_force(entry: Entry) -> float | None:
    """|Σ F|, largest component, Hartree/bohr."""
    forces = entry.label.forces
    return (
        None if forces is None else float(np.abs(forces.sum(0)).max() / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM)
    )


def torque(entry: Entry) -> float | None:
    """|Σ (r − centre) × F|, largest component, Hartree."""
    if entry.label.forces is None:
        return None
    arms = entry.label.positions - entry.label.positions.mean(0)
    return float(np.abs(np.cross(arms, entry.label.forces).sum(0)).max() / HARTREE_IN_EV)


def fock_difference(entry: Entry) -> float | None:
    """mean |H − F[D(H)]|."""
    h = entry.label.hamiltonian
    return None if h is None else float(np.abs(entry.rebuilt.fock - h).mean())


def largest_fock_difference(entry: Entry) -> float | None:
    """max |H − F[D(H)]|."""
    h = entry.label.hamiltonian
    return None if h is None else float(np.abs(entry.rebuilt.fock - h).max())


def rebuilt_energy(entry: Entry) -> float | None:
    """|stored energy − E[D(H)]|."""
    energy = entry.label.energy
    if energy is None or entry.label.hamiltonian is None:
        return None
    return abs(energy / HARTREE_IN_EV - entry.rebuilt.energy)


def rebuilt_forces(entry: Entry) -> float | None:
    """max |stored force − force of D(H)|."""
    if entry.label.forces is None or entry.label.hamiltonian is None or entry.rebuilt.forces is None:
        return None
    return float(
        np.abs(entry.label.forces / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM - entry.rebuilt.forces).max()
    )


SETUP = Check(
    "basis size", basis_size, 0, "AOs", "other basis than the level of theory says, or other elements"
)
"""First of all: where it fails, the others mean nothing."""

CHECKS = (
    Check("closest atoms", closeness, 2.0, "radii/distance", "coincident atoms, or another unit"),
    Check("overlap", overlap_difference, 1e-5, "", "other AO order, basis or positions"),
    Check("frontier levels", frontier_levels, 1e-4, "Eh", "H and levels do not belong together, or AO order"),
    Check("all levels", all_levels, 1e-3, "Eh", "H and levels do not belong together, or AO order"),
    Check("occupations", occupation_sum, 1e-6, "e", "charge or multiplicity"),
    Check("density trace", density_trace, 1e-4, "e", "density in another AO order, charge or normalisation"),
    Check("density of H", density_difference, 1e-2, "e", "density and H do not belong together"),
    Check("dipole", dipole_difference, 1e-3, "e*a0", "AO order, charge, unit or origin of the dipole; "
          "below 0.05: an SCF that stopped early at a small gap"),
    Check("Mulliken charges", mulliken_sum, 1e-4, "e", "charge"),
    Check("spectrum", spectrum, 3.0, "Eh", "AO order, unit or sign of H, or a core Hamiltonian"),
    Check("energy", energy_scale, 0.3, "ln(E/atoms)", "unit or reference of the energy"),
    Check("net force", net_force, 1e-3, "Eh/a0", "forces of another geometry, or incomplete", 5e-2),
    Check("torque", torque, 5e-3, "Eh", "forces of another geometry, or in another frame", 0.1),
)  # fmt: skip
"""Cheap: milliseconds a molecule."""

REBUILD_CHECKS = (
    Check("rebuilt Fock, mean", fock_difference, 5e-6, "Eh", "functional, its variant, AO order or charge"),
    Check("rebuilt Fock, max", largest_fock_difference, 1e-3, "Eh", "functional, AO order or charge"),
    Check("rebuilt energy", rebuilt_energy, 1e-4, "Eh", "energy of another level of theory or geometry"),
    Check("rebuilt forces", rebuilt_forces, 5e-4, "Eh/a0", "unit or sign of the forces, or another geometry"),
)  # fmt: skip
"""Decisive: one Fock matrix and one gradient of PySCF each."""
