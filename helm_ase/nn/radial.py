"""Functions of the distance of a pair and of its two elements."""

import torch
from torch import Tensor, nn


class Envelope(nn.Module):
    """Polynomial that decreases from 1 to 0 at the cutoff, with two continuous derivatives.

    The paper has none; without it, energies are discontinuous where a pair crosses the cutoff. The form is
    that of DimeNet (arXiv 2003.03123, Eq. 8) with p = 6.
    """

    def __init__(self, cutoff: float, enabled: bool = True) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.enabled = enabled

    def forward(self, distances: Tensor) -> Tensor:
        """Value for distances of shape (E,) in Å; shape (E,)."""
        if not self.enabled:
            return torch.ones_like(distances)
        x = (distances / self.cutoff).clamp(max=1.0)
        return 1 - x**6 * (28 - 48 * x + 21 * x**2)


class PairEnvelope(Envelope):
    """Factor that damps blocks of two atoms with distance: smooth cutoff times 1 / (1 + exp((d − start) /
    length)).

    H − H0 of labels falls off exponentially with the distance of the atoms, alike for wide and for narrow
    functions, and much more slowly than their overlap: exchange reaches farther.  An output that does not
    fade leaves a small error in every block of distant atoms, and many such errors add up in diffuse
    orbitals.

    Parameters
    ----------
    cutoff, enabled
        Cutoff and switch of the smooth cutoff.
    start
        Distance at which one half is left, Å.
    length
        Length of the exponential, Å; 0: nothing fades.
    """

    def __init__(self, cutoff: float, enabled: bool, start: float, length: float) -> None:
        super().__init__(cutoff, enabled)
        self.start, self.length = start, length

    def forward(self, distances: Tensor) -> Tensor:
        """Value for distances of shape (E,) in Å; shape (E,)."""
        cut = super().forward(distances)
        return cut if not self.length else cut * torch.sigmoid((self.start - distances) / self.length)


class DistanceExpansion(nn.Module):
    """Gaussians of equal width on [0, cutoff]."""

    centres: Tensor

    def __init__(self, cutoff: float, size: int) -> None:
        super().__init__()
        self.spacing = cutoff / (size - 1)
        self.register_buffer("centres", torch.linspace(0, cutoff, size), persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        """Expand distances of shape (E,) in Å into shape (E, size)."""
        return torch.exp(-0.5 * ((distances[:, None] - self.centres) / self.spacing) ** 2)


class RadialMLP(nn.Sequential):
    """Linear – LayerNorm – SiLU, twice, then linear: scalars of a pair → weights of a convolution."""

    def __init__(self, in_features: int, hidden: int, out_features: int) -> None:
        super().__init__(
            nn.Linear(in_features, hidden),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, out_features),
        )


class PairScalars(nn.Module):
    """x_ij = [source element | distance expansion | target element]."""

    def __init__(self, n_elements: int, cutoff: float, channels: int, gaussians: int) -> None:
        super().__init__()
        self.expansion = DistanceExpansion(cutoff, gaussians)
        self.source = nn.Embedding(n_elements, channels)
        self.target = nn.Embedding(n_elements, channels)
        self.size = gaussians + 2 * channels

    def forward(self, source: Tensor, target: Tensor, distances: Tensor) -> Tensor:
        """Scalars of shape (E, size) for element indices (E,) and distances (E,) in Å."""
        return torch.cat([self.source(source), self.expansion(distances), self.target(target)], dim=1)
