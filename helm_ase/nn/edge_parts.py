"""Edges computed in parts, so that memory does not grow with what a message takes.

A message between two atoms takes a hundred times the memory of its result, and for gradients most of that is
kept.  Sums over edges can be computed some edges at a time: without gradients that costs nothing; with them,
each part is computed once more for the backward pass (gradient checkpointing), and only what goes in is kept.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from helm_ase.nn.edges import DirectedEdges

AT_ONCE = {"cpu": 2048}
"""Edges of a part by kind of device: a processor's caches want few, a GPU's cores many."""
AT_ONCE_ELSEWHERE = 32_768
KEPT = {"cpu": 16_000}
"""Edges between atoms from which on gradients are computed in parts unless one asks otherwise."""


def parts(count: int, device: torch.device, edges_each: int = 1) -> Iterator[slice]:
    """Slices that cover ``count`` edges, or pairs of atoms that make up to ``edges_each`` edges."""
    size = AT_ONCE.get(device.type, AT_ONCE_ELSEWHERE) // edges_each
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def too_many_to_keep(edges: DirectedEdges) -> bool:
    """Whether so many edges are better computed twice than kept for the gradient."""
    count = len(edges.source)
    return count > KEPT.get(edges.source.device.type, count)


def sum_messages(
    messages: Callable[[DirectedEdges, Tensor], Tensor],
    edges: DirectedEdges,
    scalars: Tensor,
    recompute: bool,
) -> Tensor:
    """Sum that ``messages`` gives for all edges, in parts where that saves memory.

    Parameters
    ----------
    messages
        Sums over neighbours for some edges and their scalars, (N, …).
    edges, scalars
        E edges, and what describes them, (E, S).
    recompute
        Compute them in parts, and again for the gradient; else in parts only where no gradient is needed.
    """
    gradient = torch.is_grad_enabled()
    slices = list(parts(len(edges.source), scalars.device))
    if len(slices) < 2 or (gradient and not recompute):
        return messages(edges, scalars)
    total: Tensor | None = None
    for own in slices:
        arguments = edges.select(own), scalars[own]
        some: Tensor = (
            checkpoint(messages, *arguments, use_reentrant=False, preserve_rng_state=False)
            if gradient
            else messages(*arguments)
        )
        total = some if total is None else total + some
    assert total is not None
    return total
