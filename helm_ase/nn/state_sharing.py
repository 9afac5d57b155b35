"""The charge and multiplicity of a molecule, brought to its atoms as local shares.

A vector added to every atom, as most networks do it, changes a molecule that is far from an ion.  Here the
atoms of a molecule compete for the state of the whole by attention, similar to SpookyNet (Unke et al., Nat.
Commun. 2021), normalised over the molecule, so that shares are local where the chemistry is; and a neutral
closed shell has nothing to share.
"""

import math

import torch
from torch import Tensor, nn


class StateSharing(nn.Module):
    """Δx_i = [g a_ih / (1 + g a_ih) v_h(s)]_h with a_ih = softmax_i(k_h(x_i) · q_h(s)), s the state of the
    molecule.

    Parameters
    ----------
    channels
        Of the scalars, C.
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
        self.charge = nn.Embedding(len(charges), channels)
        self.multiplicity = nn.Embedding(len(multiplicities), channels)
        self.key = nn.Sequential(
            nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels, bias=False)
        )
        self.query = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.neutral = charges.index(0) if 0 in charges else None
        self.singlet = multiplicities.index(1) if 1 in multiplicities else None

    def forward(self, scalars: Tensor, charge: Tensor, multiplicity: Tensor, molecule: Tensor) -> Tensor:
        """What every atom has of the state of its molecule, (N, C); zero in neutral closed shells.

        Parameters
        ----------
        scalars
            Of the atoms, (N, C).
        charge, multiplicity
            Indices of the states of the molecules, each (B,).
        molecule
            Molecule of each atom, (N,).
        """
        state = difference(self.charge, charge, self.neutral)
        state = state + difference(self.multiplicity, multiplicity, self.singlet)  # (B, C)
        query, value = (
            f(state).unflatten(1, (self.heads, -1)) for f in (self.query, self.value)
        )  # (B, H, C/H)
        key = self.key(scalars).unflatten(1, (self.heads, -1))  # (N, H, C/H)
        share = softmax_over((key * query[molecule]).sum(-1), molecule, len(charge))  # (N, H)
        amount = self.gain * share / (1 + self.gain * share)  # of order one where the state is, else small
        return (amount[:, :, None] * value[molecule]).flatten(1)


def difference(table: nn.Embedding, index: Tensor, rest: int | None) -> Tensor:
    """Embedding of states (B,) minus that of the state in which nothing is shared, (B, C)."""
    found: Tensor = table(index)
    return found if rest is None else found - table.weight[rest]


def softmax_over(logits: Tensor, molecule: Tensor, n_molecules: int) -> Tensor:
    """Softmax of (N, H) over the atoms of each molecule; differentiable twice."""
    index = molecule[:, None].expand_as(logits)
    highest = logits.new_full((n_molecules, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax")
    weight = torch.exp(logits - highest[molecule])
    total = weight.new_zeros(n_molecules, logits.shape[1]).index_add(0, molecule, weight)
    return weight / total[molecule]
