"""Charge and multiplicity of a molecule, distributed over its atoms by attention.

If a vector for charge and multiplicity is added to every atom, as in most networks, an ion changes molecules
that are far away from it.  Here, attention distributes charge and multiplicity over the atoms, similar to
SpookyNet (Unke et al., Nat. Commun. 2021), normalised over the molecule, so that shares are local where the
chemistry is; and a neutral closed shell has nothing to share.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


class MolecularState(NamedTuple):
    """Charge and multiplicity of the molecules of a batch, and where their atoms are."""

    charge: Tensor
    """Index among the known charges, (B,)."""
    multiplicity: Tensor
    """Index among the known multiplicities, (B,)."""
    molecule: Tensor
    """Molecule of each atom, (N,)."""


@dataclass(frozen=True)
class StateSettings:
    """Charges and multiplicities that a model supports, and how they are shared among atoms."""

    charges: tuple[int, ...] = (0,)
    """Total charges, e."""
    multiplicities: tuple[int, ...] = (1,)
    """Spin multiplicities 2S + 1."""
    heads: int = 0
    """Number of attention heads that share them; with 0 they are not shared."""

    @property
    def shared(self) -> bool:
        """Whether there is more than one state, and it is shared among atoms."""
        return self.heads > 0 and len(self.charges) * len(self.multiplicities) > 1


class StateEmbedding(nn.Module):
    """Charge and multiplicity of each molecule as a vector, which is zero for neutral singlets."""

    def __init__(self, channels: int, charges: tuple[int, ...], multiplicities: tuple[int, ...]) -> None:
        super().__init__()
        self.charge = nn.Embedding(len(charges), channels)
        self.multiplicity = nn.Embedding(len(multiplicities), channels)
        self.neutral = charges.index(0) if 0 in charges else None
        self.singlet = multiplicities.index(1) if 1 in multiplicities else None

    def forward(self, state: MolecularState) -> Tensor:
        """Vectors of the molecules, (B, C)."""
        charge = difference(self.charge, state.charge, self.neutral)
        return charge + difference(self.multiplicity, state.multiplicity, self.singlet)


class StateSharing(nn.Module):
    """Δx_i = [g a_ih / (1 + g a_ih) v_h(s)]_h with a_ih = softmax_i(k_h(x_i) · q_h(s)), s the state.

    Parameters
    ----------
    channels
        Channels of the scalars, C.
    charges, multiplicities
        Known states; 0 and 1 are those in which nothing is shared.
    heads
        Independent ways to share: as many of them as divide the channels.
    gain
        g: as many atoms as a share is divided among in the mean.
    """

    def __init__(
        self,
        channels: int,
        charges: tuple[int, ...],
        multiplicities: tuple[int, ...],
        heads: int,
        gain: float,
    ) -> None:
        super().__init__()
        self.heads, self.gain = math.gcd(heads, channels), gain
        self.embedding = StateEmbedding(channels, charges, multiplicities)
        self.key = _key(channels, channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        nn.init.normal_(self.value.weight, std=channels**-0.5)  # values as large as the states themselves

    def forward(self, scalars: Tensor, state: MolecularState) -> Tensor:
        """Contribution of its molecule's charge and multiplicity to each atom, (N, C); zero in neutral
        singlets.

        Parameters
        ----------
        scalars
            Scalars of the atoms, (N, C).
        state
            State of the molecules.
        """
        s = self.embedding(state)  # (B, C)
        query, value = (f(s).unflatten(1, (self.heads, -1)) for f in (self.query, self.value))
        key = self.key(scalars).unflatten(1, (self.heads, -1))  # (N, H, C / H); query, value: (B, H, C / H)
        share = softmax_over((key * query[state.molecule]).sum(-1), state.molecule, len(s))  # (N, H)
        amount = self.gain * share / (1 + self.gain * share)  # of order one at the charged atoms, else small
        shared: Tensor = amount[:, :, None] * value[state.molecule]
        return shared.flatten(1)


class StateEnergy(nn.Module):
    """E(s) = 1/H Σ_ih a_ih u_h(x_i) · w_h(s): the energy that a state costs, as an average over the atoms
    that have it.

    The shares a of each head add to one over a molecule, so that an ionisation energy or an electron affinity
    does not grow with the molecule, whoever carries the charge.

    Parameters
    ----------
    features
        Features of an atom, F.
    width
        Width of state vectors and of what they are multiplied with.
    charges, multiplicities
        Known states.
    heads
        Independent ways to share.
    """

    def __init__(
        self, features: int, width: int, charges: tuple[int, ...], multiplicities: tuple[int, ...], heads: int
    ) -> None:
        super().__init__()
        self.heads = math.gcd(heads, width)
        self.embedding = StateEmbedding(width, charges, multiplicities)
        self.key = _key(features, width)
        self.query = nn.Linear(width, width, bias=False)
        self.atoms = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        self.states = nn.Linear(width, width, bias=False)

    def forward(self, features: Tensor, state: MolecularState) -> tuple[Tensor, Tensor]:
        """Energies of the atoms and their shares of the state, both (N,).

        Parameters
        ----------
        features
            Features of the atoms, (N, F).
        state
            State of the molecules.
        """
        s = self.embedding(state)  # (B, W)
        query, states = (f(s).unflatten(1, (self.heads, -1)) for f in (self.query, self.states))
        key, atoms = (f(features).unflatten(1, (self.heads, -1)) for f in (self.key, self.atoms))
        share = softmax_over((key * query[state.molecule]).sum(-1), state.molecule, len(s))  # (N, H)
        energy = (atoms * states[state.molecule]).mean(-1)  # (N, H)
        return (share * energy).mean(1), share.mean(1)


def _key(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.SiLU(), nn.Linear(n_out, n_out, bias=False))


def difference(table: nn.Embedding, index: Tensor, rest: int | None) -> Tensor:
    """Embedding of states (B,) minus that of the state in which nothing is shared, (B, C)."""
    embedding: Tensor = table(index)
    return embedding if rest is None else embedding - table.weight[rest]


def softmax_over(logits: Tensor, molecule: Tensor, n_molecules: int) -> Tensor:
    """Softmax of (N, H) over the atoms of each molecule; differentiable twice."""
    index = molecule[:, None].expand_as(logits)
    highest = logits.new_full((n_molecules, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax")
    weight = torch.exp(logits - highest[molecule])
    total = weight.new_zeros(n_molecules, logits.shape[1]).index_add(0, molecule, weight)
    return weight / total[molecule]
