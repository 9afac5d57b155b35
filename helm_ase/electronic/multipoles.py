"""Moments of the charge distribution."""

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
    return charges @ positions + electronic_dipole(density, integrals)


def electronic_dipole(density: Tensor, integrals: Tensor) -> Tensor:
    """The electrons' part of it, −Tr(D r), (3,); parameters as in :func:`dipole_moment`."""
    return -torch.einsum("xab,ba->x", integrals, density)


def second_moments(density: Tensor, integrals: Tensor, charges: Tensor, positions: Tensor) -> Tensor:
    """Σ_A Z_A R_x R_y − ⟨r_x r_y⟩ in atomic units, (3, 3), symmetric.

    Parameters
    ----------
    density
        Total density matrix, (A, A).
    integrals
        ⟨μ| r_x r_y |ν⟩ in bohr², same AO order, (3, 3, A, A).
    charges, positions
        As in :func:`dipole_moment`.
    """
    nuclei = torch.einsum("n,nx,ny->xy", charges, positions, positions)
    return nuclei - torch.einsum("xyab,ba->xy", integrals, density)


def traceless(moments: Tensor) -> Tensor:
    """Buckingham's quadrupole ½ (3 Q_xy − δ_xy Tr Q) of second moments Q, (3, 3)."""
    unit = torch.eye(3, dtype=moments.dtype, device=moments.device)
    return 1.5 * moments - 0.5 * unit * moments.trace()
