"""Observables of a density matrix."""

import torch
from torch import Tensor


def dipole_moment(density: Tensor, integrals: Tensor, charges: Tensor, positions: Tensor) -> Tensor:
    """Dipole moment in atomic units, shape (3,).

    Parameters
    ----------
    density
        Total density matrix, shape (A, A).
    integrals
        ⟨μ| r |ν⟩ in bohr, same AO order, shape (3, A, A).
    charges
        Charges of the nuclei (of the cores where ECPs are used), shape (N,).
    positions
        Bohr, same origin as the integrals, shape (N, 3).  For a charged molecule the dipole depends on it.
    """
    return charges @ positions - torch.einsum("xab,ba->x", integrals, density)


def mulliken_charges(density: Tensor, overlap: Tensor, charges: Tensor, offsets: Tensor) -> Tensor:
    """Mulliken charges in e, shape (N,).

    Parameters
    ----------
    density, overlap
        Shape (A, A), same AO order.
    charges
        Charges of the nuclei, shape (N,).
    offsets
        First AO of every atom and, last, A; shape (N + 1,).
    """
    populations = (density * overlap).sum(1)  # (A,)
    total = torch.cat([populations.new_zeros(1), populations.cumsum(0)])
    return charges - (total[offsets[1:]] - total[offsets[:-1]])
