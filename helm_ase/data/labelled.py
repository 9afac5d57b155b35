"""Labelled molecules and the HDF5 layout in which they are kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM


@dataclass(frozen=True)
class LabelledMolecule:
    """One geometry with its DFT answers."""

    name: str
    """Entry in the file."""
    numbers: NDArray[np.int64]
    """Atomic numbers, shape (N,)."""
    positions: NDArray[np.float64]
    """Å, shape (N, 3)."""
    energy: float
    """Total energy, eV."""
    forces: NDArray[np.float64]
    """eV/Å, shape (N, 3)."""
    hamiltonian: NDArray[np.float64]
    """Converged Kohn–Sham matrix, Hartree, PySCF AO order, shape (A, A)."""
    dipole: NDArray[np.float64]
    """Atomic units, shape (3,)."""
    smiles: str = ""
    """Canonical SMILES, dimers joined by '.'."""
    split: str = "train"
    """``train`` or ``val``."""


def read_labelled(path: str | Path, split: str | None = None) -> Iterator[LabelledMolecule]:
    """Iterate over the molecules of a file, sorted by name.

    The layout is one group per structure with ``numbers``, ``positions`` (Å), ``forces`` (Eh/a0),
    ``dipole``, ``hamiltonian_tril`` (Eh, row-major lower triangle, PySCF AO order) and the attributes
    ``energy`` (Eh), ``smiles`` and ``split``.

    Raises
    ------
    DatasetError
        If the file or an entry cannot be read; the message names both.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(f"{path} is not a readable HDF5 file: {error}") from error
    with file:
        for name in sorted(file):
            try:
                if split is None or str(file[name].attrs["split"]) == split:
                    yield _entry(name, file[name])
            except (KeyError, ValueError, TypeError) as error:
                raise DatasetError(f"{path}, entry {name}: {error}") from error


def _entry(name: str, group: h5py.Group) -> LabelledMolecule:
    triangle = np.asarray(group["hamiltonian_tril"], dtype=np.float64)
    size = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    if size * (size + 1) // 2 != len(triangle) or not np.isfinite(triangle).all():
        raise ValueError(f"hamiltonian_tril of length {len(triangle)} is no finite lower triangle")
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = triangle
    return LabelledMolecule(
        name=name,
        numbers=np.asarray(group["numbers"], dtype=np.int64),
        positions=np.asarray(group["positions"], dtype=np.float64),
        energy=float(group.attrs["energy"]) * HARTREE_IN_EV,
        forces=np.asarray(group["forces"], dtype=np.float64) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM,
        hamiltonian=matrix + np.tril(matrix, -1).T,
        dipole=np.asarray(group["dipole"], dtype=np.float64),
        smiles=str(group.attrs["smiles"]),
        split=str(group.attrs["split"]),
    )
