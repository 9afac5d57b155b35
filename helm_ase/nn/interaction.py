"""Messages between two atoms, and the node and edge updates made of them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from helm_ase.nn.edge_parts import sum_messages
from helm_ase.nn.edges import DirectedEdges
from helm_ase.nn.equivariant import Channels, EquivariantNorm, FeedForward
from helm_ase.nn.harmonics import EdgeRows, row_degrees
from helm_ase.nn.radial import RadialMLP
from helm_ase.nn.so2 import SO2Linear, join_orders, split_by_order


@dataclass(frozen=True)
class MessageSettings:
    """Shapes of the messages between two atoms."""

    rows: EdgeRows
    """Components of a feature that are kept in the edge frame, R of them."""
    channels: Channels
    """Channels of every degree, C of them."""
    scalars: int
    """Number S of scalars x_ij that describe an edge: its length and the elements of its atoms."""
    radial_hidden: int
    """Width of the hidden layers of the network that computes weights from these scalars."""
    parity: bool = True
    """Whether natural and unnatural channels are treated separately."""


class Message(nn.Module):
    """M(z_j, z_i) = SO2( gate( SO2( D [z_j | z_i] ∘ radial(x_ij) ) ) ), left in the edge frame."""

    def __init__(self, settings: MessageSettings) -> None:
        super().__init__()
        self.rows, self.channels = rows, channels = settings.rows, settings.channels
        n_gates = (rows.lmax + 1) * channels.total - channels.natural
        weights = rows.weights * 2 * channels.total
        self.radial = RadialMLP(settings.scalars, settings.radial_hidden, weights)
        self.mix = SO2Linear(rows, channels * 2, channels, n_gates, settings.parity)
        self.out = SO2Linear(rows, channels, channels, 0, settings.parity)

    def forward(
        self, nodes: Tensor, edges: DirectedEdges, scalars: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Messages of shape (E, R, C) in the edge frame.

        Parameters
        ----------
        nodes
            Shape (N, L, C).
        edges
            E directed edges.
        scalars
            x_ij, shape (E, S).
        weight
            Factor of each message, shape (E,); multiplied into the gates, where it is cheapest.
        """
        ends = self._rotate(nodes, edges)
        radial = self.radial(scalars).unflatten(1, (self.rows.weights, -1))
        weights = radial.split([end.shape[2] for end in ends], dim=2)
        by_order = [split_by_order(x, self.rows, w) for x, w in zip(ends, weights, strict=True)]
        natural = [list(parts) for parts in zip(*by_order[:2], strict=True)]
        unnatural = [list(parts) for parts in zip(*by_order[2:], strict=True)]
        features, gates = self.mix(natural, unnatural)
        return join_orders(self.out.forward_joined(self._gate(features, gates, weight)))

    def _rotate(self, nodes: Tensor, edges: DirectedEdges) -> list[Tensor]:
        """Natural channels of source and target in the edge frame, (E, R, Cn) each, then unnatural ones."""
        parts = nodes.split([self.channels.natural, self.channels.unnatural], dim=-1)
        turned = []
        for part, frame in zip(parts, (edges.natural, edges.unnatural), strict=True):
            if frame is not None:
                z = part.contiguous()
                turned += [frame @ z.index_select(0, end) for end in (edges.source, edges.target)]
        return turned

    def _gate(self, features: list[Tensor], gates: Tensor, weight: Tensor | None) -> list[Tensor]:
        scalars = features[0][:, 0, 0, : self.channels.natural]  # (E, Cn): gated by themselves, SiLU
        gates = torch.sigmoid(torch.cat([scalars, gates], dim=1))
        gates = gates if weight is None else gates * weight[:, None]
        gates = gates.reshape(-1, 1, self.rows.lmax + 1, self.channels.total)
        return [f * gates[:, :, m:] for m, f in enumerate(features)]


def rotate_back(x: Tensor, edges: DirectedEdges, channels: Channels) -> Tensor:
    """Turn edge-frame features (E, R, C) into the common frame, (E, L, C)."""
    xn, xu = x.split([channels.natural, channels.unnatural], dim=-1)
    natural: Tensor = edges.natural.transpose(1, 2) @ xn
    if edges.unnatural is None:
        return natural
    return torch.cat([natural, edges.unnatural.transpose(1, 2) @ xu], dim=-1)


def gather_messages(messages: Tensor, edges: DirectedEdges, channels: Channels, n_atoms: int) -> Tensor:
    """Turn messages (E, R, C) into the common frame and sum them over neighbours, (N, L, C)."""
    sums = []
    for part, frame in zip(
        messages.split([channels.natural, channels.unnatural], dim=-1),
        (edges.natural, edges.unnatural),
        strict=True,
    ):
        if frame is not None:
            turned = frame.transpose(1, 2) @ part
            sums.append(turned.new_zeros(n_atoms, *turned.shape[1:]).index_add(0, edges.target, turned))
    return torch.cat(sums, dim=-1)


class NodeUpdate(nn.Module):
    """z ← z + Σ_j M(norm z_j, norm z_i); z ← z + FFN(norm z).

    Parameters
    ----------
    settings
        Shapes of the messages.
    ffn_factor
        Width of the feed-forward block as a multiple of the number of channels.
    neighbour_scale
        Factor of the sum over neighbours j.
    """

    def __init__(self, settings: MessageSettings, ffn_factor: int, neighbour_scale: float) -> None:
        super().__init__()
        degrees, channels = row_degrees(settings.rows.lmax), settings.channels
        self.channels, self.scale = channels, neighbour_scale
        self.norm_message = EquivariantNorm(degrees, channels)
        self.message = Message(settings)
        self.norm_ffn = EquivariantNorm(degrees, channels)
        self.ffn = FeedForward(degrees, channels, channels * ffn_factor)

    def forward(
        self, nodes: Tensor, edges: DirectedEdges, scalars: Tensor, recompute: bool = False
    ) -> Tensor:
        """Update nodes (N, L, C); with ``recompute`` the messages are computed again for the gradient."""
        normed = self.norm_message(nodes)

        def gathered(edges: DirectedEdges, scalars: Tensor) -> Tensor:
            messages = self.message(normed, edges, scalars, edges.envelope * self.scale)
            return gather_messages(messages, edges, self.channels, len(normed))

        nodes = nodes + sum_messages(gathered, edges, scalars, recompute)
        update: Tensor = self.ffn(self.norm_ffn(nodes))
        return nodes + update


class EdgeUpdate(nn.Module):
    """e ← e + norm M(norm z_j, norm z_i); e ← e + FFN(norm e), all in the edge frame.

    The features of atoms never depend on those of edges (as in the paper), so the features of an edge are
    only ever combined in its own frame, and are rotated to the common frame once, after the last layer.

    Parameters
    ----------
    settings
        Shapes of the messages.
    ffn_factor
        Width of the feed-forward block as a multiple of the number of channels.
    """

    def __init__(self, settings: MessageSettings, ffn_factor: int) -> None:
        super().__init__()
        rows, channels = settings.rows, settings.channels
        self.norm_nodes = EquivariantNorm(row_degrees(rows.lmax), channels)
        self.message = Message(settings)
        self.norm_message = EquivariantNorm(rows.degree, channels)
        self.norm_ffn = EquivariantNorm(rows.degree, channels)
        self.ffn = FeedForward(rows.degree, channels, channels * ffn_factor)

    def forward(self, states: Tensor | None, nodes: Tensor, edges: DirectedEdges, scalars: Tensor) -> Tensor:
        """Update the features of edges, (E, R, C); None before the first layer."""
        messages = self.norm_message(self.message(self.norm_nodes(nodes), edges, scalars))
        states = messages if states is None else states + messages
        update: Tensor = self.ffn(self.norm_ffn(states))
        return states + update
