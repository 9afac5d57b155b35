"""Orbitals, densities and potential on a regular grid, and as cube files."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io.cube import write_cube as write_ase_cube
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.electronic import ElectronicStructure
from helm_ase.errors import SettingError
from helm_ase.system.atomic_write import whole_file
from helm_ase.units import BOHR_IN_ANGSTROM

CHUNK = 50_000
"""Number of points that are evaluated together."""
MOST_POINTS = 50_000_000
"""Largest number of points of a grid: 400 MB in memory, and more in a file."""
FIELDS = "density, spin density, potential, homo, homo-1, …, lumo, lumo+1, …, or the number of an orbital"


@dataclass(frozen=True)
class Grid:
    """Points on a regular lattice parallel to the axes."""

    origin: NDArray[np.float64]
    """Corner of the grid, Å, (3,)."""
    spacing: float
    """Distance between neighbouring points, Å."""
    counts: tuple[int, int, int]
    """Points along x, y, z."""

    @classmethod
    def around(cls, positions: NDArray[np.float64], spacing: float = 0.2, margin: float = 3.0) -> "Grid":
        """Box that leaves ``margin`` around all atoms; both lengths and positions, (N, 3), in Å.

        Raises
        ------
        SettingError
            If the spacing is not positive, the margin is negative, or the points are too many.
        """
        if not spacing > 0 or not margin >= 0:
            raise SettingError(f"spacing {spacing} must be positive and margin {margin} not negative (Å)")
        if not (np.isfinite(spacing) and np.isfinite(margin)):
            raise SettingError(f"spacing {spacing} and margin {margin} must be finite lengths (Å)")
        low, high = positions.min(0) - margin, positions.max(0) + margin
        with np.errstate(over="ignore"):
            wanted = np.ceil((high - low) / spacing) + 1
            total = float(np.prod(wanted))
        if total > MOST_POINTS:
            raise SettingError(
                f"spacing {spacing} and margin {margin} Å make more than {MOST_POINTS} points: "
                "take a larger spacing or a smaller margin"
            )
        counts, middle = wanted.astype(int), 0.5 * (low + high)
        nx, ny, nz = (int(n) for n in counts)
        return cls(middle - 0.5 * (counts - 1) * spacing, spacing, (nx, ny, nz))

    @property
    def points(self) -> Tensor:
        """In bohr, z fastest, (P, 3)."""
        axes = [o + self.spacing * np.arange(n) for o, n in zip(self.origin, self.counts, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return torch.from_numpy(places / BOHR_IN_ANGSTROM)


def sample_field(
    structure: ElectronicStructure, what: str | int, grid: Grid, spin: int = 0
) -> NDArray[np.float64]:
    """Values of a field on a grid, atomic units, (nx, ny, nz).

    Parameters
    ----------
    structure
        With the integrals of its geometry.
    what
        ``density``, ``spin density``, ``potential`` (of nuclei and electrons; at a nucleus the largest finite
        value of the grid), or an orbital: ``homo``, ``homo-1``, ``lumo+2``, or its number from 0.
    grid
        Where.
    spin
        Spin of the orbital: 0 (α), in which ``homo`` and ``lumo`` are then counted, or 1 (β).

    Raises
    ------
    SettingError
        If there is no such field, orbital or spin.
    """
    function = _function(structure, what, spin)
    points = grid.points
    with torch.no_grad():
        parts = [function(points[k : k + CHUNK]) for k in range(0, len(points), CHUNK)]
    values = torch.cat(parts).numpy().reshape(grid.counts)
    finite = np.isfinite(values)
    return np.where(finite, values, values[finite].max(initial=0.0))


def orbital_index(structure: ElectronicStructure, name: str | int, spin: int = 0) -> int:
    """Number, from 0, of ``homo``, ``homo-1``, ``lumo``, ``lumo+1`` …, or of a number itself.

    Raises
    ------
    SettingError
        If it is no name of an orbital, or there is no such orbital or spin.
    """
    if not 0 <= spin < structure.n_spins:
        raise SettingError(f"spin {spin}: there are spins 0 to {structure.n_spins - 1}")
    count, occupied = structure.orbital_energies.shape[1], structure.occupied[spin]
    match = re.fullmatch(
        r"(?:(homo)(?:-(\d+))?|(lumo)(?:\+(\d+))?|(\d+))", str(name).lower().replace(" ", "")
    )
    if match is None:
        raise SettingError(f"no field {name!r}; there are {FIELDS}")
    if match[5] is not None:
        index = int(match[5])
    else:
        index = occupied - 1 - int(match[2] or 0) if match[1] else occupied + int(match[4] or 0)
    if not 0 <= index < count:
        raise SettingError(
            f"{name} of spin {spin} does not exist: {occupied} of {count} orbitals are occupied"
        )
    return index


def spins_with(structure: ElectronicStructure, name: str | int) -> list[int]:
    """Spins in which the orbital exists; for example, a single electron has no β HOMO.

    Raises
    ------
    SettingError
        If it is not the name of an orbital, or no spin has it.
    """
    spins, reasons = [], []
    for spin in range(structure.n_spins):
        try:
            orbital_index(structure, name, spin)
        except SettingError as error:
            reasons.append(error)
        else:
            spins.append(spin)
    if not spins:
        raise reasons[0]
    return spins


def write_cube(
    path: str | Path,
    atoms: Atoms,
    structure: ElectronicStructure,
    what: str | int,
    spacing: float = 0.2,
    margin: float = 3.0,
    spin: int = 0,
) -> Grid:
    """Write a field as a Gaussian cube file, which appears only when it is complete.

    Parameters
    ----------
    path
        File to write.
    atoms
        Geometry of the structure.
    structure, what, spin
        See :func:`sample_field`.
    spacing, margin
        Distance of points, and space around the atoms, Å.

    Returns
    -------
    Grid
        The points that were sampled.

    Raises
    ------
    SettingError
        If there is no such field, or no such grid.
    """
    grid = Grid.around(atoms.positions, spacing, margin)
    values = sample_field(structure, what, grid, spin)
    box = Atoms(atoms.numbers, atoms.positions, cell=grid.spacing * np.array(grid.counts))
    unit = (
        "Eh/e"
        if str(what).lower() == "potential"
        else "a0^-3"
        if "density" in str(what).lower()
        else "a0^-3/2"
    )
    with whole_file(path) as partial, partial.open("w", encoding="utf8") as file:
        write_ase_cube(file, box, values, origin=grid.origin, comment=f"{what}, {unit}, helm-ase")
    return grid


def _function(structure: ElectronicStructure, what: str | int, spin: int) -> Callable[[Tensor], Tensor]:
    whole = {
        "density": structure.density_at,
        "spin density": structure.spin_density_at,
        "potential": structure.potential_at,
    }
    if (name := str(what).lower()) in whole:
        if spin:
            raise SettingError(f"{name} belongs to no spin, but spin={spin} was given")
        return whole[name]
    index = orbital_index(structure, what, spin)
    return lambda points: structure.orbital_at(points, index, spin)
