"""Labelled molecule: a geometry with the results of a DFT calculation, as stored in label files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError

SYMMETRY_TOLERANCE = 1e-4
"""Largest |M − Mᵀ| that rounding or an unconverged digit explains; matrices come out exactly symmetric."""
OF_ORBITALS = ("overlap", "orbital_energies", "occupations", "density")
"""What a label has only together with its Hamiltonian."""


@dataclass(frozen=True)
class LabelledMolecule:
    """Geometry of a molecule with the DFT results that are available for it.

    Matrices are over the AOs of the molecule in **PySCF's order**.  Quantities of one spin have shape (A, …)
    in a closed shell and (2, A, …), α and β, in an open one.

    ====================================  ==================  ================
    field                                 unit                shape
    ====================================  ==================  ================
    positions                             Å                   (N, 3)
    energy, forces                        eV, eV/Å (ASE's)    –, (N, 3)
    hamiltonian, orbital_energies         Hartree             (A, A), (A,)
    dipole                                e·a0                (3,)
    polarizability                        a0³, coupled        (3, 3)
    mulliken_charges, occupations         e                   (N,), (A,)
    density, overlap                      –                   (A, A)
    ====================================  ==================  ================

    A label without Hamiltonian has energy and forces to learn, and nothing that belongs to orbitals.

    Raises
    ------
    DatasetError
        If a shape does not fit, a number is not finite, a matrix is not symmetric, or a label has neither
        Hamiltonian nor energy.
    """

    name: str
    """Entry in the file."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    hamiltonian: NDArray[np.float64] | None
    """Converged Kohn–Sham matrix, Hartree, (A, A) or (2, A, A); None if only energy and forces are known."""
    charge: int = 0
    """Total charge, e."""
    multiplicity: int = 1
    """2S + 1."""
    energy: float | None = None
    """Total energy, eV."""
    forces: NDArray[np.float64] | None = None
    """eV/Å, (N, 3)."""
    dipole: NDArray[np.float64] | None = None
    """About the origin, atomic units (e·a0), (3,)."""
    overlap: NDArray[np.float64] | None = None
    """S as the file gives it, (A, A); PySCF's where it gives none."""
    orbital_energies: NDArray[np.float64] | None = None
    """Hartree, ascending, (A,) or (2, A)."""
    occupations: NDArray[np.float64] | None = None
    """Electrons in each orbital, (A,) or (2, A)."""
    density: NDArray[np.float64] | None = None
    """Density matrix, (A, A) or (2, A, A)."""
    mulliken_charges: NDArray[np.float64] | None = None
    """e, (N,)."""
    polarizability: NDArray[np.float64] | None = None
    """Static dipole polarizability with the full (coupled) response, atomic units (a0³), (3, 3)."""
    smiles: str = ""
    """Canonical SMILES, parts joined by '.'; empty if unknown."""
    split: str = ""
    """``train``, ``val``, ``test`` or what the file calls it; empty if it names none."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """How it came about (temperature, seed, SCF cycles, …); JSON values."""

    def __post_init__(self) -> None:
        if self.hamiltonian is None:
            self._check_without_orbitals()
        n, a, spin = len(self.numbers), self.functions, () if self.spin_channels == 1 else (2,)
        shapes = {
            "numbers": (n,), "positions": (n, 3), "forces": (n, 3), "dipole": (3,), "overlap": (a, a),
            "hamiltonian": (*spin, a, a), "density": (*spin, a, a), "orbital_energies": (*spin, a),
            "occupations": (*spin, a), "mulliken_charges": (n,), "polarizability": (3, 3),
        }  # fmt: skip
        if n == 0 or (a == 0 and self.hamiltonian is not None):
            raise DatasetError(f"an entry with {n} atoms and {a} orbitals is not a molecule")
        for name, shape in shapes.items():
            self._check(name, shape)
        if self.energy is not None and not np.isfinite(self.energy):
            raise DatasetError(f"energy is {self.energy}")
        if self.multiplicity < 1 or int(self.numbers.min()) < 1 or int(self.numbers.max()) > 118:
            raise DatasetError(
                f"multiplicity {self.multiplicity}, atomic numbers {self.numbers} make no sense"
            )

    def _check_without_orbitals(self) -> None:
        if self.energy is None:
            raise DatasetError("there is neither a Hamiltonian nor an energy")
        if alone := [name for name in OF_ORBITALS if getattr(self, name) is not None]:
            raise DatasetError(f"{', '.join(alone)} without the Hamiltonian")

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        values = getattr(self, name)
        if values is None:
            return
        if values.shape != shape:
            raise DatasetError(
                f"{name} has shape {values.shape}, not {shape} (multiplicity {self.multiplicity})"
            )
        if not np.isfinite(values).all():
            raise DatasetError(f"{name} holds {np.sum(~np.isfinite(values))} values that are not finite")
        if name in ("hamiltonian", "density", "overlap"):
            skew = np.abs(values - values.swapaxes(-1, -2)).max()
            if skew > SYMMETRY_TOLERANCE:
                raise DatasetError(f"{name} is not symmetric: |M − Mᵀ| reaches {skew:.2g}")
            if skew > 0:
                object.__setattr__(self, name, 0.5 * (values + values.swapaxes(-1, -2)))

    @property
    def functions(self) -> int:
        """Number of AOs; 0 without Hamiltonian."""
        return 0 if self.hamiltonian is None or not self.hamiltonian.ndim else self.hamiltonian.shape[-1]

    @property
    def spin_channels(self) -> int:
        """1 for one Hamiltonian, 2 for α and β; without one, 1 for a closed shell."""
        if self.hamiltonian is None:
            return 1 if self.multiplicity == 1 else 2
        return 1 if self.multiplicity == 1 and self.hamiltonian.ndim == 2 else 2

    @property
    def matrices(self) -> NDArray[np.float64]:
        """The Hamiltonian of each spin channel, (s, A, A).

        Raises
        ------
        DatasetError
            If the label has none.
        """
        if self.hamiltonian is None:
            raise DatasetError(f"entry {self.name} has energy and forces, but no Hamiltonian")
        return self.hamiltonian.reshape(-1, *self.hamiltonian.shape[-2:])

    @property
    def determines_hamiltonian(self) -> bool:
        """Whether H is known and follows from geometry and state: not that of a singlet of broken symmetry,
        whose α and β are one of two equal choices.  Without it energy and forces can be learnt."""
        return self.hamiltonian is not None and not self.details.get("broken_symmetry", False)

    @property
    def key(self) -> str:
        """Fingerprint of geometry, charge and multiplicity."""
        return structure_key(self.numbers, self.positions, self.charge, self.multiplicity)

    def without_orbitals(self) -> "LabelledMolecule":
        """Geometry, energy, forces and multipoles alone.

        Raises
        ------
        DatasetError
            If the label has no energy.
        """
        nothing: dict[str, Any] = dict.fromkeys(("hamiltonian", *OF_ORBITALS))
        return replace(self, **nothing)

    def available(self) -> set[str]:
        """Names of the optional quantities that the label has."""
        return {f.name for f in fields(self) if f.default is None and getattr(self, f.name) is not None}


def structure_key(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int = 0, multiplicity: int = 1
) -> str:
    """Fingerprint by which one geometry in one state is recognised, 32 hexadecimal digits.

    Positions count to 1e-6 Å.  Rotated, shifted or renumbered copies have other keys.
    """
    state = np.array([charge, multiplicity, *numbers], dtype=np.int64).tobytes()
    rounded = np.round(np.asarray(positions, dtype=np.float64) * 1e6).astype(np.int64).tobytes()
    return hashlib.sha256(state + rounded).hexdigest()[:32]


def unpack_triangle(triangle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric matrix from its lower triangle, row by row; (A (A + 1) / 2,) → (A, A).

    Raises
    ------
    DatasetError
        If the length is that of no triangle.
    """
    size = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    if size * (size + 1) // 2 != len(triangle):
        raise DatasetError(f"{len(triangle)} numbers are no lower triangle")
    matrix = np.zeros((size, size))
    rows, columns = np.tril_indices(size)
    matrix[rows, columns] = triangle
    matrix[columns, rows] = triangle
    return matrix


def pack_triangle(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangle of a symmetric matrix, row by row; (A, A) → (A (A + 1) / 2,)."""
    return matrix[np.tril_indices(len(matrix))]
