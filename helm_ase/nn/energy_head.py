"""Energy head: one more message step, then an MLP on the scalars of every atom."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from helm_ase.nn.edges import DirectedEdges
from helm_ase.nn.equivariant import Channels, EquivariantNorm
from helm_ase.nn.harmonics import EdgeRows, row_degrees
from helm_ase.nn.radial import RadialMLP
from helm_ase.nn.state_sharing import MolecularState, StateEnergy


class AtomicEnergies(NamedTuple):
    """Energies of the atoms, and what the error bar and the reference energies of states need."""

    energies: Tensor
    """Energies of the atoms in units of the model's energy scale, (N,)."""
    share: Tensor | None
    """Share of each atom in the charge and multiplicity of its molecule, (N,); None in a model that knows one
    state only."""
    features: Tensor
    """Last hidden layer, of which the energy is a linear function, (N, F)."""


class EnergyHead(nn.Module):
    """E = Σ_i MLP(l = 0 part of Σ_j M(z_j, z_i)), without the per-element references.

    The paper runs a full message step and keeps the l = 0 row of its result.  That row depends on nothing
    but the natural m = 0 rows of the two atoms, so only those are rotated and mixed here.
    """

    def __init__(
        self,
        rows: EdgeRows,
        channels: Channels,
        scalars: int,
        radial_hidden: int,
        hidden: int,
        neighbour_scale: float,
        charges: tuple[int, ...] = (0,),
        multiplicities: tuple[int, ...] = (1,),
        state_heads: int = 0,
    ) -> None:
        super().__init__()
        self.natural, self.m0, self.scale = channels.natural, rows.lmax + 1, neighbour_scale
        self.norm = EquivariantNorm(row_degrees(rows.lmax), channels)
        self.radial = RadialMLP(scalars, radial_hidden, self.m0 * 2 * channels.natural)
        self.mix = nn.Linear(self.m0 * 2 * channels.natural, hidden)
        self.out = nn.Linear(hidden, channels.natural, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels.natural, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip

        self.state: StateEnergy | None = None
        if state_heads and len(charges) * len(multiplicities) > 1:
            self.state = StateEnergy(2 * channels.natural, hidden, charges, multiplicities, state_heads)

    def forward(
        self, nodes: Tensor, edges: DirectedEdges, scalars: Tensor, state: MolecularState
    ) -> AtomicEnergies:
        """Energies of the atoms, and what they are made of."""
        z = self.norm(nodes)[..., : self.natural].contiguous()  # (N, L, Cn)
        axial = edges.natural[:, : self.m0] @ torch.cat([z[edges.source], z[edges.target]], dim=-1)
        axial = axial.flatten(1) * self.radial(scalars)  # (E, (lmax + 1) 2 Cn)
        messages = self.out(nn.functional.silu(self.mix(axial)))  # (E, Cn)
        messages = messages * (edges.envelope * self.scale)[:, None]
        gathered = messages.new_zeros(len(z), self.natural).index_add(0, edges.target, messages)
        scalars = torch.cat([z[:, 0], gathered], dim=1)  # (N, 2 Cn)
        features = self.mlp[:-1](scalars)  # (N, F)
        energies = self.mlp[-1](features).squeeze(1)
        if self.state is None:
            return AtomicEnergies(energies, None, features)
        extra, share = self.state(scalars, state)
        return AtomicEnergies(energies + extra, share, features)
