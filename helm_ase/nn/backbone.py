"""Backbone of HELM: layers that update the features of atoms (node track) and of pairs (edge track).

The edge track reads the features of the atoms; the node track never reads those of pairs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from helm_ase.errors import SettingError
from helm_ase.nn.edge_parts import sum_messages, too_many_to_keep
from helm_ase.nn.edges import DirectedEdges, EdgeBuilder
from helm_ase.nn.equivariant import Channels, EquivariantNorm
from helm_ase.nn.harmonics import EdgeRows, row_degrees
from helm_ase.nn.interaction import EdgeUpdate, MessageSettings, NodeUpdate, gather_messages, rotate_back
from helm_ase.nn.radial import Envelope, PairEnvelope, PairScalars, RadialMLP
from helm_ase.nn.state_sharing import MolecularState, StateSharing


@dataclass(frozen=True)
class BackboneSettings:
    """Size and switches of the backbone."""

    natural_channels: int = 48
    """Number of channels of each degree l with natural parity (−1)^l, in e3nn's notation 0e + 1o + 2e + …."""
    unnatural_channels: int = 16
    """Number of channels of each degree l with the opposite parity, in e3nn's notation 0o + 1e + 2o + …."""
    lmax: int = 4
    """Largest degree l of the features. It must be at least twice the largest shell degree of the basis."""
    mmax_nodes: int = 4
    """Largest order |m| that the convolutions of the node track (the layers that update the features of
    atoms) keep in the local frame of a pair of atoms; at most ``lmax``."""
    node_layers: int = 3
    """Number of message-passing layers of the node track."""
    edge_layers: int = 3
    """Number of layers of the edge track (the layers that update the features of pairs of atoms), from which
    the blocks of the Hamiltonian are computed; at most ``node_layers``."""
    cutoff: float = 6.0
    """Distance in Å within which atoms exchange messages."""
    pair_cutoff: float = 12.0
    """Distance in Å up to which the block of ΔH between two atoms is predicted; beyond it, the block is
    zero."""
    gaussians: int = 64
    """Number of Gaussian functions in which a distance is expanded, if ``gaussian_spacing`` is 0."""
    gaussian_spacing: float = 0.0
    """Distance in Å between the centres of the Gaussians, which is also their width; with 0 there are
    ``gaussians`` of them up to each cutoff, as in the paper. Narrow Gaussians let forces vary over hundredths
    of an Å."""
    radial_hidden: int = 64
    """Width of the hidden layers of the networks that compute, from distance and elements of two atoms, the
    weights of the messages between them."""
    node_ffn_factor: int = 2
    """Width of the feed-forward blocks of the node track as a multiple of the number of channels."""
    edge_ffn_factor: int = 1
    """Width of the feed-forward blocks of the edge track as a multiple of the number of channels."""
    average_neighbours: float = 8.0
    """Typical number of neighbours within ``cutoff``; sums of messages are divided by its square root."""
    parity: bool = True
    """Whether natural and unnatural channels are treated separately, which makes the network equivariant
    under O(3). Otherwise all channels are of one kind and the network is equivariant under rotations only."""
    envelope: bool = True
    """Whether messages and blocks go to zero smoothly at the cutoffs. Otherwise, as in the paper, energies
    are discontinuous where the distance of two atoms crosses a cutoff."""
    pair_decay_start: float = 3.0
    """Distance in Å at which the factor that damps the blocks of two atoms is one half; see
    ``pair_decay_length``."""
    pair_decay_length: float = 1.2
    """Decay length in Å of the exponential that damps the blocks of two atoms with their distance, as H − H0
    of labels decays; with 0 there is no damping."""
    state_heads: int = 8
    """Number of attention heads that distribute the charge and multiplicity of a molecule over its atoms,
    before each of the first two node layers. With 0, as in the paper's code, one vector that encodes charge
    and multiplicity is added to every atom instead."""

    def __post_init__(self) -> None:
        if not 0 < self.edge_layers <= self.node_layers:
            raise SettingError(
                f"edge_layers is {self.edge_layers}; each edge layer reads a node layer of its own, "
                f"so 1 to node_layers = {self.node_layers} are allowed"
            )
        if not (self.cutoff > 0 and self.pair_cutoff > 0):
            raise SettingError(f"cutoffs must be positive, not {self.cutoff} and {self.pair_cutoff}")
        if not 0 <= self.gaussian_spacing <= min(self.cutoff, self.pair_cutoff) / 4:
            raise SettingError(
                f"gaussian_spacing is {self.gaussian_spacing}; allowed: 0 to a quarter of the smaller cutoff"
            )
        if self.state_heads < 0 or self.pair_decay_length < 0:
            raise SettingError(
                f"state_heads is {self.state_heads} and pair_decay_length {self.pair_decay_length}; both "
                "must be 0 or more"
            )
        if not 0 <= self.mmax_nodes <= self.lmax:
            raise SettingError(f"mmax_nodes is {self.mmax_nodes}; allowed: 0 to lmax = {self.lmax}")

    def gaussians_on(self, cutoff: float) -> int:
        """Number of Gaussians on [0, cutoff]."""
        return round(cutoff / self.gaussian_spacing) + 1 if self.gaussian_spacing else self.gaussians

    @property
    def channels(self) -> Channels:
        """Channels of every degree; without parity there is only one kind."""
        if self.parity:
            return Channels(self.natural_channels, self.unnatural_channels)
        return Channels(self.natural_channels + self.unnatural_channels)


class NodeTrack(NamedTuple):
    """Embeddings of the atoms after every layer, and the edges between atoms."""

    layers: list[Tensor]
    """Node embeddings after each layer, (N, L, C)."""
    edges: DirectedEdges
    """Edges along which messages were passed, E of them."""
    scalars: Tensor
    """Scalars x_ij of these edges, (E, X)."""
    recompute: bool
    """Whether messages are computed again for the gradient."""


class PairTrack(NamedTuple):
    """Embeddings of the pairs of atoms that carry Hamiltonian blocks."""

    edges: DirectedEdges
    """Pairs in the directions in which they are read, E of them."""
    states: Tensor | None
    """Their embeddings in the common frame, (E, L, C); None without pairs."""


class Backbone(nn.Module):
    """Embed atoms, pass messages, and embed pairs of atoms if asked.

    Parameters
    ----------
    settings
        Size and switches.
    n_elements
        Known elements.
    charges, multiplicities
        Known states.
    """

    def __init__(
        self,
        settings: BackboneSettings,
        n_elements: int,
        charges: tuple[int, ...] = (0,),
        multiplicities: tuple[int, ...] = (1,),
    ) -> None:
        super().__init__()
        s, c = settings, settings.channels
        self.settings, self.channels = s, c
        self.rows = EdgeRows(s.lmax, s.mmax_nodes)
        self.pair_rows = EdgeRows(s.lmax, s.lmax)
        self.element = nn.Embedding(n_elements, c.natural)
        self._add_states(charges, multiplicities)
        self.node_frames = EdgeBuilder(self.rows, c.unnatural > 0)
        self.pair_frames = EdgeBuilder(self.pair_rows, c.unnatural > 0)
        self.node_envelope = Envelope(s.cutoff, s.envelope)
        self.pair_envelope = PairEnvelope(s.pair_cutoff, s.envelope, s.pair_decay_start, s.pair_decay_length)
        self.node_scalars, self.pair_scalars = (
            PairScalars(n_elements, r, s.radial_hidden, s.gaussians_on(r)) for r in (s.cutoff, s.pair_cutoff)
        )
        self.neighbour_scale = s.average_neighbours**-0.5
        self.edge_degree = RadialMLP(self.node_scalars.size, s.radial_hidden, (s.lmax + 1) * c.natural)
        self.messages = MessageSettings(self.rows, c, self.node_scalars.size, s.radial_hidden, s.parity)
        self.node_updates = nn.ModuleList(
            NodeUpdate(self.messages, s.node_ffn_factor, self.neighbour_scale) for _ in range(s.node_layers)
        )
        pairs = MessageSettings(self.pair_rows, c, self.pair_scalars.size, s.radial_hidden, s.parity)
        self.edge_updates = nn.ModuleList(EdgeUpdate(pairs, s.edge_ffn_factor) for _ in range(s.edge_layers))
        self.norm_nodes = EquivariantNorm(row_degrees(s.lmax), c)
        self.norm_edges = EquivariantNorm(self.pair_rows.degree, c)

    def _add_states(self, charges: tuple[int, ...], multiplicities: tuple[int, ...]) -> None:
        """Create the modules that pass charge and multiplicity to the atoms, if the model supports
        several."""
        s, width = self.settings, self.channels.natural
        several = [len(charges) > 1, len(multiplicities) > 1]
        self.state_updates = nn.ModuleList()
        if s.state_heads and any(several):
            self.state_updates.extend(
                StateSharing(width, charges, multiplicities, s.state_heads, s.average_neighbours)
                for _ in range(2)
            )
            several = [False, False]
        self.charge = nn.Embedding(len(charges), width) if several[0] else None
        self.multiplicity = nn.Embedding(len(multiplicities), width) if several[1] else None

    def nodes(
        self,
        elements: Tensor,
        state: MolecularState,
        vectors: Tensor,
        pairs: Tensor,
        recompute: bool | None = False,
    ) -> NodeTrack:
        """Embed the atoms.

        Parameters
        ----------
        elements
            Index of each atom's element, (N,).
        state
            Charges and multiplicities.
        vectors
            From the first atom of each pair to the second, Å, float64, (P, 3).
        pairs
            Indices of both atoms, (2, P).
        recompute
            Compute messages again for the gradient instead of keeping them; None: where there are many.
        """
        edges = self.message_edges(vectors, pairs, self.element.weight.dtype)
        again = too_many_to_keep(edges) if recompute is None else recompute
        layers, x_ij = self.node_track(elements, state, edges, again)
        return NodeTrack(layers, edges, x_ij, again)

    def pairs(
        self, layers: list[Tensor], elements: Tensor, vectors: Tensor, pairs: Tensor, reverse: Tensor
    ) -> PairTrack:
        """Embed pairs of atoms.

        Parameters
        ----------
        layers
            Node embeddings after each layer.
        elements, vectors, pairs
            As for :meth:`nodes`.
        reverse
            Indices of the pairs that are read in both directions.
        """
        edges = self.pair_edges(vectors, pairs, reverse, self.element.weight.dtype)
        if not len(edges.source):
            return PairTrack(edges, None)
        return PairTrack(edges, self.to_common_frame(self.edge_track(layers, elements, edges), edges))

    def message_edges(self, vectors: Tensor, pairs: Tensor, dtype: torch.dtype) -> DirectedEdges:
        """Both directions of every pair within the message cutoff."""
        near = torch.linalg.vector_norm(vectors.detach(), dim=1) < self.settings.cutoff
        vectors, pairs = vectors[near], pairs[:, near]
        both = torch.arange(pairs.shape[1], device=pairs.device)
        edges: DirectedEdges = self.node_frames(vectors, pairs, both, self.node_envelope, dtype)
        return edges

    def pair_edges(
        self, vectors: Tensor, pairs: Tensor, reverse: Tensor, dtype: torch.dtype
    ) -> DirectedEdges:
        """Edges that carry Hamiltonian blocks."""
        edges: DirectedEdges = self.pair_frames(vectors, pairs, reverse, self.pair_envelope, dtype)
        return edges

    def embed_atoms(self, elements: Tensor, state: MolecularState) -> Tensor:
        """Initial scalars (N, Cn) from element indices (N,), and from charge and multiplicity if they are not
        shared by attention."""
        scalars: Tensor = self.element(elements)
        if self.charge is not None:
            scalars = scalars + self.charge(state.charge[state.molecule])
        if self.multiplicity is not None:
            scalars = scalars + self.multiplicity(state.multiplicity[state.molecule])
        return scalars

    def node_track(
        self, elements: Tensor, state: MolecularState, edges: DirectedEdges, recompute: bool = False
    ) -> tuple[list[Tensor], Tensor]:
        """Node embeddings after each layer, (N, L, C), and the scalars x_ij of the message edges."""
        atoms = self.embed_atoms(elements, state)
        n, size = len(atoms), (self.settings.lmax + 1) ** 2
        x_ij = self.node_scalars(elements[edges.source], elements[edges.target], edges.distances)
        nodes = nn.functional.pad(atoms[:, None], (0, self.channels.unnatural, 0, size - 1))  # (N, L, C)

        def degrees(edges: DirectedEdges, x_ij: Tensor) -> Tensor:
            degree = self.edge_degree(x_ij) * (edges.envelope * self.neighbour_scale)[:, None]
            degree = degree.unflatten(1, (self.settings.lmax + 1, -1))  # m = 0 rows
            rows = self.rows.size - degree.shape[1]
            degree = nn.functional.pad(degree, (0, self.channels.unnatural, 0, rows))
            return gather_messages(degree, edges, self.channels, n)

        nodes = nodes + sum_messages(degrees, edges, x_ij, recompute)
        layers: list[Tensor] = []
        for k, update in enumerate(self.node_updates):
            nodes = update(self._share(nodes, state, k), edges, x_ij, recompute)
            layers.append(nodes)
        return layers, x_ij

    def _share(self, nodes: Tensor, state: MolecularState, layer: int) -> Tensor:
        """Add each atom's shares of charge and multiplicity to the natural scalars of nodes (N, L, C)."""
        if layer >= len(self.state_updates):
            return nodes
        scalars = nodes[:, 0, : self.channels.natural]
        shared = self.state_updates[layer](scalars, state)
        return nodes + nn.functional.pad(shared[:, None], (0, self.channels.unnatural, 0, nodes.shape[1] - 1))

    def edge_track(self, layers: list[Tensor], elements: Tensor, edges: DirectedEdges) -> Tensor:
        """Pair embeddings (E, R, C) in the edge frame; the last edge layer reads the last node layer."""
        x_ij = self.pair_scalars(elements[edges.source], elements[edges.target], edges.distances)
        states: Tensor | None = None
        for update, nodes in zip(self.edge_updates, layers[-len(self.edge_updates) :], strict=True):
            states = update(states, nodes, edges, x_ij)
        assert states is not None
        embeddings: Tensor = self.norm_edges(states)
        return embeddings

    def to_common_frame(self, states: Tensor, edges: DirectedEdges) -> Tensor:
        """Rotate pair embeddings (E, R, C) out of their frames, (E, L, C)."""
        return rotate_back(states, edges, self.channels)
