"""Hamiltonian head: embeddings of atoms and pairs → AO blocks of the correction ΔH.

Elements that carry the same shells are of one *kind*, and blocks of one kind, or of one pair of kinds, are
built together, so that the number of steps does not grow with the square of the number of elements.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from helm_ase.nn.assembly import onsite_halving
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
        self.is_onsite = onsite
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
        x: Tensor = self.gate(self.mix(embeddings))
        return x * (1 + self.gain.index_select(0, species).index_select(1, self.degrees))

    def coefficients(self, x: Tensor, species: Tensor, rows: dict[PathKey, Tensor]) -> dict[PathKey, Tensor]:
        """Coefficients (E, 2L + 1, n) from features (E, L, C) of species (E,) that share their rows (n,)."""
        parts = x.split([2 * l + 1 for l in range(self.lmax + 1)], dim=1)
        coefficients = {}
        for key, picked in rows.items():
            name, (coupled, natural) = path_name(key), key
            table = self.tables[name]
            scale = getattr(self, f"scale_{name}").index_select(0, species).index_select(1, picked)
            h = parts[coupled]
            if self.parity:
                h = h[..., : self.channels.natural] if natural else h[..., self.channels.natural :]
            if self.pad_shells:
                y = (h @ table.T).index_select(2, picked)
            else:
                y = h @ table.index_select(0, picked).T
            y = y * scale[:, None]  # (E, 2L + 1, n)
            if key == (0, True):
                y = y + self.shift.index_select(0, species).index_select(1, picked)[:, None]
            coefficients[key] = y
        return coefficients


def path_name(key: PathKey) -> str:
    """Name of the parameters of a path, e.g. ``L2n``."""
    return f"L{key[0]}{'n' if key[1] else 'u'}"


@dataclass(frozen=True)
class Blocks:
    """Blocks of one kind of element, or of one ordered pair of kinds; or single elements of blocks of all
    kinds, each as a block of size one with its own row, column and halving, (n, 1)."""

    members: Tensor
    """Atoms or edges that the blocks belong to, (n,)."""
    values: Tensor
    """Elements of the blocks, Hartree, (n, size)."""
    rows: Tensor
    """Row within the block of every element, (size,)."""
    columns: Tensor
    """Column within the block of every element, (size,)."""
    halving: Tensor
    """On-site blocks: ½ where a shell meets itself; else 1; (size,)."""


@dataclass(frozen=True)
class BlockRecipe:
    """How the blocks of a kind are built, with tensors on the device and in the precision of the network."""

    plan: BlockPlan
    matrices: list[Tensor]
    """Coupling matrix of every group of shells."""
    table_rows: dict[PathKey, Tensor]
    """Rows of the read-out's tables for every path."""
    rows: Tensor
    columns: Tensor
    halving: Tensor

    def blocks(self, members: Tensor, coefficients: dict[PathKey, Tensor]) -> Blocks:
        """Blocks of some members from their coefficients."""
        values = expand(self.plan, coefficients, self.matrices)
        return Blocks(members, values, self.rows, self.columns, self.halving)


@dataclass(frozen=True)
class UnionRecipe:
    """Recipe by which blocks of all kinds are built together: all pairs of shells that occur in any element
    are computed, and each pair of kinds then selects its own."""

    recipe: BlockRecipe
    """Recipe of an element with all shells."""
    row: Tensor
    """Row within its own block of every element, or −1 if the kinds lack the shells, (kinds [× kinds],
    size)."""
    column: Tensor
    """Column, likewise."""

    def blocks(self, kinds: Tensor, coefficients: dict[PathKey, Tensor]) -> Blocks:
        """Elements of the blocks of members that are of these kinds (n,)."""
        values = expand(self.recipe.plan, coefficients, self.recipe.matrices)  # (n, size)
        there = (self.row >= 0)[kinds].flatten().nonzero().squeeze(1)  # of n × size
        member, element = there // values.shape[1], there % values.shape[1]
        row, column = (table[kinds[member], element][:, None] for table in (self.row, self.column))
        own = values.flatten().index_select(0, there)[:, None]
        return Blocks(member, own, row, column, self.recipe.halving[element][:, None])


class HamiltonianHead(nn.Module):
    """On-site and two-centre read-outs of one spin channel.

    A processor builds the blocks of one kind of element, or of one pair of kinds, after the other, which is
    the least arithmetic.  Five kinds make 25 pairs and thousands of small operations, which take a GPU longer
    to start than to do: there blocks of all kinds are built at once, with the shells that some of them lack.

    Parameters
    ----------
    basis
        Shells of every element of the model.
    lmax, channels
        Largest degree and channels of the embeddings; lmax must reach twice the largest shell degree.
    parity
        Whether natural and unnatural channels are distinct.
    hermitian
        True: heteronuclear pairs are read once, lower atomic number first.  False: both directions are
        read and averaged, as the paper's code does after the fact.
    pad_shells
        Compute all slots and drop those an element lacks (ablation only).
    """

    kind: Tensor

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
        self.kinds = tuple(dict.fromkeys(basis.slots[z] for z in self.elements))
        kind = [self.kinds.index(basis.slots[z]) for z in self.elements]
        self.register_buffer("kind", torch.tensor(kind), persistent=False)
        self._plans: dict[tuple[int, ...], tuple[BlockPlan, list[Tensor]]] = {}
        self._recipes: dict[tuple[Any, ...], BlockRecipe] = {}
        self._unions: dict[tuple[Any, ...], UnionRecipe] = {}

    def plan(self, *elements: int) -> tuple[BlockPlan, list[Tensor]]:
        """Plan and coupling matrices (float64) of the blocks of an element, or of two; cached."""
        kinds = tuple(int(self.kind[e]) for e in elements)
        if kinds not in self._plans:
            plan = plan_block(self.kinds[kinds[0]], self.kinds[kinds[-1]], len(kinds) == 1)
            matrices = [coupling_matrix(*group.degrees, group.couplings) for group in plan.groups]
            self._plans[kinds] = plan, matrices
        return self._plans[kinds]

    def readout(self, *elements: int) -> tuple[BlockReadout, int]:
        """The read-out that serves an element or two, and its index of their species."""
        if len(elements) == 1:
            return self.onsite, elements[0]
        return self.pair, elements[0] * len(self.elements) + elements[1]

    def _recipe(self, like: Tensor, *kinds: int) -> BlockRecipe:
        """Recipe on the device and in the precision of the features."""
        key = (*kinds, like.device, like.dtype)
        if key not in self._recipes:
            elements = [int((self.kind == k).nonzero()[0, 0]) for k in kinds]
            plan, matrices = self.plan(*elements)
            self._recipes[key] = block_recipe(plan, matrices, self.readout(*elements)[0], like)
        return self._recipes[key]

    def _union(self, like: Tensor, onsite: bool) -> UnionRecipe:
        """Recipe of all kinds on the device and in the precision of the features."""
        key = (onsite, like.device, like.dtype)
        if key not in self._unions:
            shells = tuple(sorted({slot for kind in self.kinds for slot in kind}))
            plan = plan_block(shells, shells, onsite)
            matrices = [coupling_matrix(*group.degrees, group.couplings) for group in plan.groups]
            recipe = block_recipe(plan, matrices, self.onsite if onsite else self.pair, like)
            own = torch.stack([own_functions(kind, shells) for kind in self.kinds]).to(like.device)  # (k, A)
            row, column = own[:, recipe.rows], own[:, recipe.columns]  # (k, size)
            if not onsite:
                n, size = row.shape
                row = row[:, None].expand(n, n, size).flatten(0, 1)
                column = column.expand(n, n, size).flatten(0, 1)
            there = (row >= 0) & (column >= 0)
            self._unions[key] = UnionRecipe(recipe, torch.where(there, row, -1), column)
        return self._unions[key]

    def onsite_blocks(self, nodes: Tensor, elements: Tensor, together: bool | None = None) -> list[Blocks]:
        """Diagonal blocks, one item for each kind of element present.

        Parameters
        ----------
        nodes
            Embeddings, shape (N, L, C).
        elements
            Element indices, shape (N,).
        together
            Build all kinds at once; None: on everything but a CPU.
        """
        x = self.onsite.features(nodes, elements)
        if nodes.device.type != "cpu" if together is None else together:
            union = self._union(x, onsite=True)
            coefficients = self.onsite.coefficients(x, elements, union.recipe.table_rows)
            return [union.blocks(self.kind[elements], coefficients)]
        blocks = []
        for k, atoms in members(self.kind[elements], len(self.kinds)):
            recipe = self._recipe(x, k)
            coefficients = self.onsite.coefficients(x[atoms], elements[atoms], recipe.table_rows)
            blocks.append(recipe.blocks(atoms, coefficients))
        return blocks

    def pair_blocks(
        self, states: Tensor, first: Tensor, second: Tensor, together: bool | None = None
    ) -> list[Blocks]:
        """Two-centre blocks, one item for each ordered pair of kinds present.

        Parameters
        ----------
        states
            Pair embeddings in the common frame, shape (E, L, C).
        first, second
            Element indices of the atoms of rows and columns, each (E,).
        together
            Build all pairs of kinds at once; None: on everything but a CPU.
        """
        n = len(self.kinds)
        species = first * len(self.elements) + second
        kinds = self.kind[first] * n + self.kind[second]
        x = self.pair.features(states, species)
        if states.device.type != "cpu" if together is None else together:
            union = self._union(x, onsite=False)
            return [union.blocks(kinds, self.pair.coefficients(x, species, union.recipe.table_rows))]
        blocks = []
        for k, edges in members(kinds, n * n):
            recipe = self._recipe(x, *divmod(k, n))
            coefficients = self.pair.coefficients(x[edges], species[edges], recipe.table_rows)
            blocks.append(recipe.blocks(edges, coefficients))
        return blocks

    def __getstate__(self) -> dict[str, Any]:
        """State without cached tensors, as a copy may be moved to another device."""
        return self.__dict__ | {"_recipes": {}, "_unions": {}}


def block_recipe(plan: BlockPlan, matrices: list[Tensor], readout: BlockReadout, like: Tensor) -> BlockRecipe:
    """Recipe of a plan on the device and in the precision of ``like``."""
    return BlockRecipe(
        plan,
        [m.to(like) for m in matrices],
        {path: rows.to(like.device) for path, rows in readout.rows(plan).items()},
        torch.from_numpy(plan.rows).to(like.device),
        torch.from_numpy(plan.cols).to(like.device),
        (onsite_halving(plan) if readout.is_onsite else torch.ones(plan.size)).to(like),
    )


def own_functions(own: tuple[Slot, ...], shells: tuple[Slot, ...]) -> Tensor:
    """Place among an element's own functions of every function of a list of shells, or −1, (A,)."""
    first = {slot: sum(2 * l + 1 for l, _ in own[:k]) for k, slot in enumerate(own)}
    places = [[first[slot] + m if slot in first else -1 for m in range(2 * slot[0] + 1)] for slot in shells]
    return torch.tensor([place for shell in places for place in shell])


def members(kinds: Tensor, number: int) -> list[tuple[int, Tensor]]:
    """(kind, indices of its members) of every kind that occurs among (E,), in one transfer to the host."""
    order = torch.argsort(kinds, stable=True)
    counts = torch.bincount(kinds, minlength=number).tolist()
    return [(k, part) for k, part in enumerate(order.split(counts)) if len(part)]
