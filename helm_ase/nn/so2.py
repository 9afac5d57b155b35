"""SO(2) convolution in the edge frame, exactly O(3)-equivariant.

In the frame of an edge an equivariant linear map may mix all degrees of one order m (Passaro & Zitnick,
arXiv 2302.03655).  Rotations alone allow a complex weight for each pair (p, q).  Asking for reflections
too leaves a real one: written in the (p, q) rows of :class:`~helm_ase.nn.harmonics.EdgeRows`, natural
and unnatural channels of one m > 0 share one real matrix that acts on p and on q alike, and m = 0 does
not mix natural with unnatural.  That is half the arithmetic of the complex form.
"""

import torch
from torch import Tensor, nn

from helm_ase.nn.equivariant import Channels
from helm_ase.nn.harmonics import EdgeRows


class SO2Linear(nn.Module):
    """Linear map of all degrees of each order m, optionally emitting extra scalars.

    Parameters
    ----------
    rows
        Layout of the edge frame.
    channels_in, channels_out
        Channels of the two sides.
    extra_scalars
        Further natural l = 0 outputs, used as gates.
    parity
        True: O(3). False: SO(3) as in the paper (complex weights; all channels must be natural).
    """

    def __init__(
        self,
        rows: EdgeRows,
        channels_in: Channels,
        channels_out: Channels,
        extra_scalars: int = 0,
        parity: bool = True,
    ) -> None:
        super().__init__()
        self.rows, self.cin, self.cout = rows, channels_in, channels_out
        self.extra, self.parity = extra_scalars, parity
        n0 = rows.lmax + 1
        self.natural_0 = _matrix(n0 * channels_in.natural, n0 * channels_out.natural + extra_scalars)
        self.unnatural_0 = _matrix(n0 * channels_in.unnatural, n0 * channels_out.unnatural)
        self.natural_m = nn.ParameterList()
        self.unnatural_m = nn.ParameterList()
        for _, n in rows.spans[1:]:
            width = n * channels_out.total * (1 if parity else 2)
            fan_in = n * channels_in.total
            self.natural_m.append(_matrix(n * channels_in.natural, width, fan_in))
            self.unnatural_m.append(_matrix(n * channels_in.unnatural, width, fan_in))

    def forward(
        self, natural: list[list[Tensor]], unnatural: list[list[Tensor]]
    ) -> tuple[list[Tensor], Tensor]:
        """Apply to features given per m and parity class.

        Parameters
        ----------
        natural, unnatural
            For each m tensors (E, 1 or 2, degrees, channels) that together hold the channels of that class:
            those of both ends of an edge need not be joined.

        Returns
        -------
        features
            For each m a tensor (E, 1 or 2, degrees, C_out), channels [natural | unnatural].
        extra
            Extra scalars, shape (E, extra_scalars).
        """
        edges, n0 = natural[0][0].shape[0], self.rows.lmax + 1
        y, extra = product(natural[0], self.natural_0).split([n0 * self.cout.natural, self.extra], dim=1)
        y = y.reshape(edges, 1, n0, self.cout.natural)
        if self.cout.unnatural:
            z = product(unnatural[0], self.unnatural_0)
            y = torch.cat([y, z.reshape(edges, 1, n0, self.cout.unnatural)], dim=-1)
        features = [y]
        for m, (_, n) in enumerate(self.rows.spans[1:], start=1):
            y = product(natural[m], self.natural_m[m - 1])
            if self.cin.unnatural:
                y = product(unnatural[m], self.unnatural_m[m - 1], y)
            features.append(self._combine(y, edges, n))
        return features, extra

    def forward_joined(self, features: list[Tensor]) -> list[Tensor]:
        """Apply to features that hold both classes, (E, 1 or 2, degrees, C_in); no extra scalars.

        The weights are rearranged instead of the features.
        """
        edges = features[0].shape[0]
        mapped = [features[0].flatten(1) @ self._joined_zero()]
        mapped[0] = mapped[0].reshape(edges, 1, self.rows.lmax + 1, self.cout.total)
        for m, (_, n) in enumerate(self.rows.spans[1:], start=1):
            natural = self.natural_m[m - 1].reshape(n, self.cin.natural, -1)
            unnatural = self.unnatural_m[m - 1].reshape(n, self.cin.unnatural, natural.shape[2])
            weight = torch.cat([natural, unnatural], dim=1).flatten(0, 1)
            mapped.append(self._combine(features[m].flatten(0, 1).flatten(1) @ weight, edges, n))
        return mapped

    def _joined_zero(self) -> Tensor:
        n, pad = self.rows.lmax + 1, nn.functional.pad
        natural = self.natural_0.reshape(n, self.cin.natural, n, self.cout.natural)
        unnatural = self.unnatural_0.reshape(n, self.cin.unnatural, n, self.cout.unnatural)
        weight = torch.cat(
            [pad(natural, (0, self.cout.unnatural)), pad(unnatural, (self.cout.natural, 0))], dim=1
        )
        return weight.reshape(n * self.cin.total, n * self.cout.total)

    def _combine(self, y: Tensor, edges: int, n: int) -> Tensor:
        if self.parity:
            return y.reshape(edges, 2, n, self.cout.total)
        y = y.reshape(edges, 2, 2, n, self.cout.total)  # (E, p|q, real|imaginary, degrees, C)
        p = y[:, 0, 0] - y[:, 1, 1]
        q = y[:, 1, 0] + y[:, 0, 1]
        return torch.stack([p, q], dim=1)


def _matrix(n_in: int, n_out: int, fan_in: int | None = None) -> nn.Parameter:
    return nn.Parameter(torch.randn(n_in, n_out) / max(fan_in or n_in, 1) ** 0.5)


def product(parts: list[Tensor], weight: Tensor, total: Tensor | None = None) -> Tensor:
    """Features (E, k, n, C) times a matrix (n C, D), as rows (E k, D), added to ``total`` in place.

    ``parts`` hold the channels C one after the other, as if they were joined along the last axis.
    """
    rows = weight.reshape(parts[0].shape[2], -1, weight.shape[1])  # (n, C, D)
    pieces = rows.split([part.shape[3] for part in parts], dim=1)
    for part, piece in zip(parts, pieces, strict=True):
        left, right = part.flatten(0, 1).flatten(1), piece.flatten(0, 1)
        total = left @ right if total is None else total.addmm_(left, right)
    assert total is not None
    return total


def split_by_order(x: Tensor, rows: EdgeRows, weights: Tensor | None = None) -> list[Tensor]:
    """View edge-frame features (E, R, C) per m as (E, 1 or 2, degrees, C), times radial weights.

    ``weights`` has shape (E, rows.weights, C): p and q rows share theirs.
    """
    shapes = [(1 if m == 0 else 2, n) for m, (_, n) in enumerate(rows.spans)]
    pieces = x.split([k * n for k, n in shapes], dim=1)
    parts = [piece.reshape(len(x), k, n, x.shape[2]) for piece, (k, n) in zip(pieces, shapes, strict=True)]
    if weights is None:
        return parts
    radial = weights.split([n for _, n in rows.spans], dim=1)
    return [part * w[:, None] for part, w in zip(parts, radial, strict=True)]


def join_orders(parts: list[Tensor]) -> Tensor:
    """Inverse of :func:`split_by_order`: (E, R, C)."""
    return torch.cat([part.flatten(1, 2) for part in parts], dim=1)
