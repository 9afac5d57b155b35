"""Positions of predicted blocks in the matrices of a batch."""

from torch import Tensor, nn, where

from helm_ase.nn.assembly import PlacedBlocks
from helm_ase.nn.edges import DirectedEdges
from helm_ase.nn.hamiltonian_head import HamiltonianHead


def place_atoms(
    head: nn.Module, nodes: Tensor, elements: Tensor, slots: Tensor, offsets: Tensor
) -> list[PlacedBlocks]:
    """Diagonal blocks and their positions.

    Parameters
    ----------
    head
        A Hamiltonian head.
    nodes
        Embeddings of the atoms, (N, L, C).
    elements
        Index of each atom's element, (N,).
    slots
        Matrix to which the block of each atom belongs, (N,).
    offsets
        First AO of each atom in its molecule, (N,).
    """
    assert isinstance(head, HamiltonianHead)
    placed = []
    for b in head.onsite_blocks(nodes, elements):
        first = offsets[b.members]
        placed.append(PlacedBlocks(slots[b.members], first, first, b.values * b.halving, b.rows, b.columns))
    return placed


def place_pairs(
    head: nn.Module,
    states: Tensor,
    edges: DirectedEdges,
    elements: Tensor,
    slots: Tensor,
    offsets: Tensor,
) -> list[PlacedBlocks]:
    """Blocks of pairs and their positions.

    Parameters
    ----------
    head
        A Hamiltonian head.
    states, edges
        Embeddings of the edges, (E, L, C), and the edges.
    elements, offsets
        As for :func:`place_atoms`.
    slots
        Matrix to which the block of each edge belongs, (E,).
    """
    assert isinstance(head, HamiltonianHead)
    target, source = elements[edges.target], elements[edges.source]
    once = (target != source) & head.hermitian  # others are read in both directions
    weight = edges.envelope * where(once, 1.0, 0.5).to(edges.envelope)
    placed = []
    for b in head.pair_blocks(states, target, source):
        row, col = edges.target[b.members], edges.source[b.members]
        values = b.values * weight[b.members, None]
        placed.append(PlacedBlocks(slots[b.members], offsets[row], offsets[col], values, b.rows, b.columns))
    return placed
