"""Equivariant layers that act on each degree separately: linear map, norm, gate.

Channels come as [natural | unnatural].  Natural channels of degree l have parity (−1)^l, in e3nn's notation
0e + 1o + 2e + …; unnatural ones have the opposite, 0o + 1e + 2o + ….  No layer here mixes the two, and only
natural l = 0 channels (0e) are true scalars, from which gates may be made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Channels:
    """Number of natural and unnatural channels of every degree."""

    natural: int
    unnatural: int = 0

    @property
    def total(self) -> int:
        """All channels, C."""
        return self.natural + self.unnatural

    def __mul__(self, factor: int) -> "Channels":
        return Channels(self.natural * factor, self.unnatural * factor)


class DegreeLinear(nn.Module):
    """Linear map of the channels, one matrix for each degree; parity classes do not mix.

    Both classes go through one block-diagonal matrix: for the sizes in use that is cheaper than cutting
    features apart and joining them again.
    """

    rows: Tensor

    def __init__(self, degrees: Sequence[int], channels_in: Channels, channels_out: Channels) -> None:
        super().__init__()
        self.cin, self.cout = channels_in, channels_out
        self.register_buffer("rows", torch.as_tensor(degrees), persistent=False)
        n = max(degrees) + 1
        self.natural = _weights(n, channels_in.natural, channels_out.natural)
        self.unnatural = _weights(n, channels_in.unnatural, channels_out.unnatural)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, R, C_in) to (N, R, C_out)."""
        pad = nn.functional.pad
        weights = torch.cat(
            [pad(self.natural, (0, self.cout.unnatural)), pad(self.unnatural, (self.cout.natural, 0))], dim=1
        )
        return torch.einsum("nrc,rcd->nrd", x, weights.index_select(0, self.rows))


def _weights(n: int, n_in: int, n_out: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(n, n_in, n_out) / max(n_in, 1) ** 0.5)


class EquivariantNorm(nn.Module):
    """RMS norm over channels and rows in which every degree counts the same.

    Unlike the paper's it has no affine part and does not centre l = 0, because all layers that follow begin
    with weights per degree and channel.
    """

    balance: Tensor

    def __init__(self, degrees: Sequence[int], channels: Channels, eps: float = 1e-6) -> None:
        super().__init__()
        rows = torch.as_tensor(degrees)
        count = torch.bincount(rows).to(torch.float32)
        balance = 1 / (count[rows] * len(count) * channels.total)
        self.eps = eps
        self.register_buffer("balance", balance.repeat_interleave(channels.total), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, R, C)."""
        power = x.flatten(1).square() @ self.balance  # (N,)
        return x * torch.rsqrt(power + self.eps)[:, None, None]


class DegreeGate(nn.Module):
    """Sigmoid gates for every degree and channel, made from natural scalars; SiLU on the scalars."""

    rows: Tensor

    def __init__(self, degrees: Sequence[int], channels: Channels) -> None:
        super().__init__()
        self.register_buffer("rows", torch.as_tensor(degrees), persistent=False)
        self.natural = channels.natural
        self.shape = (max(degrees) + 1, channels.total)
        self.linear = nn.Linear(channels.natural, self.shape[0] * self.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Gate (N, R, C) by its own scalars."""
        gates = torch.sigmoid(self.linear(x[:, 0, : self.natural]))
        return x * gates.reshape(-1, *self.shape).index_select(1, self.rows)  # (N, R, C)


class FeedForward(nn.Module):
    """DegreeLinear – gate – DegreeLinear."""

    def __init__(self, degrees: Sequence[int], channels: Channels, hidden: Channels) -> None:
        super().__init__()
        self.expand = DegreeLinear(degrees, channels, hidden)
        self.gate = DegreeGate(degrees, hidden)
        self.contract = DegreeLinear(degrees, hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, R, C) to (N, R, C)."""
        y: Tensor = self.contract(self.gate(self.expand(x)))
        return y
