"""H(T) over orthonormal functions, for programs that know no overlap."""

import numpy as np
import torch
from numpy.typing import NDArray

from helm_ase.electronic.bloch import LatticeOperator, inverse_bloch_sum
from helm_ase.errors import BasisError
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.overlap import OVERLAP_THRESHOLD
from helm_ase.representation.real_space_matrix import RealSpaceMatrix

DENSITY = 6.0
"""Points per 1/Å of the mesh of which the orthonormal functions are made."""


def orthogonalised(
    hamiltonian: RealSpaceMatrix,
    overlap: RealSpaceMatrix,
    lattice: Lattice,
    positions: NDArray[np.float64],
    mesh: KMesh | None = None,
) -> RealSpaceMatrix:
    """H(T) over Löwdin's orthonormal functions, of all bases the nearest to the given one.

    S(k)^-1/2 H(k) S(k)^-1/2 on a mesh of k points, taken to real space on Wigner–Seitz images: levels at the
    points of the mesh are those of H and S, between them they approach them as the mesh becomes finer.

    Parameters
    ----------
    hamiltonian, overlap
        H(T), Hartree, and S(T) over the same functions in the same order.
    lattice, positions
        Lattice and positions of the crystal, positions in Å, (N, 3).
    mesh
        With time reversal; None: at least ``DENSITY`` points per 1/Å.

    Raises
    ------
    BasisError
        If the functions are linearly dependent at a point of the mesh, or do not fit each other.

    References
    ----------
    Löwdin, J. Chem. Phys. 18, 365 (1950).
    """
    if overlap.basis != hamiltonian.basis or overlap.order != hamiltonian.order:
        raise BasisError("H and S are over different functions, or list them in different orders")
    mesh = mesh or KMesh.of_density(lattice, DENSITY)
    h, s = (LatticeOperator.of(m).at(mesh.kpts) for m in (hamiltonian, overlap))
    eigenvalues, vectors = torch.linalg.eigh(s)
    if (least := float(eigenvalues.min())) < OVERLAP_THRESHOLD:
        raise BasisError(
            f"S(k) has an eigenvalue of {least:.1e}: functions that are linearly dependent cannot be made "
            f"orthonormal; take a smaller basis"
        )
    root = (vectors * eigenvalues.rsqrt()[:, None]) @ vectors.mH
    atom = torch.from_numpy(hamiltonian.basis.atoms_of_functions(hamiltonian.numbers))
    made = inverse_bloch_sum(root @ h @ root, mesh, lattice, positions, atom)
    return RealSpaceMatrix(
        made.translations.numpy(), made.values.numpy(), hamiltonian.numbers, hamiltonian.basis,
        hamiltonian.order,
    )  # fmt: skip
