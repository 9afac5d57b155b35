"""Which atoms or shells the levels of a crystal belong to: Mulliken populations at k points.

The population of a group of functions g in a level i at k is Re Σ_μ∈g C*_μi (S C)_μi; over all groups it is
one.  With occupations it gives charges, with a broadening the projected density of states.  No gradients:
populations depend on single orbitals.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from helm_ase.electronic.band_levels import solve
from helm_ase.electronic.bands import Bands
from helm_ase.electronic.bloch import LatticeOperator, chunks
from helm_ase.representation.overlap import OVERLAP_THRESHOLD


@torch.no_grad()
def band_populations(
    hamiltonians: Sequence[LatticeOperator],
    overlap: LatticeOperator | None,
    kpts: Tensor,
    group: Tensor,
    threshold: float = OVERLAP_THRESHOLD,
) -> Tensor:
    """Population of each group of functions in each level.

    Parameters
    ----------
    hamiltonians
        One, or those of α and β electrons; Hartree.
    overlap
        Overlap of the same functions; None: they are orthonormal.
    kpts
        Fractional, (K, 3).
    group
        Group of each function, whole numbers from 0, (A,).
    threshold
        Directions with a smaller eigenvalue of S(k) are dropped, as for the levels.

    Returns
    -------
    Tensor
        (s, K, G, A), in the order of the levels; over the G groups they sum to one, to zero for levels that
        were dropped.  Single ones may be slightly negative.

    Raises
    ------
    BasisError
        If S(k) is not an overlap.
    """
    count = int(group.max()) + 1
    spins = []
    for h in hamiltonians:
        parts = []
        for k in chunks(kpts, h.size):
            s = None if overlap is None else overlap.at(k)
            _, c = solve(h.at(k), s, threshold)  # (K, A, A)
            shares = (c.conj() * (c if s is None else s @ c)).real
            parts.append(shares.new_zeros(len(k), count, h.size).index_add(1, group, shares))
        spins.append(torch.cat(parts))
    return torch.stack(spins)


def electrons_of_groups(bands: Bands, populations: Tensor) -> Tensor:
    """Electrons of each group in a cell, (G,).

    Parameters
    ----------
    bands
        Levels and occupations on a mesh.
    populations
        From :func:`band_populations` at the points of the mesh, (s, K, G, A).

    Raises
    ------
    SettingError
        If they belong to other levels.
    """
    bands.check_populations(populations)
    filled = bands.weights[None, :, None] * bands.occupations  # (s, K, A)
    return torch.einsum("ska,skga->g", filled, populations)
