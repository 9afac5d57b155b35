"""The molecule as the network sees it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data

from helm_ase.representation.geometry import check_geometry


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
    ) -> "AtomicGraph":
        """Build the graph of one molecule.

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

        Raises
        ------
        StructureError
            If there are no atoms, a position is not finite, or two atoms coincide.
        """
        z = np.asarray(numbers, dtype=np.int64)
        r = np.asarray(positions, dtype=np.float64)
        check_geometry(z, r)
        first, second = np.triu_indices(len(z), k=1)
        near = np.linalg.norm(r[first] - r[second], axis=1) < cutoff
        first, second = first[near], second[near]
        swap = z[first] > z[second]
        pairs = np.stack([np.where(swap, second, first), np.where(swap, first, second)])
        return cls(
            z=torch.from_numpy(z),
            pos=torch.from_numpy(r.copy()),
            charge=torch.tensor([charge]),
            multiplicity=torch.tensor([multiplicity]),
            pair_index=torch.from_numpy(pairs),
        )

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Concatenate pairs along their second axis."""
        return 1 if key == "pair_index" else super().__cat_dim__(key, value, *args, **kwargs)


def batch_graphs(graphs: Sequence[AtomicGraph]) -> Batch:
    """Join molecules into one batch; atoms and pairs keep their order."""
    return Batch.from_data_list(list(graphs))


def molecule_index(graph: Data) -> Tensor:
    """Molecule to which each atom belongs, shape (N,)."""
    batch = getattr(graph, "batch", None)
    return batch if batch is not None else torch.zeros_like(graph.z)


def count_molecules(graph: Data) -> int:
    """Number B of molecules in a graph or batch."""
    return int(graph.charge.shape[0])
