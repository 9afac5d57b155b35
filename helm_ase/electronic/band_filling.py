"""Filling of bands: Fermi level, occupations and entropy for smeared levels with k-point weights.

A level at x = (μ − ε) / width is filled to f(x): Fermi–Dirac, width kT: 1 / (1 + e^(−x)); Gaussian:
½ erfc(−x).  Both are symmetric, 1 − f(x) = f(−x), which keeps the Fermi level of an insulator exact however
small the width: electrons above the gap balance holes below, as logarithms.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import entr, expit, log_expit, log_ndtr, logsumexp, ndtr

from helm_ase.errors import ChargeError, SettingError

Smearing = Literal["fermi-dirac", "gaussian"]

WHOLE = 1e-9
"""Number of electrons below which a remainder counts as rounding, so that bands are completely filled."""

DEGENERATE = 1e-7
"""Energy difference in Hartree below which levels count as degenerate: without smearing, electrons that do
not fill all of them are distributed evenly."""


@dataclass(frozen=True)
class Filling:
    """Occupations of levels between 0 and 1, with the Fermi level and the entropy."""

    occupations: NDArray[np.float64]
    fermi_level: float
    """Hartree; the middle of the gap where the width goes to zero, ±inf if all levels are full or empty."""
    slopes: NDArray[np.float64]
    """df/dε at a fixed Fermi level, 1/Hartree."""
    entropy: float
    """Σ w s, per electron that a full level holds; the free energy is E − width × entropy.  Dimensionless."""


def fill(
    levels: NDArray[np.float64],
    weights: NDArray[np.float64],
    filled: float,
    width: float = 0.0,
    smearing: Smearing = "fermi-dirac",
) -> Filling:
    """Fill levels with ``filled`` = Σ w f.

    Parameters
    ----------
    levels
        Hartree, any shape; +inf for what is not a level.
    weights
        Weights of each level, same shape.
    filled
        Bands' worth of electrons.
    width
        Hartree: kT, or Gauss' width (√2 standard deviations); 0: the lowest levels are full.
    smearing
        Distribution.

    Raises
    ------
    ChargeError
        If there are not enough levels.
    SettingError
        If the width is negative, or there is no such smearing.
    """
    if smearing not in get_args(Smearing):
        raise SettingError(f"{smearing!r} is not a smearing; there are {', '.join(get_args(Smearing))}")
    if not 0 <= width < float("inf"):
        raise SettingError(f"smearing is {width}; a width in Hartree, 0 or more, is needed")
    order = np.argsort(levels, axis=None, kind="stable")
    e, w = levels.ravel()[order], weights.ravel()[order]
    e, w = e[np.isfinite(e)], w[: np.isfinite(e).sum()]
    if not -WHOLE <= filled <= w.sum() + WHOLE:
        raise ChargeError(f"electrons for {filled:g} full bands do not fit into {w.sum():g} bands")
    mu = _fermi_level(e, w, filled, width, smearing)
    if width == 0:
        flat, slope, s = _aufbau(e, w, filled), np.zeros_like(e), 0.0
    else:
        flat, slope, s = _smeared(e, w, (mu - e) / width, width, smearing)
    shaped = np.zeros((2, levels.size))
    shaped[:, order[: len(e)]] = flat, slope
    return Filling(shaped[0].reshape(levels.shape), mu, shaped[1].reshape(levels.shape), s)


def _smeared(
    e: NDArray[np.float64], w: NDArray[np.float64], x: NDArray[np.float64], width: float, smearing: Smearing
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Occupations, slopes and Σ w s at x = (μ − ε) / width."""
    if smearing == "fermi-dirac":
        f, hole = expit(x), expit(-x)
        return f, -f * hole / width, float(w @ (entr(f) + entr(hole)))
    bell = np.exp(-(x**2)) / math.sqrt(math.pi)
    return ndtr(math.sqrt(2) * x), -bell / width, float(w @ bell / 2)


def _cut(w: NDArray[np.float64], filled: float) -> tuple[int, float]:
    """Levels that are full at zero width, and what is left for the next one, in units of Σ w f."""
    total = np.concatenate([[0.0], np.cumsum(w)])
    n = int(np.searchsorted(total, filled + WHOLE, side="right")) - 1
    rest = filled - total[n]
    return n, float(rest) if rest > WHOLE else 0.0


def _fermi_level(
    e: NDArray[np.float64], w: NDArray[np.float64], filled: float, width: float, smearing: Smearing
) -> float:
    n, rest = _cut(w, filled)
    if n == 0 and not rest:
        return float("-inf")
    if n == len(e):
        return float("inf")
    if width == 0:
        return float(e[n] if rest else 0.5 * (e[n - 1] + e[n]))
    low, high = e[0] - 50 * width, e[-1] + 50 * width
    if rest:
        f = expit if smearing == "fermi-dirac" else lambda x: ndtr(math.sqrt(2) * x)
        return float(
            brentq(lambda mu: float(w @ f((mu - e) / width)) - filled, low, high, xtol=1e-15, rtol=1e-15)
        )
    log_f = log_expit if smearing == "fermi-dirac" else lambda x: log_ndtr(math.sqrt(2) * x)

    def excess(mu: float) -> float:
        """Logarithm of the number of electrons above the cut minus that of the holes below it."""
        above = logsumexp(log_f((mu - e[n:]) / width), b=w[n:])
        return float(above - logsumexp(log_f((e[:n] - mu) / width), b=w[:n]))

    return float(brentq(excess, low, high, xtol=1e-15, rtol=1e-15))


def _aufbau(e: NDArray[np.float64], w: NDArray[np.float64], filled: float) -> NDArray[np.float64]:
    n, rest = _cut(w, filled)
    f = np.zeros_like(e)
    f[:n] = 1.0
    if n < len(e) and (rest or (n and e[n] - e[n - 1] < DEGENERATE)):
        same = np.abs(e - e[n]) < DEGENERATE
        before = float(w[:n][same[:n]].sum())
        f[same] = (before + rest) / w[same].sum()
    return f
