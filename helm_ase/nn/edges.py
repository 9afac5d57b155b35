"""Edges of a batch that all layers share: indices, frames, envelopes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from helm_ase.nn.harmonics import EdgeRows, WignerMatrices, edge_frames, reversal_signs


@dataclass(frozen=True)
class DirectedEdges:
    """Directed edges with the rotations into their frames."""

    source: Tensor
    """Sending atom j, shape (E,)."""
    target: Tensor
    """Receiving atom i, shape (E,)."""
    distances: Tensor
    """Shape (E,), Å."""
    envelope: Tensor
    """Smooth cutoff, shape (E,)."""
    natural: Tensor
    """Rotation of natural channels into the edge frame, shape (E, R, L)."""
    unnatural: Tensor | None
    """The same for unnatural channels; None if there are none."""

    def select(self, index: Tensor | slice) -> "DirectedEdges":
        """Return a subset of the edges; that of a slice shares their memory."""
        unnatural = None if self.unnatural is None else self.unnatural[index]
        return DirectedEdges(
            self.source[index],
            self.target[index],
            self.distances[index],
            self.envelope[index],
            self.natural[index],
            unnatural,
        )


class EdgeBuilder(nn.Module):
    """Turn pairs of atoms into directed edges with frames."""

    natural_rows: Tensor
    unnatural_rows: Tensor
    unnatural_signs: Tensor
    reversal: Tensor

    def __init__(self, rows: EdgeRows, unnatural: bool) -> None:
        super().__init__()
        self.wigner = WignerMatrices(rows.lmax)
        self.has_unnatural = unnatural
        picked, signs = rows.unnatural()
        self.register_buffer("natural_rows", torch.tensor(rows.natural()), persistent=False)
        self.register_buffer("unnatural_rows", torch.tensor(picked), persistent=False)
        self.register_buffer("unnatural_signs", torch.tensor(signs)[:, None], persistent=False)
        self.register_buffer("reversal", torch.tensor(reversal_signs(rows.lmax))[:, None], persistent=False)

    def forward(
        self, vectors: Tensor, pairs: Tensor, reverse: Tensor, envelope: nn.Module, dtype: torch.dtype
    ) -> DirectedEdges:
        """Edges j→i for every pair (i, j), then i→j for the pairs picked by ``reverse``.

        Parameters
        ----------
        vectors
            r_j − r_i, shape (P, 3), in float64.
        pairs
            Atoms (i, j), shape (2, P).
        reverse
            Indices of the pairs that are needed in the other direction too.
        envelope
            Smooth cutoff function.
        dtype
            Precision of the network.
        """
        distances = torch.linalg.vector_norm(vectors, dim=1)
        directions = (vectors / distances[:, None]).to(dtype)
        blocks = self.wigner(edge_frames(directions))  # (P, L, L)
        blocks = torch.cat([blocks, self.reversal * blocks[reverse]])  # (E, L, L)
        distances = torch.cat([distances, distances[reverse]])
        unnatural = (
            self.unnatural_signs * blocks.index_select(1, self.unnatural_rows) if self.has_unnatural else None
        )
        return DirectedEdges(
            source=torch.cat([pairs[1], pairs[0, reverse]]),
            target=torch.cat([pairs[0], pairs[1, reverse]]),
            distances=distances.to(dtype),
            envelope=envelope(distances).to(dtype),
            natural=blocks.index_select(1, self.natural_rows),
            unnatural=unnatural,
        )
