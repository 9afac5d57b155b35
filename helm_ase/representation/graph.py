"""The molecule or crystal as the network sees it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data

from helm_ase.representation.geometry import check_geometry, near_pairs
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.periodic_pairs import check_images, periodic_pairs

SLOTS = ("slot", "partner", "home")
"""Fields of crystals that count translations, and are renumbered where graphs are joined."""


class AtomicGraph(Data):
    """Atoms and the pairs of atoms within a cutoff.

    ===============  ==================  =====================================================
    field            shape               meaning
    ===============  ==================  =====================================================
    z                (N,)                atomic numbers
    pos              (N, 3)              positions in Å, always float64
    charge           (1,) or (B,)        total charge in e
    multiplicity     (1,) or (B,)        spin multiplicity 2S + 1
    pair_index       (2, P)              each pair once, lower atomic number first
    ===============  ==================  =====================================================

    A crystal has further fields; a translation T stands for the second atom of a pair, n_T are those that
    occur, with their opposites and zero, ascending.

    ===============  ==================  =====================================================
    shift            (P, 3)              T of each pair; an atom and its own image once for ±T
    cell             (B, 3, 3)           lattice vectors as rows in Å, float64, completed
    translation      (n_T, 3)            all T
    slot             (P,)                place of a pair's T among them
    partner          (n_T,)              place of −T
    home             (B,)                place of T = 0
    ===============  ==================  =====================================================

    A pair of equal elements is listed with the lower atom index first; nothing downstream may depend on
    that choice, and a test renumbers the atoms to see that nothing does.
    A batch is torch-geometric's ``Batch`` of such graphs, with the additional fields ``batch`` and ``ptr``.
    """

    @classmethod
    def from_arrays(
        cls,
        numbers: Sequence[int] | NDArray[np.integer],
        positions: NDArray[np.float64],
        cutoff: float,
        charge: int = 0,
        multiplicity: int = 1,
        lattice: Lattice | None = None,
    ) -> "AtomicGraph":
        """Build the graph of one molecule or crystal.

        Parameters
        ----------
        numbers
            Atomic numbers, shape (N,).
        positions
            Positions in Å, shape (N, 3).
        cutoff
            Largest distance of a listed pair, in Å.
        charge, multiplicity
            Total charge in e and 2S + 1.
        lattice
            Lattice of a crystal; one without periodic directions has zero as its only translation.

        Raises
        ------
        StructureError
            If there are no atoms, a position is not finite, or two atoms or their images coincide.
        """
        z = np.asarray(numbers, dtype=np.int64)
        r = np.asarray(positions, dtype=np.float64)
        check_geometry(z, r)
        if lattice is not None:
            return cls._of_crystal(z, r, cutoff, (charge, multiplicity), lattice)
        first, second, _ = near_pairs(r, cutoff)
        swap = z[first] > z[second]
        pairs = np.stack([np.where(swap, second, first), np.where(swap, first, second)])
        return cls(
            z=torch.from_numpy(z),
            pos=torch.from_numpy(r.copy()),
            charge=torch.tensor([charge]),
            multiplicity=torch.tensor([multiplicity]),
            pair_index=torch.from_numpy(pairs),
        )

    @classmethod
    def _of_crystal(
        cls, z: NDArray[np.int64], r: NDArray[np.float64], cutoff: float, state: tuple[int, int],
        lattice: Lattice,
    ) -> "AtomicGraph":  # fmt: skip
        near = periodic_pairs(z, r, cutoff, lattice)
        check_images(r, near, lattice)
        count = len(near.translations)
        return cls(
            z=torch.from_numpy(z),
            pos=torch.from_numpy(r.copy()),
            charge=torch.tensor([state[0]]),
            multiplicity=torch.tensor([state[1]]),
            pair_index=torch.from_numpy(near.pairs),
            shift=torch.from_numpy(near.shifts),
            cell=torch.from_numpy(lattice.complete.copy())[None],
            translation=torch.from_numpy(near.translations),
            slot=torch.from_numpy(near.slots),
            partner=torch.arange(count - 1, -1, -1),
            home=torch.tensor([count // 2]),
        )

    @property
    def is_crystal(self) -> bool:
        """Whether pairs carry translations."""
        return "shift" in self

    @property
    def load(self) -> int:
        """Number of atoms and pairs: what the network's time and memory go with."""
        return len(self.z) + int(self.pair_index.shape[1])

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Count translations of all graphs that are joined."""
        return len(self.translation) if key in SLOTS else super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Concatenate pairs along their second axis."""
        return 1 if key == "pair_index" else super().__cat_dim__(key, value, *args, **kwargs)


class Loaded(Protocol):
    """Anything whose time and memory in the network are known beforehand."""

    @property
    def load(self) -> int:
        """Atoms and pairs."""


LoadedItem = TypeVar("LoadedItem", bound=Loaded)


def bounded_batches(items: Iterable[LoadedItem], max_load: int) -> Iterator[list[LoadedItem]]:
    """Items in their order, in batches of at most ``max_load``; a larger one makes a batch of its own."""
    batch: list[LoadedItem] = []
    load = 0
    for item in items:
        if batch and load + item.load > max_load:
            yield batch
            batch, load = [], 0
        batch.append(item)
        load += item.load
    if batch:
        yield batch


def batch_graphs(graphs: Sequence[AtomicGraph]) -> Batch:
    """Join molecules into one batch; atoms and pairs keep their order."""
    return Batch.from_data_list(list(graphs))


def edge_vectors(graph: Data, position: Tensor | None = None, strain: Tensor | None = None) -> Tensor:
    """Vector from the first to the second atom of every pair, image included, Å, (P, 3).

    Parameters
    ----------
    graph
        One graph or a batch.
    position
        Å, (N, 3), instead of the graph's own.
    strain
        ε of each structure, (B, 3, 3): every vector r becomes r (1 + ε), symmetrised, so that no turn of the
        axes is among them.
    """
    r = graph.pos if position is None else position
    first, second = graph.pair_index
    vectors = r[second] - r[first]
    shift = getattr(graph, "shift", None)
    if shift is None and strain is None:
        return vectors
    structure = molecule_index(graph)[first]
    if shift is not None:
        vectors = vectors + torch.einsum("pt,ptx->px", shift.to(vectors), graph.cell[structure])
    if strain is not None:
        symmetric = 0.5 * (strain + strain.mT)
        vectors = vectors + torch.einsum("px,pxy->py", vectors, symmetric[structure])
    return vectors


def block_slots(graph: Data) -> tuple[Tensor, Tensor, Tensor | None]:
    """Matrix to which the block of each atom, (N,), and of each pair, (P,), belongs.

    In molecules it is that of the molecule; in crystals that of the translation, and the third item is the
    matrix of the opposite one, (n_T,).
    """
    structure = molecule_index(graph)
    if getattr(graph, "shift", None) is None:
        return structure, structure[graph.pair_index[0]], None
    return graph.home[structure], graph.slot, graph.partner


def molecule_index(graph: Data) -> Tensor:
    """Molecule to which each atom belongs, shape (N,)."""
    batch = getattr(graph, "batch", None)
    return batch if batch is not None else torch.zeros_like(graph.z)


def count_molecules(graph: Data) -> int:
    """Number B of molecules in a graph or batch."""
    return int(graph.charge.shape[0])
