"""Density of states with Gaussian broadening, total or projected on atoms or degrees l."""

import math

import torch
from torch import Tensor

from helm_ase.errors import SettingError


def density_of_states(levels: Tensor, weights: Tensor, grid: Tensor, width: float) -> Tensor:
    """Σ_i w_i g(E − ε_i) with normalised Gaussians g.

    Parameters
    ----------
    levels
        Orbital energies, Hartree, (M,).
    weights
        Weight of each orbital, in states, (..., M).
    grid
        Energies at which to evaluate, Hartree, (G,).
    width
        Standard deviation of the Gaussians, Hartree.

    Returns
    -------
    Tensor
        States per Hartree, (..., G).

    Raises
    ------
    SettingError
        If the width is not positive.
    """
    if not width > 0:
        raise SettingError(f"width is {width}; it must be positive")
    distance = (grid[None, :] - levels[:, None]) / width  # (M, G)
    gaussians = torch.exp(-0.5 * distance.square()) / (width * math.sqrt(2 * math.pi))
    return weights @ gaussians


def mulliken_weights(orbitals: Tensor, overlap: Tensor, group: Tensor, count: int) -> Tensor:
    """Mulliken population of each group of functions in each orbital, Σ_μ∈group C_μi (S C)_μi; columns sum to
    1.

    Parameters
    ----------
    orbitals
        Coefficients, (A, M).
    overlap
        (A, A).
    group
        Group of each function, (A,).
    count
        Number of groups.

    Returns
    -------
    Tensor
        (count, M); populations may be slightly negative.
    """
    shares = orbitals * (overlap @ orbitals)
    return shares.new_zeros(count, shares.shape[1]).index_add(0, group, shares)
