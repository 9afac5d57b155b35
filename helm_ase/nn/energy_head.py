"""Energy head: one more message step, then an MLP on the scalars of every atom."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from helm_ase.nn.edge_parts import sum_messages
from helm_ase.nn.edges import DirectedEdges
from helm_ase.nn.equivariant import EquivariantNorm
from helm_ase.nn.harmonics import row_degrees
from helm_ase.nn.interaction import MessageSettings
from helm_ase.nn.radial import RadialMLP
from helm_ase.nn.so2 import product
from helm_ase.nn.state_sharing import MolecularState, StateEnergy, StateSettings


class AtomicEnergies(NamedTuple):
    """Energies of the atoms, and what error bars and reference energies of states are computed from."""

    energies: Tensor
    """Energies of the atoms in units of the model's energy scale, (N,)."""
    share: Tensor | None
    """Share of each atom in the charge and multiplicity of its molecule, (N,); None if the model does not
    share them among atoms."""
    features: Tensor
    """Features of the last hidden layer, on which the energy depends linearly, (N, F)."""


class EnergyHead(nn.Module):
    """E = Σ_i MLP(l = 0 part of Σ_j M(z_j, z_i)), without the reference energies of the elements.

    The paper computes the whole message and keeps its l = 0 component.  That component depends only on the
    natural m = 0 components of the two atoms, so only those are rotated and mixed here.

    Parameters
    ----------
    messages
        Shapes of the messages of the node track, whose edges and scalars are used.
    hidden
        Width of the hidden layers of the MLP.
    neighbour_scale
        Factor of the sum over neighbours j.
    states
        Charges and multiplicities of the model; absent: neutral singlets only.
    """

    def __init__(
        self,
        messages: MessageSettings,
        hidden: int,
        neighbour_scale: float,
        states: StateSettings | None = None,
    ) -> None:
        super().__init__()
        states = states or StateSettings()
        channels, lmax = messages.channels, messages.rows.lmax
        self.natural, self.m0, self.scale = channels.natural, lmax + 1, neighbour_scale
        self.norm = EquivariantNorm(row_degrees(lmax), channels)
        self.radial = RadialMLP(messages.scalars, messages.radial_hidden, self.m0 * 2 * channels.natural)
        self.mix = nn.Linear(self.m0 * 2 * channels.natural, hidden)
        self.out = nn.Linear(hidden, channels.natural, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels.natural, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip

        self.state: StateEnergy | None = None
        if states.shared:
            self.state = StateEnergy(
                2 * channels.natural, hidden, states.charges, states.multiplicities, states.heads
            )

    def forward(
        self,
        nodes: Tensor,
        edges: DirectedEdges,
        scalars: Tensor,
        state: MolecularState,
        recompute: bool = False,
    ) -> AtomicEnergies:
        """Energies of the atoms, their shares of the molecular state, and the features of the last layer;
        with ``recompute`` the messages are computed again for the gradient."""
        z = self.norm(nodes)[..., : self.natural].contiguous()  # (N, L, Cn)

        def gathered(edges: DirectedEdges, scalars: Tensor) -> Tensor:
            frame = edges.natural[:, : self.m0].contiguous()  # (E, lmax + 1, L)
            ends = [frame @ z.index_select(0, end) for end in (edges.source, edges.target)]
            weights = self.radial(scalars).unflatten(1, (self.m0, 2, self.natural)).unbind(2)
            axial = [(x * w)[:, None] for x, w in zip(ends, weights, strict=True)]  # (E, 1, lmax + 1, Cn)
            mixed = product(axial, self.mix.weight.T) + self.mix.bias
            messages = self.out(nn.functional.silu(mixed))  # (E, Cn)
            messages = messages * (edges.envelope * self.scale)[:, None]
            sums: Tensor = messages.new_zeros(len(z), self.natural)
            return sums.index_add(0, edges.target, messages)

        sums = sum_messages(gathered, edges, scalars, recompute)
        scalars = torch.cat([z[:, 0], sums], dim=1)  # (N, 2 Cn)
        features = self.mlp[:-1](scalars)  # (N, F)
        energies = self.mlp[-1](features).squeeze(1)
        if self.state is None:
            return AtomicEnergies(energies, None, features)
        extra, share = self.state(scalars, state)
        return AtomicEnergies(energies + extra, share, features)
