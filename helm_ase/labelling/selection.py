"""Choice of the structures from which a model learns most: uncertain ones that differ from one another."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import SettingError

NOISE = 0.1
"""Ratio of σ to the median uncertainty of the pool, where σ is the uncertainty that remains after
labelling."""
SAME = 1e-4
"""Relative difference of features up to which two structures of one composition are copies: rotated,
renumbered or mirrored ones differ by the rounding of single precision."""


@dataclass(frozen=True)
class Candidates:
    """Uncertainties and features of the M structures of a pool."""

    uncertainty: NDArray[np.float64]
    """u, expected error of the energy, eV/atom, (M,)."""
    features: NDArray[np.float64]
    """φ, whitened features of the last layer, (M, F)."""
    kind: Sequence[Hashable]
    """Composition and state: only structures of one kind can be copies of each other."""


@dataclass(frozen=True)
class Choice:
    """One chosen structure."""

    index: int
    """Place among the candidates."""
    uncertainty: float
    """u, eV/atom."""
    remaining: float
    """Part of u that was left, given the structures chosen before, eV/atom."""


def choose(candidates: Candidates, count: int, diverse: bool = True) -> list[Choice]:
    """The structures most worth labelling, the first the most.

    With diversity, the greedy maximum of

        det(1 + K_S / σ²),   K_ij = u_i u_j φ_i·φ_j / (|φ_i| |φ_j|)

    over sets S: each step takes the structure with the largest variance that is left when those chosen are
    known up to σ,

        v_i = K_ii − K_iS (K_SS + σ²)⁻¹ K_Si,   σ = 0.1 × the median of u.

    This is the greedy mode of a determinantal point process with quality u and similarity φ·φ (Kulesza and
    Taskar, Found. Trends Mach. Learn. 5, 123, 2012; Chen, Zhang and Zhou, NeurIPS 2018).  With φ the features
    whitened over the training set, and u their prediction rigidity, it is the greedy choice of batches in
    Bayesian regression on the last layer (MaxDet of Holzmüller, Zaverkin, Kästner and Steinwart, JMLR 24,
    164, 2023).
    Without diversity, the largest u.  Copies of a chosen structure are never chosen.

    Parameters
    ----------
    candidates
        The pool; where two are equally good the earlier one is taken.
    count
        How many; fewer come back if the pool has no more that differ.
    diverse
        Whether to look at the features at all, copies apart.

    Raises
    ------
    SettingError
        If there are to be fewer than one.
    """
    if count < 1:
        raise SettingError(f"{count} structures to select; there must be at least 1")
    u = candidates.uncertainty
    noise = NOISE * float(np.median(u)) if len(u) else 0.0
    lengths = np.linalg.norm(candidates.features, axis=1, keepdims=True)
    psi = u[:, None] * candidates.features / np.where(lengths > 0, lengths, 1.0)  # (M, F), K = ψψᵀ
    posterior = np.eye(psi.shape[1])
    left = u**2
    free, kinds = np.ones(len(u), dtype=bool), _numbered(candidates.kind)
    chosen: list[Choice] = []
    while free.any() and len(chosen) < count:
        best = int(np.argmax(np.where(free, left, -np.inf)))
        chosen.append(Choice(best, float(u[best]), float(np.sqrt(max(left[best], 0.0)))))
        free &= ~_copies(candidates.features, kinds, best)
        if diverse:
            direction = posterior @ psi[best]
            weight = noise**2 + float(psi[best] @ direction)
            if weight > 0:
                left = left - (psi @ direction) ** 2 / weight
                posterior -= np.outer(direction, direction) / weight
    return chosen


def _numbered(kinds: Sequence[Hashable]) -> NDArray[np.int64]:
    """One number for each kind, (M,)."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(kind, len(known)) for kind in kinds], dtype=np.int64)


def _copies(features: NDArray[np.float64], kinds: NDArray[np.int64], index: int) -> NDArray[np.bool_]:
    """Which structures are a given one over again, itself included, (M,)."""
    alike: NDArray[np.bool_] = np.asarray(kinds == kinds[index], dtype=np.bool_)
    own = features[index]
    distance = np.linalg.norm(features[alike] - own, axis=1)
    alike[alike] = distance <= SAME * np.linalg.norm(own)
    alike[index] = True
    return alike


def whiten(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features in the metric of their own second moments, for a model that has no error bar, (M, F)."""
    moments = features.T @ features / max(len(features), 1)
    ridge = 1e-6 * max(float(np.trace(moments)), 1e-300) / max(len(moments), 1)
    return np.asarray(
        np.linalg.solve(np.linalg.cholesky(moments + ridge * np.eye(len(moments))), features.T).T
    )
