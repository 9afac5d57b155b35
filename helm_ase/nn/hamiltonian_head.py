"""Hamiltonian head: embeddings of atoms and pairs → AO blocks of the correction ΔH."""

from itertools import product

import torch
from torch import Tensor, nn

from helm_ase.nn.equivariant import Channels, DegreeGate, DegreeLinear
from helm_ase.nn.harmonics import row_degrees
from helm_ase.nn.tensor_construction import BlockPlan, Slot, coupling_matrix, expand, is_natural, plan_block
from helm_ase.representation.basis import AOBasis

PathKey = tuple[int, bool]
"""(L, natural?) of an irreducible tensor."""


class BlockReadout(nn.Module):
    """Read the coefficients of one kind of blocks (on-site or two-centre) from embeddings.

    One weight row per (slot of the first atom, slot of the second, L), shared by all elements; an element
    reads only the rows of the shells it has.  ``scale`` (and ``shift``, on-site L = 0) hold the spread
    (and mean) of the coefficients in the training set, per species: the paper's element referencing,
    extended to every path so that the network's outputs are of order one.
    """

    degrees: Tensor
    shift: Tensor

    def __init__(
        self,
        slots: list[Slot],
        n_species: int,
        lmax: int,
        channels: Channels,
        parity: bool,
        onsite: bool,
        pad_shells: bool,
    ) -> None:
        super().__init__()
        self.channels, self.parity, self.lmax, self.pad_shells = channels, parity, lmax, pad_shells
        degrees = row_degrees(lmax)
        self.mix = DegreeLinear(degrees, channels, channels)
        self.gate = DegreeGate(degrees, channels)
        self.gain = nn.Parameter(torch.zeros(n_species, lmax + 1, channels.total))
        self.register_buffer("degrees", torch.tensor(degrees), persistent=False)
        self.position: dict[PathKey, dict[tuple[Slot, Slot], int]] = {}
        for a, b in product(slots, slots):
            for coupled in range(abs(a[0] - b[0]), a[0] + b[0] + 1):
                if onsite and a == b and coupled % 2:
                    continue
                key = (coupled, is_natural(a[0], b[0], coupled))
                table = self.position.setdefault(key, {})
                table[a, b] = len(table)
        self.tables = nn.ParameterDict()
        for key, table in self.position.items():
            width = channels.natural if key[1] or not parity else channels.unnatural
            self.tables[path_name(key)] = nn.Parameter(torch.randn(len(table), width) / width**0.5)
            self.register_buffer(f"scale_{path_name(key)}", torch.ones(n_species, len(table)))
        self.register_buffer("shift", torch.zeros(n_species, len(self.position.get((0, True), {}))))

    def rows(self, plan: BlockPlan) -> dict[PathKey, Tensor]:
        """Table rows of every path of a plan."""
        return {
            key: torch.tensor([self.position[key][pair] for pair in pairs])
            for key, pairs in plan.paths.items()
        }

    def features(self, embeddings: Tensor, species: Tensor) -> Tensor:
        """Mix, gate and weigh embeddings (E, L, C) by the gains of their species (E,)."""
        x = self.gate(self.mix(embeddings))
        return x * (1 + self.gain.index_select(0, species).index_select(1, self.degrees))

    def coefficients(self, x: Tensor, species: int, rows: dict[PathKey, Tensor]) -> dict[PathKey, Tensor]:
        """Coefficients (E, 2L + 1, n) of one species from its features (E, L, C)."""
        parts = x.split([2 * l + 1 for l in range(self.lmax + 1)], dim=1)
        found = {}
        for key, picked in rows.items():
            name, (coupled, natural) = path_name(key), key
            table = self.tables[name]
            scale = getattr(self, f"scale_{name}")[species, picked]
            h = parts[coupled]
            if self.parity:
                h = h[..., : self.channels.natural] if natural else h[..., self.channels.natural :]
            if self.pad_shells:
                y = (h @ table.T)[..., picked] * scale
            else:
                y = h @ (table[picked] * scale[:, None]).T
            found[key] = y + self.shift[species, picked] if key == (0, True) else y
        return found


def path_name(key: PathKey) -> str:
    """Name of the parameters of a path, e.g. ``L2n``."""
    return f"L{key[0]}{'n' if key[1] else 'u'}"


class HamiltonianHead(nn.Module):
    """On-site and two-centre read-outs of one spin channel.

    Parameters
    ----------
    basis
        Shells of every element of the model.
    lmax, channels
        Of the embeddings; lmax must reach twice the largest shell degree.
    parity
        Whether natural and unnatural channels are distinct.
    hermitian
        True: heteronuclear pairs are read once, lower atomic number first.  False: both directions are
        read and averaged, as the paper's code does after the fact.
    pad_shells
        Compute all slots and drop those an element lacks (ablation only).
    """

    def __init__(
        self,
        basis: AOBasis,
        lmax: int,
        channels: Channels,
        parity: bool = True,
        hermitian: bool = True,
        pad_shells: bool = False,
    ) -> None:
        super().__init__()
        self.basis, self.elements, self.hermitian = basis, basis.elements, hermitian
        n = len(self.elements)
        slots = sorted({slot for z in self.elements for slot in basis.slots[z]})
        self.onsite = BlockReadout(slots, n, lmax, channels, parity, True, pad_shells)
        self.pair = BlockReadout(slots, n * n, lmax, channels, parity, False, pad_shells)
        self._plans: dict[tuple[int, ...], tuple[BlockPlan, list[Tensor], dict[PathKey, Tensor]]] = {}

    def plan(self, *species: int) -> tuple[BlockPlan, list[Tensor], dict[PathKey, Tensor]]:
        """Plan, coupling matrices (float64) and table rows of an element or of two; cached."""
        if species not in self._plans:
            slots = [self.basis.slots[self.elements[s]] for s in species]
            onsite = len(species) == 1
            plan = plan_block(slots[0], slots[-1], onsite)
            matrices = [coupling_matrix(*group.degrees, group.couplings) for group in plan.groups]
            readout = self.onsite if onsite else self.pair
            self._plans[species] = plan, matrices, readout.rows(plan)
        return self._plans[species]

    def onsite_blocks(self, nodes: Tensor, elements: Tensor) -> list[tuple[Tensor, Tensor, BlockPlan]]:
        """Diagonal blocks, grouped by element.

        Parameters
        ----------
        nodes
            Embeddings, shape (N, L, C).
        elements
            Element indices, shape (N,).

        Returns
        -------
        list
            For each element present: atoms (n,), flat block values (n, plan.size) in Hartree, plan.
        """
        x = self.onsite.features(nodes, elements)
        blocks = []
        for s in elements.unique().tolist():
            atoms = (elements == s).nonzero().squeeze(1)
            plan, matrices, rows = self.plan(s)
            found = self.onsite.coefficients(x[atoms], s, rows)
            blocks.append((atoms, expand(plan, found, [m.to(x) for m in matrices]), plan))
        return blocks

    def pair_blocks(
        self, states: Tensor, first: Tensor, second: Tensor
    ) -> list[tuple[Tensor, Tensor, BlockPlan]]:
        """Two-centre blocks, grouped by the ordered pair of elements.

        Parameters
        ----------
        states
            Pair embeddings in the common frame, shape (E, L, C).
        first, second
            Element indices of the atoms of rows and columns, each (E,).
        """
        n = len(self.elements)
        species = first * n + second
        x = self.pair.features(states, species)
        blocks = []
        for s in species.unique().tolist():
            edges = (species == s).nonzero().squeeze(1)
            plan, matrices, rows = self.plan(s // n, s % n)
            found = self.pair.coefficients(x[edges], s, rows)
            blocks.append((edges, expand(plan, found, [m.to(x) for m in matrices]), plan))
        return blocks
