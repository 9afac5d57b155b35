"""HELM: backbone, Hamiltonian head and energy head."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from helm_ase.errors import ChargeError, ElementError, SettingError
from helm_ase.nn.assembly import PlacedBlocks, assemble, trust_matrix
from helm_ase.nn.backbone import Backbone, BackboneSettings
from helm_ase.nn.edges import DirectedEdges
from helm_ase.nn.energy_head import EnergyHead
from helm_ase.nn.hamiltonian_head import HamiltonianHead
from helm_ase.nn.state_sharing import MolecularState
from helm_ase.representation.basis import AOBasis
from helm_ase.representation.graph import count_molecules, molecule_index
from helm_ase.representation.overlap import symmetric_root


@dataclass(frozen=True)
class HELMSettings:
    """Everything that defines the network apart from its weights."""

    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    charges: tuple[int, ...] = (0,)
    """Total charges seen in training; any other is refused."""
    multiplicities: tuple[int, ...] = (1,)
    """Spin multiplicities seen in training; anything but (1,) means two spin channels."""
    hermitian: bool = True
    pad_shells: bool = False
    trust_delta: float = 0.003
    """δ of the trust filter W = S (S + δ)⁻¹; 0 switches it off."""
    orthogonal: bool = False
    """The output is Δ in the Löwdin basis, H = H0 + S^½ Δ S^½, where no error is divided by a small
    eigenvalue of S; takes the place of the trust filter."""
    energy_hidden: int = 128

    def filter_of(self, overlap: Tensor) -> Tensor | None:
        """What stands on both sides of the output, (..., A, A): S^½, the trust filter, or nothing."""
        if self.orthogonal:
            return symmetric_root(overlap)
        return trust_matrix(overlap, self.trust_delta) if self.trust_delta else None

    @property
    def n_spins(self) -> int:
        """Hamiltonian matrices per molecule: 1 (closed shell) or 2 (α, β)."""
        return 1 if self.multiplicities == (1,) else 2


class Prediction(NamedTuple):
    """What one pass of the network gives."""

    energy: Tensor | None
    """Total energies in eV, float64, shape (B,)."""
    forces: Tensor | None
    """Forces in eV/Å, float64, shape (N, 3)."""
    correction: Tensor | None
    """ΔH in Hartree before the trust filter, canonical AO order, (B, spins, A, A), padded with zeros."""
    energy_features: Tensor | None = None
    """Last hidden layer of the energy head, mean over the atoms of a molecule, (B, F), without gradient."""


class HELM(nn.Module):
    """Energy, forces and Hamiltonian correction of a batch of molecules.

    Parameters
    ----------
    basis
        Shells of the elements the model knows.
    settings
        Architecture.

    Raises
    ------
    SettingError
        If lmax is too small for the shells of the basis.
    """

    element_index: Tensor
    ao_count: Tensor
    energy_reference: Tensor
    energy_scale: Tensor
    state_reference: Tensor

    def __init__(self, basis: AOBasis, settings: HELMSettings | None = None) -> None:
        super().__init__()
        settings = settings or HELMSettings()
        b = settings.backbone
        if b.lmax < 2 * basis.lmax:
            raise SettingError(
                f"lmax is {b.lmax}, but two shells of degree {basis.lmax} (basis {basis.name!r}) "
                f"need {2 * basis.lmax}"
            )
        self.basis, self.settings = basis, settings
        self.backbone = Backbone(b, len(basis.elements), settings.charges, settings.multiplicities)
        self.hamiltonian_heads = nn.ModuleList(
            HamiltonianHead(basis, b.lmax, b.channels, b.parity, settings.hermitian, settings.pad_shells)
            for _ in range(settings.n_spins)
        )
        self.energy_head = EnergyHead(
            self.backbone.rows, b.channels, self.backbone.node_scalars.size, b.radial_hidden,
            settings.energy_hidden, self.backbone.neighbour_scale, settings.charges, settings.multiplicities,
            b.state_heads,
        )  # fmt: skip
        table = torch.full((128,), -1)
        table[list(basis.elements)] = torch.arange(len(basis.elements))
        self.register_buffer("element_index", table, persistent=False)
        self.register_buffer(
            "ao_count", torch.tensor([basis.size_of(z) for z in basis.elements]), persistent=False
        )
        self.register_buffer("energy_reference", torch.zeros(len(basis.elements), dtype=torch.float64))
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))
        if self.energy_head.state is not None:
            shape = len(settings.charges), len(settings.multiplicities)
            self.register_buffer("state_reference", torch.zeros(shape, dtype=torch.float64))

    @property
    def cutoff(self) -> float:
        """Distance in Å within which pairs must be listed in the graph."""
        return max(self.settings.backbone.cutoff, self.settings.backbone.pair_cutoff)

    def cast(self, dtype: torch.dtype) -> "HELM":
        """Change the precision of the network; energy references stay float64."""
        for part in self.children():
            part.to(dtype)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return self.backbone.element.weight.dtype

    def forward(
        self,
        graph: Data,
        energy: bool = True,
        forces: bool = False,
        hamiltonian: bool = False,
        energy_baseline: Callable[[Tensor], Tensor] | None = None,
    ) -> Prediction:
        """Compute only what is asked for; energy and forces never touch the edge track.

        Parameters
        ----------
        graph
            :class:`~helm_ase.representation.AtomicGraph` or a batch of them.
        energy, forces, hamiltonian
            What to compute.
        energy_baseline
            E0 in eV, (B,), of positions in Å, (N, 3), added before forces are taken; None: energies and
            forces are those that the network adds to E0.

        Raises
        ------
        ElementError, ChargeError
            If the graph holds an element, charge or multiplicity outside the model's range.
        """
        elements = self._elements(graph)
        state = self._state(graph)
        position = graph.pos.detach().requires_grad_(True) if forces else graph.pos
        with torch.set_grad_enabled(forces or torch.is_grad_enabled()):
            vectors = position[graph.pair_index[1]] - position[graph.pair_index[0]]  # (P, 3) float64
            edges = self.backbone.message_edges(vectors, graph.pair_index, self.dtype)
            layers, x_ij = self.backbone.node_track(elements, state, edges)
            total = features = None
            if energy or forces:
                total, features = self._energy(graph, elements, state, layers[-1], edges, x_ij)
            if total is not None and energy_baseline is not None:
                total = total + energy_baseline(position)
            gradient = self._forces(total, position) if forces and total is not None else None
        correction = self._correction(graph, elements, layers, vectors.detach()) if hamiltonian else None
        return Prediction(total, gradient, correction, features)

    def embed_nodes(self, graph: Data) -> Tensor:
        """Node embeddings of the last layer, normalised as the Hamiltonian head reads them, (N, L, C).

        Raises
        ------
        ElementError, ChargeError
            As :meth:`forward`.
        """
        elements = self._elements(graph)
        vectors = graph.pos[graph.pair_index[1]] - graph.pos[graph.pair_index[0]]
        edges = self.backbone.message_edges(vectors, graph.pair_index, self.dtype)
        layers, _ = self.backbone.node_track(elements, self._state(graph), edges)
        embeddings: Tensor = self.backbone.norm_nodes(layers[-1])
        return embeddings

    def _energy(
        self, graph: Data, elements: Tensor, state: MolecularState, nodes: Tensor, edges: DirectedEdges,
        x_ij: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        found = self.energy_head(nodes, edges, x_ij, state)
        atomic = found.energies.double() * self.energy_scale + self.energy_reference[elements]
        if found.share is not None:  # what a state costs in the mean goes to the atoms that have it
            reference = self.state_reference[state.charge, state.multiplicity]
            atomic = atomic + found.share.double() * reference[state.molecule]
        molecule, count = molecule_index(graph), count_molecules(graph)
        features = found.features.detach()
        sums = features.new_zeros(count, features.shape[1]).index_add(0, molecule, features)
        atoms = torch.bincount(molecule, minlength=count).to(sums)
        return atomic.new_zeros(count).index_add(0, molecule, atomic), sums / atoms[:, None]

    def _forces(self, total: Tensor, position: Tensor) -> Tensor:
        if not total.requires_grad:  # a lone atom
            return torch.zeros_like(position)
        keep = self.training
        (gradient,) = torch.autograd.grad(
            total.sum(), position, create_graph=keep, retain_graph=True if keep else None, allow_unused=True
        )
        return torch.zeros_like(position) if gradient is None else -gradient

    def _correction(self, graph: Data, elements: Tensor, layers: list[Tensor], vectors: Tensor) -> Tensor:
        near = torch.linalg.vector_norm(vectors, dim=1) < self.settings.backbone.pair_cutoff
        vectors, pairs = vectors[near], graph.pair_index[:, near]
        same = graph.z[pairs[0]] == graph.z[pairs[1]]
        reverse = (same if self.settings.hermitian else torch.ones_like(same)).nonzero().squeeze(1)
        edges = self.backbone.pair_edges(vectors, pairs, reverse, self.dtype)
        states = None
        if len(edges.source):
            states = self.backbone.edge_track(layers, elements, edges)
            states = self.backbone.to_common_frame(states, edges)  # (E, L, C)
        nodes = self.backbone.norm_nodes(layers[-1])
        offsets, size = self._ao_offsets(graph, elements)
        spins = []
        for head in self.hamiltonian_heads:
            blocks = self._place(head, graph, elements, nodes, states, edges, offsets)
            spins.append(assemble(blocks, count_molecules(graph), size))
        correction = torch.stack(spins, dim=1)  # (B, spins, A, A)
        if len(spins) == 1:
            return correction
        _, multiplicity, group = grouped_states(graph)
        closed = (multiplicity[group] == 1)[:, None, None, None]  # a singlet has one Hamiltonian, not two
        return torch.where(closed, correction.mean(dim=1, keepdim=True), correction)

    def _place(
        self, head: nn.Module, graph: Data, elements: Tensor, nodes: Tensor, states: Tensor | None,
        edges: DirectedEdges, offsets: Tensor,
    ) -> list[PlacedBlocks]:  # fmt: skip
        assert isinstance(head, HamiltonianHead)
        molecule = molecule_index(graph)
        placed = []
        for b in head.onsite_blocks(nodes, elements):
            atoms, first = b.members, offsets[b.members]
            placed.append(
                PlacedBlocks(molecule[atoms], first, first, b.values * b.halving, b.rows, b.columns)
            )
        if states is None:
            return placed
        target, source = elements[edges.target], elements[edges.source]
        once = (target != source) & self.settings.hermitian  # others are read in both directions
        weight = edges.envelope * torch.where(once, 1.0, 0.5).to(edges.envelope)
        for b in head.pair_blocks(states, target, source):
            row, col = edges.target[b.members], edges.source[b.members]
            values = b.values * weight[b.members, None]
            placed.append(PlacedBlocks(molecule[row], offsets[row], offsets[col], values, b.rows, b.columns))
        return placed

    def _ao_offsets(self, graph: Data, elements: Tensor) -> tuple[Tensor, int]:
        count = self.ao_count[elements]
        molecule = molecule_index(graph)
        per_molecule = count.new_zeros(count_molecules(graph)).index_add(0, molecule, count)
        start = torch.cumsum(per_molecule, 0) - per_molecule
        return torch.cumsum(count, 0) - count - start[molecule], int(per_molecule.max())

    def _elements(self, graph: Data) -> Tensor:
        elements = self.element_index[graph.z]
        if bool((elements < 0).any()):
            z = int(graph.z[(elements < 0).nonzero()[0, 0]])
            raise ElementError(f"the model has not seen atomic number {z}; it knows {self.basis.elements}")
        return elements

    def _state(self, graph: Data) -> MolecularState:
        charge, multiplicity, group = grouped_states(graph)
        found = []
        for name, values, allowed in (
            ("charge", charge, self.settings.charges),
            ("multiplicity", multiplicity, self.settings.multiplicities),
        ):
            match = values[:, None] == torch.tensor(allowed, device=values.device)
            if not bool(match.any(dim=1).all()):
                raise ChargeError(f"the model knows {name} {list(allowed)}, not {values.unique().tolist()}")
            found.append(match.to(torch.long).argmax(dim=1))
        return MolecularState(found[0], found[1], group[molecule_index(graph)])


def grouped_states(graph: Data) -> tuple[Tensor, Tensor, Tensor]:
    """Charge and multiplicity of each group of molecules, each (G,), and the group of each molecule, (B,).

    A group shares one state, as molecules far apart in one system do.  Unless the graph has a field
    ``group``, every molecule is a group of its own.
    """
    group = getattr(graph, "group", None)
    if group is None:
        return graph.charge, graph.multiplicity, torch.arange(count_molecules(graph), device=graph.z.device)
    count = int(group.max()) + 1
    charge = graph.charge.new_zeros(count).index_add(0, group, graph.charge)
    unpaired = graph.multiplicity.new_zeros(count).index_add(0, group, graph.multiplicity - 1)
    return charge, 1 + unpaired, group
