"""Labelled crystal: a periodic structure with the results of a DFT calculation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.labelled import structure_key
from helm_ase.representation.lattice import Lattice

LARGEST_SKEW = 1e-6
"""Hartree; F(k) may differ so much from its adjoint, and is averaged with it."""


@dataclass(frozen=True)
class LabelledCrystal:
    """One closed-shell crystal; F(k) over the functions of a cell in **PySCF's order**.

    The zero of energy of F is the potential in the vacuum beside chains and slabs.  In bulk there is no
    vacuum, and it is the mean of the electrostatic potential over the cell.

    Raises
    ------
    DatasetError
        If a shape does not fit, a number is not finite, or a matrix is not Hermitian.
    """

    name: str
    """Entry in the file."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    lattice: Lattice
    """Cell and periodic directions."""
    mesh: tuple[int, int, int]
    """Γ-centred mesh of k points; 1 where there is no periodicity."""
    fock: NDArray[np.complex128]
    """Kohn–Sham matrix at the points that time reversal leaves, ``KMesh.kpts``, Hartree, (K, A, A)."""
    energy: float | None = None
    """Extrapolated to zero smearing, as ASE's ``energy``, eV per cell."""
    free_energy: float | None = None
    """Energy − T S, to which forces and stress belong, eV per cell."""
    forces: NDArray[np.float64] | None = None
    """eV/Å, (N, 3)."""
    stress: NDArray[np.float64] | None = None
    """eV/Å³, (3, 3), positive under tension, as ASE's."""
    split: str = ""
    """``train``, ``val``, ``test`` or what the file calls it."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """How it came about; JSON values."""

    def __post_init__(self) -> None:
        n, fock = len(self.numbers), np.asarray(self.fock, dtype=np.complex128)
        points, size = len(self.k_mesh.kpts), fock.shape[-1] if fock.ndim else 0
        if n == 0 or size == 0:
            raise DatasetError(f"an entry with {n} atoms and {size} functions is not a crystal")
        shapes = {"positions": (n, 3), "forces": (n, 3), "stress": (3, 3), "fock": (points, size, size)}
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise DatasetError(f"{name} has shape {values.shape}, not {shape} (mesh {self.mesh})")
            if values is not None and not np.isfinite(values).all():
                raise DatasetError(f"{name} holds values that are not finite")
        if any(m != 1 for m, periodic in zip(self.mesh, self.lattice.pbc, strict=True) if not periodic):
            raise DatasetError(f"mesh {self.mesh} has points along directions that are not periodic")
        adjoint = fock.conj().swapaxes(1, 2)
        if (skew := float(np.abs(fock - adjoint).max())) > LARGEST_SKEW:
            raise DatasetError(f"F(k) is not Hermitian: it differs from its adjoint by {skew:.2g}")
        object.__setattr__(self, "fock", 0.5 * (fock + adjoint))

    @property
    def k_mesh(self) -> KMesh:
        """The mesh that ``fock`` belongs to."""
        return KMesh.gamma_centred(self.mesh)

    @property
    def key(self) -> str:
        """Fingerprint of geometry and lattice."""
        return crystal_key(self.numbers, self.positions, self.lattice)


def crystal_key(numbers: NDArray[np.integer], positions: NDArray[np.float64], lattice: Lattice) -> str:
    """Fingerprint by which one crystal in one description is recognised, 32 hexadecimal digits."""
    vectors = np.where(lattice.pbc[:, None], lattice.cell, 0.0)
    state = np.concatenate([np.asarray(numbers, np.int64), lattice.pbc.astype(np.int64)])
    return structure_key(state, np.concatenate([positions, vectors]))
