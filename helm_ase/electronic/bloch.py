"""From H(T) to H(k) at any k, and from H(k) on a mesh back to H(T).

H(k) = Σ_T exp(2πi k · T) H(T), k fractional, T integer, no phase for positions inside the cell: the
convention of PySCF.  torch, double precision, differentiable both ways.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.errors import BasisError
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.lattice import Lattice, nearest_images
from helm_ase.representation.real_space_matrix import RealSpaceMatrix

CHUNK_BYTES = 2**26
"""Memory in bytes up to which the matrices of several k points are computed together."""

LARGEST_IMAGINARY = 1e-6
"""Largest imaginary part, Hartree, that the blocks of a real operator may have after transformation from a
mesh."""


@dataclass(frozen=True)
class LatticeOperator:
    """Blocks of a real operator as tensors, with gradients."""

    translations: Tensor
    """Integers, (n_T, 3)."""
    values: Tensor
    """(n_T, A, A), Hartree for H; H(−T) = H(T)ᵀ."""

    def __post_init__(self) -> None:
        t, v = self.translations, self.values
        if t.ndim != 2 or t.shape[1] != 3 or v.ndim != 3 or len(v) != len(t) or v.shape[1] != v.shape[2]:
            raise BasisError(
                f"translations {tuple(t.shape)} and blocks {tuple(v.shape)} do not fit; "
                f"(n_T, 3) and (n_T, A, A) are needed"
            )

    @classmethod
    def of(cls, matrix: RealSpaceMatrix) -> "LatticeOperator":
        """Copy a matrix into tensors."""
        return cls(torch.tensor(matrix.translations), torch.tensor(matrix.values))

    @property
    def size(self) -> int:
        """Functions A of a cell."""
        return self.values.shape[1]

    def at(self, kpts: Tensor) -> Tensor:
        """H(k), complex, Hermitian to the last bit, (K, A, A); ``kpts`` fractional, (K, 3)."""
        return bloch_sum(self.translations, self.values, kpts)


def bloch_sum(translations: Tensor, values: Tensor, kpts: Tensor) -> Tensor:
    """H(k) = ½ Σ_T [exp(2πi k · T) H(T) + its adjoint], Hermitian to the last bit whatever the rounding.

    Parameters
    ----------
    translations
        Integers, (n_T, 3), closed under T → −T.
    values
        Real blocks, (n_T, A, A), H(−T) = H(T)ᵀ.
    kpts
        Fractional, (K, 3).

    Returns
    -------
    Tensor
        complex128, (K, A, A), in the unit of the blocks.
    """
    angle = phases(kpts, translations)
    flat = values.to(torch.float64).flatten(1)
    size = values.shape[1]
    real = (angle.cos() @ flat).view(-1, size, size)
    imaginary = (angle.sin() @ flat).view(-1, size, size)
    return torch.complex(0.5 * (real + real.mT), 0.5 * (imaginary - imaginary.mT))


def phases(kpts: Tensor, translations: Tensor) -> Tensor:
    """2π k · T between −π and π, (K, n_T): whole turns are taken off before π comes in."""
    t = translations.to(torch.float64)
    turns = kpts.to(t) @ t.T
    return 2 * math.pi * (turns - turns.round())


def chunks(kpts: Tensor, size: int) -> Iterator[Tensor]:
    """Cut k points, (K, 3), into groups whose complex (A, A) matrices fit into ``CHUNK_BYTES``."""
    yield from kpts.split(max(1, CHUNK_BYTES // (16 * size**2)))


def inverse_bloch_sum(
    matrices: Tensor, mesh: KMesh, lattice: Lattice, positions: NDArray[np.float64], atom: Tensor
) -> LatticeOperator:
    """H(T) = (1/N) Σ_k exp(−2πi k · T) H(k) on Wigner–Seitz images: the operator between the mesh's points.

    Without the images, with T from 0 to n − 1, the sum still returns H(k) on the mesh, but is wrong by
    electronvolts between its points.

    Parameters
    ----------
    matrices
        At the points of the mesh (those that time reversal leaves), complex, (K, A, A).
    mesh
        The points.
    lattice, positions
        Lattice and positions of the crystal, positions in Å, (N, 3), in the cell in which the matrices were
        made.
    atom
        Atom that each function sits on, (A,).

    Returns
    -------
    LatticeOperator
        Its Bloch sum at the points of the mesh is ``matrices`` again.

    Raises
    ------
    BasisError
        If shapes do not fit, or the blocks are not real: H(−k) is not the complex conjugate of H(k).
    """
    if matrices.ndim != 3 or len(matrices) != len(mesh.kpts):
        raise BasisError(f"{tuple(matrices.shape)} are no matrices at {len(mesh.kpts)} k points")
    images, weights = nearest_images(lattice, positions, mesh.size)
    translations, shares = torch.tensor(images), torch.tensor(weights)
    full = mesh.unfold(matrices.to(torch.complex128)).flatten(1)
    angle = phases(mesh.points, translations).T  # (n_T, N)
    turn = torch.polar(torch.ones_like(angle), -angle) / len(mesh.points)
    blocks = (turn @ full).view(-1, *matrices.shape[1:])
    if (left := float(blocks.imag.detach().abs().max())) > LARGEST_IMAGINARY:
        raise BasisError(
            f"the blocks H(T) have an imaginary part of {left:.2g} Eh; H(−k) must be the complex conjugate "
            f"of H(k): no spin–orbit coupling, no magnetic field, functions without a phase"
        )
    return LatticeOperator(translations, shares[:, atom][:, :, atom] * blocks.real)
