"""HELM: backbone, Hamiltonian head and energy head."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from helm_ase.errors import ChargeError, ElementError, SettingError, StructureError
from helm_ase.nn.assembly import assemble
from helm_ase.nn.backbone import Backbone, BackboneSettings, NodeTrack
from helm_ase.nn.block_placement import place_atoms, place_pairs
from helm_ase.nn.edge_parts import parts
from helm_ase.nn.energy_head import EnergyHead
from helm_ase.nn.hamiltonian_head import HamiltonianHead
from helm_ase.nn.output_factor import apply_factor, trust_matrix
from helm_ase.nn.state_sharing import MolecularState, StateSettings
from helm_ase.representation.basis import AOBasis
from helm_ase.representation.graph import block_slots, count_molecules, edge_vectors, molecule_index
from helm_ase.representation.overlap import symmetric_root


@dataclass(frozen=True)
class HELMSettings:
    """Architecture of the network: everything that defines it apart from its weights."""

    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    """Backbone, the part of the network that computes the features of atoms and of pairs of atoms."""
    charges: tuple[int, ...] = (0,)
    """Total charges that the model supports; any other is refused."""
    multiplicities: tuple[int, ...] = (1,)
    """Spin multiplicities 2S + 1 that the model supports. With any multiplicity but 1 in the list, the model
    predicts two Hamiltonians, for α and β spin."""
    hermitian: bool = True
    """Whether the block of two atoms is computed once, which makes the Hamiltonian Hermitian by construction.
    If not, it is computed in both directions and averaged, as in the paper's code."""
    pad_shells: bool = False
    """Whether blocks of the Hamiltonian are predicted for the shells of the largest element and cut to size,
    as in the paper, instead of only for the shells of the elements at hand."""
    trust_delta: float = 0.003
    """Strength δ of the trust filter W = S (S + δ)⁻¹, by which the predicted correction is replaced with
    W ΔH W. It suppresses ΔH in directions where S is nearly singular, in which small errors of ΔH would give
    large errors of orbital energies; with 0 there is no filter."""
    orthogonal: bool = False
    """Whether the network predicts Δ in Löwdin's orthogonalised basis, H = H0 + S^½ Δ S^½, in which errors
    are not amplified where S is nearly singular. If so, there is no trust filter."""
    energy_hidden: int = 128
    """Width of the hidden layer of the energy head."""

    def correction(self, output: Tensor, overlap: Tensor, spins: int) -> Tensor:
        """ΔH of one molecule, Hartree, float64 on the CPU, without gradient, (s, A, A), s = ``spins``.

        Parameters
        ----------
        output
            ``Prediction.correction`` of the molecule, which may be padded, (spins of the model, A', A').
        overlap
            S, (A, A), in the same, canonical AO order.
        """
        size = len(overlap)
        own = output[:spins, :size, :size].detach().cpu().double().expand(spins, size, size)
        return apply_factor(own, self.output_factor(overlap))

    def output_factor(self, overlap: Tensor) -> Tensor | None:
        """Matrix by which the output is multiplied from both sides, (..., A, A): S^½, the trust filter, or
        None."""
        if self.orthogonal:
            return symmetric_root(overlap)
        return trust_matrix(overlap, self.trust_delta) if self.trust_delta else None

    @property
    def n_spins(self) -> int:
        """Hamiltonian matrices per molecule: 1 (closed shell) or 2 (α, β)."""
        return 1 if self.multiplicities == (1,) else 2


class Prediction(NamedTuple):
    """Results of one evaluation of the network; quantities that were not requested are None."""

    energy: Tensor | None
    """Total energies in eV, float64, shape (B,)."""
    forces: Tensor | None
    """Forces in eV/Å, float64, shape (N, 3)."""
    correction: Tensor | None
    """Output of the Hamiltonian heads in Hartree, canonical AO order, (B, spins, A, A), padded with zeros;
    ``HELMSettings.correction`` computes ΔH from it.  For crystals, ΔH(T) for the translations of the graph,
    (n_T, 1, A, A)."""
    energy_features: Tensor | None = None
    """Last hidden layer of the energy head, (N, F), without gradient."""
    stress: Tensor | None = None
    """∂E/∂ε over the volume of the cell, eV/Å³, float64, (B, 3, 3)."""


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
        states = StateSettings(settings.charges, settings.multiplicities, b.state_heads)
        self.energy_head = EnergyHead(
            self.backbone.messages, settings.energy_hidden, self.backbone.neighbour_scale, states
        )
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
        stress: bool = False,
        recompute: bool | None = None,
    ) -> Prediction:
        """Compute the requested quantities; energy and forces do not need the edge track.

        Parameters
        ----------
        graph
            :class:`~helm_ase.representation.AtomicGraph` or a batch of them.
        energy, forces, hamiltonian
            What to compute.
        energy_baseline
            E0 in eV, (B,), of positions in Å, (N, 3), added before forces are taken; None: energies and
            forces are those that the network adds to E0.
        stress
            Also of crystals: the stress, by a strain of the pair vectors; it brings the forces along.
        recompute
            Compute messages between atoms again for forces instead of keeping them: less memory, more time.
            None: where there are many, but never in training.

        Raises
        ------
        ElementError, ChargeError
            If the graph holds an element, charge or multiplicity outside the model's range.
        StructureError
            If the stress of a molecule is asked for.
        """
        elements = self._elements(graph)
        state = self._state(graph)
        if stress and getattr(graph, "cell", None) is None:
            raise StructureError("a molecule has no cell, and no stress")
        forces = forces or stress
        position = graph.pos.detach().requires_grad_(True) if forces else graph.pos
        strain = torch.zeros_like(graph.cell, requires_grad=True) if stress else None
        with torch.set_grad_enabled(forces or torch.is_grad_enabled()):
            vectors = edge_vectors(graph, position, strain)  # (P, 3) float64
            again = False if recompute is None and self.training else recompute
            nodes = self.backbone.nodes(elements, state, vectors, graph.pair_index, again)
            total = features = None
            if energy or forces:
                total, features = self._energy(graph, elements, state, nodes)
            if total is not None and energy_baseline is not None:
                total = total + energy_baseline(position)
            gradient = tension = None
            if forces and total is not None:
                gradient, tension = self._gradients(graph, total, position, strain)
        correction = None
        if hamiltonian:
            correction = self._correction(graph, elements, nodes.layers, vectors.detach())
        return Prediction(total, gradient, correction, features, tension)

    def embed_nodes(self, graph: Data) -> Tensor:
        """Node embeddings of the last layer, normalised as the Hamiltonian head reads them, (N, L, C).

        Raises
        ------
        ElementError, ChargeError
            As :meth:`forward`.
        """
        elements = self._elements(graph)
        nodes = self.backbone.nodes(elements, self._state(graph), edge_vectors(graph), graph.pair_index)
        embeddings: Tensor = self.backbone.norm_nodes(nodes.layers[-1])
        return embeddings

    def _energy(
        self, graph: Data, elements: Tensor, state: MolecularState, nodes: NodeTrack
    ) -> tuple[Tensor, Tensor]:
        atomic_terms = self.energy_head(nodes.layers[-1], nodes.edges, nodes.scalars, state, nodes.recompute)
        atomic = atomic_terms.energies.double() * self.energy_scale + self.energy_reference[elements]
        if atomic_terms.share is not None:  # mean energy of the state, distributed by the shares
            reference = self.state_reference[state.charge, state.multiplicity]
            atomic = atomic + atomic_terms.share.double() * reference[state.molecule]
        molecule, count = molecule_index(graph), count_molecules(graph)
        total = atomic.new_zeros(count).index_add(0, molecule, atomic)
        return total, atomic_terms.features.detach()

    def _gradients(
        self, graph: Data, total: Tensor, position: Tensor, strain: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Forces (N, 3), and the stress (B, 3, 3) where there is a strain."""
        wanted = [position] if strain is None else [position, strain]
        derivatives: list[Tensor] = [torch.zeros_like(x) for x in wanted]
        if total.requires_grad:  # else a lone atom
            keep = self.training
            gradients = torch.autograd.grad(
                total.sum(), wanted, create_graph=keep, retain_graph=True if keep else None, allow_unused=True
            )
            derivatives = [zero if g is None else g for zero, g in zip(derivatives, gradients, strict=True)]
        if strain is None:
            return -derivatives[0], None
        return -derivatives[0], derivatives[1] / torch.linalg.det(graph.cell).abs()[:, None, None]

    def _correction(self, graph: Data, elements: Tensor, layers: list[Tensor], vectors: Tensor) -> Tensor:
        near = torch.linalg.vector_norm(vectors, dim=1) < self.settings.backbone.pair_cutoff
        vectors, pairs = vectors[near], graph.pair_index[:, near]
        nodes = self.backbone.norm_nodes(layers[-1])
        offsets, size = self._ao_offsets(graph, elements)
        onsite, slot, partner = block_slots(graph)
        slot = slot[near]
        opposite = slot if partner is None else partner[slot]
        placed = [place_atoms(head, nodes, elements, onsite, offsets) for head in self.hamiltonian_heads]
        count = len(slot)
        for own in [slice(0, count)] if torch.is_grad_enabled() else parts(count, slot.device, 2):
            reverse = self._read_twice(elements, pairs[:, own])
            edges, states = self.backbone.pairs(layers, elements, vectors[own], pairs[:, own], reverse)
            if states is not None:
                slots = torch.cat([slot[own], opposite[own][reverse]])  # of edges
                for blocks, head in zip(placed, self.hamiltonian_heads, strict=True):
                    blocks += place_pairs(head, states, edges, elements, slots, offsets)
        number = count_molecules(graph) if partner is None else len(partner)
        correction = torch.stack([assemble(blocks, number, size, partner) for blocks in placed], dim=1)
        if len(placed) == 1:
            return correction  # (B, spins, A, A)
        if partner is not None:
            return correction.mean(dim=1, keepdim=True)  # crystals are closed shells
        _, multiplicity, group = grouped_states(graph)
        closed = (multiplicity[group] == 1)[:, None, None, None]  # a singlet has one Hamiltonian, not two
        return torch.where(closed, correction.mean(dim=1, keepdim=True), correction)

    def _read_twice(self, elements: Tensor, pairs: Tensor) -> Tensor:
        """Indices of the pairs (2, P) that are read in both directions."""
        same = elements[pairs[0]] == elements[pairs[1]]
        return (same if self.settings.hermitian else torch.ones_like(same)).nonzero().squeeze(1)

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
        indices = []
        for name, values, allowed in (
            ("charge", charge, self.settings.charges),
            ("multiplicity", multiplicity, self.settings.multiplicities),
        ):
            match = values[:, None] == torch.tensor(allowed, device=values.device)
            if not bool(match.any(dim=1).all()):
                raise ChargeError(f"the model knows {name} {list(allowed)}, not {values.unique().tolist()}")
            indices.append(match.to(torch.long).argmax(dim=1))
        return MolecularState(indices[0], indices[1], group[molecule_index(graph)])


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
