"""Bands of a crystal from H(T) and S(T): Fermi level, band energy, gaps, density of states.

torch, double precision, no PySCF.  Energies have exact gradients with respect to H(T), also where bands
cross.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.electronic.band_filling import Filling, Smearing, fill
from helm_ase.electronic.band_levels import levels_at
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.electronic.density_of_states import density_of_states
from helm_ase.errors import ChargeError, SettingError
from helm_ase.representation.kpoints import KMesh
from helm_ase.representation.overlap import OVERLAP_THRESHOLD

INDIRECT = 2e-4
"""Hartree: smaller differences between direct and fundamental gap are no reason to call a gap indirect."""


@dataclass(frozen=True)
class Gap:
    """Band gaps at the given k points, Hartree; a mesh may miss the true band edges."""

    fundamental: float
    """Energy of the lowest empty orbital less that of the highest occupied one, at any k points, Hartree;
    zero in a metal."""
    direct: float
    """The smallest difference between the two at one k point; a semimetal may have one."""
    highest_occupied: int
    """k point of the highest occupied level."""
    lowest_empty: int
    """k point of the lowest empty level."""

    @property
    def is_direct(self) -> bool:
        """Whether the smallest direct gap is the fundamental one, within ``INDIRECT``."""
        return self.direct - self.fundamental < INDIRECT


@dataclass(frozen=True)
class Bands:
    """Energy levels of a crystal on a mesh of k points, and their occupations; atomic units, per cell.

    Symbols: s spins (1 closed shell, 2 for α and β, which share one Fermi level), K points, A functions.
    """

    levels: Tensor
    """Hartree, ascending, (s, K, A), +inf for directions without overlap; gradients go to H(T)."""
    weights: Tensor
    """Weights of the k points, (K,), summing to one."""
    electrons: float
    """Number of electrons in a cell."""
    width: float = 0.0
    """Width of the smearing, Hartree; 0: the lowest levels are full."""
    smearing: Smearing = "fermi-dirac"
    """Distribution of the smearing: Fermi–Dirac or Gaussian."""

    def __post_init__(self) -> None:
        if self.levels.ndim != 3 or len(self.levels) not in (1, 2):
            raise SettingError(f"levels of shape {tuple(self.levels.shape)}; (spins, K, A) is needed")
        if self.weights.shape != self.levels.shape[1:2] or abs(float(self.weights.sum()) - 1) > 1e-9:
            raise SettingError("the weights of the k points must be one for each, and sum to one")
        if not 0 <= self.electrons < float("inf"):
            raise ChargeError(f"{self.electrons} electrons in a cell; 0 or more are needed")

    @classmethod
    def solve(
        cls,
        hamiltonians: Sequence[LatticeOperator],
        overlap: LatticeOperator | None,
        mesh: KMesh,
        electrons: float,
        width: float = 0.0,
        smearing: Smearing = "fermi-dirac",
        threshold: float = OVERLAP_THRESHOLD,
    ) -> Self:
        """Solve the eigenvalue problem at the points of a mesh.

        Parameters
        ----------
        hamiltonians
            One, or those of α and β electrons; Hartree.
        overlap
            Overlap of the same functions; None: they are orthonormal.
        mesh
            Points and their weights.
        electrons
            In a cell (without those of pseudopotentials).
        width, smearing
            See :func:`~helm_ase.electronic.band_filling.fill`.
        threshold
            Directions with a smaller eigenvalue of S(k) are dropped.

        Raises
        ------
        BasisError
            If H and S do not fit each other, or S(k) is not an overlap.
        ChargeError
            If the electrons do not fit into the bands.
        PredictionError
            If a matrix element is not finite.
        SettingError
            If width or smearing make no sense.
        """
        levels = torch.stack([levels_at(h, overlap, mesh.kpts, threshold) for h in hamiltonians])
        bands = cls(levels, mesh.weights, electrons, width, smearing)
        bands.filling  # noqa: B018  # refuses what cannot be filled, here and not later
        return bands

    @property
    def capacity(self) -> int:
        """Electrons that a full level holds: 2 in a closed shell, 1 for each spin of an open one."""
        return 2 // len(self.levels)

    @cached_property
    def _weights(self) -> Tensor:
        return self.weights.to(self.levels.device)[None, :, None].expand_as(self.levels)

    @cached_property
    def filling(self) -> Filling:
        """Occupations, Fermi level and entropy, as fractions of the capacity."""
        levels, weights = self.levels.detach().cpu().numpy(), self._weights.cpu().numpy()
        return fill(levels, weights, self.electrons / self.capacity, self.width, self.smearing)

    @property
    def fermi_level(self) -> float:
        """Fermi level, Hartree; for an insulator, the middle of the gap in the limit of zero smearing."""
        return self.filling.fermi_level

    @property
    def occupations(self) -> Tensor:
        """Electrons in each level, without gradient, (s, K, A)."""
        return self.capacity * torch.from_numpy(self.filling.occupations).to(self.levels.device)

    @property
    def entropy(self) -> float:
        """Entropy of the smearing per cell in units of Boltzmann's constant (generalised, for Gaussians)."""
        return self.capacity * self.filling.entropy

    # -- energies -------------------------------------------------------------------------------------

    @property
    def band_energy(self) -> Tensor:
        """Σ w f ε, Hartree per cell, (); its gradient includes the change of the occupations."""
        finite = torch.isfinite(self.levels)
        e = torch.where(finite, self.levels, 0.0)
        fixed = e.detach()
        f = self._weights * self.occupations
        slope = self._weights * self.capacity * torch.from_numpy(self.filling.slopes).to(e.device)
        total = slope.sum()
        centre = (slope * fixed).sum() / total if float(total) < 0 else 0.0
        moved = slope * (fixed - centre)
        return (f * e).sum() + (moved * (e - fixed)).sum()

    @property
    def free_energy(self) -> Tensor:
        """Band energy − width × entropy, Hartree per cell, (): variational in the occupations."""
        e = torch.where(torch.isfinite(self.levels), self.levels, 0.0)
        return (self._weights * self.occupations * e).sum() - self.width * self.entropy

    # -- gaps and curves ------------------------------------------------------------------------------

    @property
    def gap(self) -> Gap:
        """Gaps among the points of the mesh.

        Raises
        ------
        ChargeError
            If all levels are full, or all empty.
        """
        return gap_of(self.levels.detach(), self.electrons / self.capacity)

    def check_populations(self, populations: Tensor) -> None:
        """Refuse populations, (s, K, P, A), of other levels.

        Raises
        ------
        SettingError
            If their shape does not fit.
        """
        spins, points, size = self.levels.shape
        if populations.ndim != 4 or (*populations.shape[:2], populations.shape[3]) != (spins, points, size):
            raise SettingError(
                f"populations of shape {tuple(populations.shape)} are not those of levels of shape "
                f"{tuple(self.levels.shape)}: take both for the same k points"
            )

    def density_of_states(
        self, grid: Tensor, width: float, populations: Tensor | NDArray[np.float64] | None = None
    ) -> Tensor:
        """Gaussian-broadened density of states, states per Hartree and cell.

        Parameters
        ----------
        grid
            Energies, Hartree, (G,).
        width
            Standard deviation, Hartree.
        populations
            Shares of P groups of functions in the levels, (s, K, P, A), tensor or array, from
            :func:`~helm_ase.electronic.band_populations.band_populations`; None: the total.

        Returns
        -------
        Tensor
            (s, G), or projected on the groups (s, P, G), which has no gradient.

        Raises
        ------
        SettingError
            If the width is not positive, or the populations belong to other levels.
        """
        if populations is not None:
            populations = torch.as_tensor(populations, dtype=torch.float64, device=self.levels.device)
            self.check_populations(populations)
        points = torch.as_tensor(grid, dtype=torch.float64, device=self.levels.device)
        curves = []
        for spin, (levels, weights) in enumerate(zip(self.levels, self._weights, strict=True)):
            real = torch.isfinite(levels)
            states = self.capacity * weights[real]  # (M,)
            if populations is not None:
                states = states * populations[spin].transpose(0, 1)[:, real]  # (P, M)
                levels = levels.detach()
            curves.append(density_of_states(levels[real], states, points, width))
        return torch.stack(curves)


def gap_of(levels: Tensor, filled: float) -> Gap:
    """Gaps of levels, on a mesh or along a path.

    Parameters
    ----------
    levels
        Ascending, Hartree, (s, K, A).
    filled
        Full bands of a cell, summed over the spins.

    Returns
    -------
    Gap
        With the smallest gap over the spins; zero if a band is partly filled, or bands overlap.

    Raises
    ------
    ChargeError
        If all levels are full, or all empty.
    """
    spins, _, size = levels.shape
    if not 0 < filled < spins * size:
        raise ChargeError(f"{filled:g} full bands of {spins * size} leave no gap to speak of")
    joined = levels.movedim(0, 1).flatten(1).sort(1).values  # both spins, ascending at every k
    n = round(filled)
    if abs(filled - n) > 1e-6:
        place = int(joined[:, int(filled)].argmin())
        return Gap(0.0, 0.0, place, place)
    below, above = joined[:, n - 1], joined[:, n]
    top, bottom = int(below.argmax()), int(above.argmin())
    fundamental = max(0.0, float(above[bottom] - below[top]))
    return Gap(fundamental, float((above - below).min()), top, bottom)
