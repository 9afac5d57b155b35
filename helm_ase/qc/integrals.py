"""Integrals of a PySCF ``Mole``, as the electronic structure asks for them."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.errors import SettingError

CHUNK = 2**24
"""Numbers of three-index integrals held at a time: 128 MiB."""


class MoleIntegrals:
    """Integrals over the functions of a ``Mole`` in PySCF's AO order; atomic units, float64.

    Parameters
    ----------
    mole
        PySCF ``Mole``, spherical functions.
    """

    def __init__(self, mole: Any) -> None:
        self.mole = mole

    @cached_property
    def nuclear_charges(self) -> Tensor:
        """Charges of the nuclei (of the cores where ECPs are used), (N,)."""
        return torch.from_numpy(np.array(self.mole.atom_charges(), dtype=np.float64))

    @cached_property
    def nuclear_positions(self) -> Tensor:
        """Bohr, (N, 3)."""
        return torch.from_numpy(np.array(self.mole.atom_coords()))

    @cached_property
    def atom(self) -> Tensor:
        """Atom of each function, (A,), int64."""
        slices = self.mole.aoslice_by_atom()
        return torch.from_numpy(np.repeat(np.arange(self.mole.natm), slices[:, 3] - slices[:, 2]))

    @cached_property
    def degree(self) -> Tensor:
        """Degree l of each function, (A,), int64."""
        shells = range(self.mole.nbas)
        degrees = [int(self.mole.bas_angular(b)) for b in shells]
        sizes = [(2 * l + 1) * int(self.mole.bas_nctr(b)) for b, l in zip(shells, degrees, strict=True)]
        return torch.from_numpy(np.repeat(degrees, sizes))

    def position(self, origin: Tensor) -> Tensor:
        """⟨μ| r − O |ν⟩, bohr, (3, A, A)."""
        with self.mole.with_common_orig(tuple(origin.tolist())):
            return torch.from_numpy(self.mole.intor_symmetric("int1e_r", comp=3))

    def second_moments(self, origin: Tensor) -> Tensor:
        """⟨μ| (r − O)_x (r − O)_y |ν⟩, bohr², (3, 3, A, A)."""
        with self.mole.with_common_orig(tuple(origin.tolist())):
            moments = torch.from_numpy(self.mole.intor_symmetric("int1e_rr", comp=9))
        return moments.reshape(3, 3, *moments.shape[1:])

    def values(self, points: Tensor) -> Tensor:
        """Functions at points in bohr, (P, 3) → (P, A)."""
        return torch.from_numpy(np.asarray(self.mole.eval_gto("GTOval_sph", _points(points))))

    def attraction(self, points: Tensor, density: Tensor) -> Tensor:
        """Σ_μν D_μν ⟨μ| 1/|r − R_p| |ν⟩ at points in bohr, (P, 3) → (P,), Hartree per charge."""
        places = _points(points)
        step = max(1, CHUNK // self.mole.nao**2)
        parts = [
            torch.einsum(
                "pab,ab->p",
                torch.from_numpy(self.mole.intor("int1e_grids", grids=places[k : k + step])),
                density,
            )
            for k in range(0, len(places), step)
        ]
        return torch.cat(parts) if parts else density.new_zeros(0)


def _points(points: Tensor | NDArray[np.float64] | Sequence[Sequence[float]]) -> NDArray[np.float64]:
    device = points.device if isinstance(points, Tensor) else "cpu"
    array = np.ascontiguousarray(torch.as_tensor(points, device=device).detach().double().cpu().numpy())
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise SettingError(
            f"points have the shape {array.shape}; finite ones of shape (P, 3) in bohr are needed"
        )
    return array
