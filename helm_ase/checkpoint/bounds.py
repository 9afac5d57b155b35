"""Checks of the headers of checkpoints from untrusted sources: does the file hold what the header announces?

A header of a hundred bytes could describe a network of a million channels.  Its numbers are therefore checked
before a network is built, and while it is built, it may not allocate more memory than the weights in the file
could fill.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import MISSING, fields
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from helm_ase.errors import CheckpointError
from helm_ase.nn import BackboneSettings, HELMSettings
from helm_ase.representation.bonding import BIN_WIDTH
from helm_ase.representation.level import plain

HEADER_BYTES = 64 * 2**20
"""Largest size of a header in bytes; fitted operators of 80 elements take 10 MiB."""
KEYS: dict[str, type] = {
    "name": str, "settings": dict, "basis": dict, "level": dict, "baseline": dict, "energy_baseline": dict,
    "elements": list, "charges": list, "multiplicities": list, "units": dict, "ao_order": str,
    "coverage": dict, "training": dict, "metrics": dict,
}  # fmt: skip
"""Entries that every header of the current format has, and their types."""
MOST = {"lmax": 16, "node_layers": 64, "state_heads": 64}
"""Upper limits of settings that cost computing time before memory is allocated."""
MOST_SHELLS, MOST_STATES, FARTHEST = 100, 64, 100.0
"""Largest numbers of shells of an element and of charges or multiplicities, and largest recorded distance,
Å."""
FREE = 2**24
"""Number of tensor elements that any network may allocate, for tables of fixed size."""


def check_keys(path: str | Path, header: Mapping[str, Any]) -> None:
    """Refuse a header that lacks an entry or has one of another type.

    Raises
    ------
    CheckpointError
        Naming the first.
    """
    for key, kind in KEYS.items():
        if not isinstance(header.get(key), kind):
            raise CheckpointError(
                f"{path}: the header has no {key!r} of type {kind.__name__}: it is damaged or not ours"
            )


def check_consistency(header: Mapping[str, Any]) -> None:
    """Refuse a header whose entries contradict one another or are implausibly large.

    Raises
    ------
    ValueError
        Saying which.
    """
    basis, settings = header["basis"], header["settings"]
    check_numbers("backbone", settings["backbone"], BackboneSettings)
    check_numbers("settings", settings, HELMSettings)
    shells = {int(z): degrees for z, degrees in basis["shells"].items()}
    if sorted(shells) != sorted(header["elements"]) or not shells:
        raise ValueError(f"elements {header['elements']} are not those of the basis, {sorted(shells)}")
    if too_many := [z for z, s in shells.items() if not 0 < len(s) <= MOST_SHELLS]:
        raise ValueError(f"element {too_many[0]} has {len(shells[too_many[0]])} shells")
    if not {int(z) for z in basis["core_electrons"]} <= set(shells):
        raise ValueError("core electrons of elements that the basis lacks")
    if plain(basis["name"]) != plain(header["level"]["basis"]):
        raise ValueError(f"basis {basis['name']!r}, but labels in {header['level']['basis']!r}")
    for key in ("charges", "multiplicities"):
        if list(settings[key]) != header[key] or not 0 < len(header[key]) <= MOST_STATES:
            raise ValueError(f"{key} are {header[key]} and {settings[key]}")
        if not all(isinstance(x, int) and not isinstance(x, bool) for x in header[key]):
            raise ValueError(f"{key} {header[key]} are no whole numbers")
    _check_coverage(header["coverage"], set(shells))


def check_numbers(where: str, given: Mapping[str, Any], record: type) -> None:
    """Refuse numbers that do not have the type of their default, are not finite, or are too large.

    Raises
    ------
    ValueError
        Naming the first that is not so.
    """
    for entry in fields(record):
        if entry.default is MISSING or entry.name not in given or isinstance(entry.default, tuple):
            continue
        value, kind = given[entry.name], type(entry.default)
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or (kind is float and not isfinite(value)):
            raise ValueError(f"{where}.{entry.name} is {value!r}, not of type {kind.__name__}")
        if kind is int and not 0 <= value <= MOST.get(entry.name, 10**5):
            raise ValueError(f"{where}.{entry.name} is {value}")


def _check_coverage(coverage: Mapping[str, Any], elements: set[int]) -> None:
    limit = float(coverage["limit"])
    if not 0 < limit <= FARTHEST:
        raise ValueError(f"coverage up to {limit} Å")
    for pair, bins in coverage["pairs"].items():
        if not set(map(int, pair.split("-"))) <= elements:
            raise ValueError(f"coverage of the pair {pair}, of which the basis lacks an element")
        if not all(0 <= k <= limit / BIN_WIDTH + 1 for k in bins):
            raise ValueError(f"coverage of the pair {pair} beyond {limit} Å")


class Allowance(TorchFunctionMode):
    """Context in which allocating more tensor elements than allowed raises ValueError."""

    SIZED = (torch.empty, torch.zeros, torch.ones, torch.full, torch.randn, torch.rand)

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.allowed, self.left = numbers, numbers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The method of torch: called in place of each of its functions."""
        kwargs = kwargs or {}
        if func in self.SIZED:
            size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            self.left -= prod(n for n in size if isinstance(n, int))
        elif func is torch.eye and args:
            self.left -= int(args[0]) ** 2
        if self.left < 0:
            raise ValueError(
                f"the network would take more than {self.allowed} numbers: not that of this file"
            )
        return func(*args, **kwargs)


def bounded_allocation(path: str | Path) -> AbstractContextManager[Any]:
    """Context in which building a network with more parameters than the file has weights raises
    ValueError."""
    return Allowance(FREE + 4 * Path(path).stat().st_size)
