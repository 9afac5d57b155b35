"""Fractional occupations: the Fermi–Dirac distribution at a given number of electrons."""

import torch
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp
from torch import Tensor

from helm_ase.errors import ChargeError


def fermi_occupations(levels: Tensor, electrons: int, temperature: float) -> tuple[Tensor, float]:
    """Occupations between 0 and 1 of the orbitals of one spin, and the chemical potential.

    Parameters
    ----------
    levels
        Orbital energies, Hartree, (M,); no gradient is taken.
    electrons
        Σ of the occupations.
    temperature
        kT in Hartree, positive.

    Returns
    -------
    tuple
        f_i = 1 / (1 + exp((ε_i − μ) / kT)), (M,), and μ in Hartree.

    Raises
    ------
    ChargeError
        If there are more electrons than orbitals.
    """
    e = levels.detach().double().cpu().numpy()
    if not 0 <= electrons <= len(e):
        raise ChargeError(f"{electrons} electrons of one spin do not fit into {len(e)} orbitals")
    if electrons in (0, len(e)):
        full = torch.full_like(levels.detach(), float(electrons > 0))
        return full, float("-inf") if electrons == 0 else float("inf")
    low, high = e[0] - 50 * temperature, e[-1] + 50 * temperature
    n = electrons

    def excess(mu: float) -> float:
        """Logarithm of the electrons above the n-th level minus that of the holes below, accurate at any
        temperature."""
        above = logsumexp(log_expit((mu - e[n:]) / temperature))
        return float(above - logsumexp(log_expit((e[:n] - mu) / temperature)))

    centre = brentq(excess, low, high, xtol=1e-15, rtol=1e-15)
    return torch.from_numpy(expit((centre - e) / temperature)).to(levels.device), float(centre)


def entropy(occupations: Tensor, weight: float) -> Tensor:
    """−w Σ f ln f + (1 − f) ln (1 − f), in units of Boltzmann's constant, (); f between 0 and 1.

    Parameters
    ----------
    occupations
        Occupations of one spin, (M,).
    weight
        Electrons that a full orbital holds: 2 in a closed shell, 1 for each spin of an open one.
    """
    entropy: Tensor = torch.special.entr(occupations) + torch.special.entr(1 - occupations)
    return weight * entropy.sum()
