"""Bond graphs as names of molecules, from SMILES or from geometries, independent of the spelling.

Orders of bonds, charges and stereochemistry do not count: CS(C)=O and C[S+](C)[O-] are one molecule, as are
CC=S and C[CH][S].  How many hydrogen atoms each atom carries does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from helm_ase.errors import StructureError
from helm_ase.representation.connectivity import bonded, fragments, refined_colours

TOKEN = re.compile(
    r"(?P<bracket>\[[^\]]*\])|(?P<atom>Br|Cl|[BCNOPSFI]|[bcnops])|(?P<bond>[-=#$:~/\\])|"
    r"(?P<ring>\d|%\d\d|%\(\d+\))|(?P<open>\()|(?P<close>\))|(?P<dot>\.)"
)
BRACKET = re.compile(
    r"\[\d*(?P<symbol>[A-Z][a-z]?|[a-z][a-z]?)@*(?:[A-Z]{2}\d+)?(?:H(?P<count>\d*))?[^\]]*\]"
)
ORDERS = {"-": 1, "=": 2, "#": 3, "$": 4}
"""Symbol of a bond → order; all others count as single."""
VALENCES = {"B": (3,), "C": (4,), "N": (3, 5), "O": (2,), "P": (3, 5), "S": (2, 4, 6), "F": (1,), "Cl": (1,),
            "Br": (1,), "I": (1,)}  # fmt: skip
"""Valences of atoms written without brackets, which are filled up with hydrogen."""
AROMATIC_CARBON = 3


@dataclass
class _Graph:
    """Atoms, hydrogen atoms on them, and bonds, as a SMILES is read."""

    symbols: list[str] = field(default_factory=list)
    hydrogens: list[int | None] = field(default_factory=list)
    """As written in brackets; None: to be filled up."""
    bonds: list[tuple[int, int, int]] = field(default_factory=list)


def parts_of_smiles(smiles: str) -> tuple[str, ...]:
    """Names of the bond graphs of the parts of a SMILES, in its order.

    Raises
    ------
    StructureError
        If it is no SMILES.

    Examples
    --------
    >>> parts_of_smiles("CS(C)=O") == parts_of_smiles("C[S+](C)[O-]")
    True
    """
    return tuple(_name_of_part(part) for part in smiles.split("."))


def parts_of_geometry(numbers: NDArray[np.integer], positions: NDArray[np.float64]) -> tuple[str, ...]:
    """Names of the bond graphs of the molecules in a geometry, sorted; Å, (N, 3)."""
    bonds = bonded(numbers, positions)
    part = fragments(bonds)
    names = []
    for k in range(int(part.max()) + 1):
        here = part == k
        names.append(_name(np.asarray(numbers)[here], bonds[np.ix_(here, here)], np.zeros(here.sum(), int)))
    return tuple(sorted(names))


def _name_of_part(smiles: str) -> str:
    graph = _read(smiles)
    count = len(graph.symbols)
    orders = np.zeros((count, count), dtype=int)
    for i, j, order in graph.bonds:
        orders[i, j] = orders[j, i] = order
    hydrogens = [
        given if given is not None else _filled(symbol, int(row.sum()), smiles)
        for symbol, given, row in zip(graph.symbols, graph.hydrogens, orders, strict=True)
    ]
    numbers = np.array([atomic_numbers[s.capitalize()] for s in graph.symbols])
    return _name(numbers, orders > 0, np.array(hydrogens))


def _name(numbers: NDArray[np.integer], bonds: NDArray[np.bool_], hydrogens: NDArray[np.integer]) -> str:
    """Name of a connected graph; single hydrogen atoms count as part of the heavy atom that carries them."""
    heavy = numbers > 1
    if not heavy.any():
        return f"H{len(numbers) + int(hydrogens.sum())}"
    carried = hydrogens + bonds[:, ~heavy].sum(1)
    colours = [f"{int(z)}H{int(n)}" for z, n in zip(numbers[heavy], carried[heavy], strict=True)]
    return refined_colours(colours, bonds[np.ix_(heavy, heavy)])


def _filled(symbol: str, bonds: int, smiles: str) -> int:
    if symbol.islower():
        return max(AROMATIC_CARBON - bonds, 0) if symbol == "c" else 0
    enough = [v for v in VALENCES[symbol] if v >= bonds]
    if not enough:
        raise StructureError(f"{smiles!r} is no SMILES: {symbol} with {bonds} bonds needs brackets")
    return enough[0] - bonds


def _tokens(smiles: str) -> Iterator[tuple[str, str]]:
    position = 0
    for match in TOKEN.finditer(smiles):
        if match.start() != position:
            break
        position = match.end()
        yield str(match.lastgroup), match[0]
    if position != len(smiles) or not smiles:
        raise StructureError(f"{smiles!r} is no SMILES: {smiles[position:][:20]!r} cannot be read")


def _read(smiles: str) -> _Graph:
    graph, before, order = _Graph(), -1, 1
    branches: list[int] = []
    rings: dict[str, tuple[int, int]] = {}
    for kind, text in _tokens(smiles):
        if kind == "bond":
            order = ORDERS.get(text, 1)
            continue
        if kind in ("atom", "bracket"):
            _add_atom(graph, kind, text, smiles)
            if before >= 0:
                graph.bonds.append((before, len(graph.symbols) - 1, order))
            before = len(graph.symbols) - 1
        elif kind == "ring":
            if text in rings:
                other, first_order = rings.pop(text)
                graph.bonds.append((other, before, max(order, first_order)))
            else:
                rings[text] = before, order
        elif kind == "open":
            branches.append(before)
        elif branches:
            before = branches.pop()
        else:
            raise StructureError(f"{smiles!r} is no SMILES: a branch ends in it that never began")
        order = 1
    if rings or branches or before < 0:
        raise StructureError(f"{smiles!r} is no SMILES: a ring or a branch in it has no end")
    return graph


def _add_atom(graph: _Graph, kind: str, text: str, smiles: str) -> None:
    hydrogens: int | None = None
    symbol = text
    if kind == "bracket":
        match = BRACKET.fullmatch(text)
        symbol = match["symbol"] if match else ""
        if symbol.capitalize() not in atomic_numbers and symbol[:1].capitalize() in atomic_numbers:
            symbol = symbol[:1]
        hydrogens = 0 if match is None or match["count"] is None else int(match["count"] or 1)
    if symbol.capitalize() not in atomic_numbers:
        raise StructureError(f"{smiles!r} is no SMILES: {text!r} is no atom")
    graph.symbols.append(symbol)
    graph.hydrogens.append(hydrogens)
