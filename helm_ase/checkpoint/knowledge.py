"""Systems and quantities that a model supports; everything else is refused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

EVERYTHING = ("energy", "forces", "hamiltonian")
"""Quantities that a model predicts if its checkpoint states none."""


@dataclass(frozen=True)
class Knowledge:
    """Systems and quantities that a model was trained on."""

    elements: tuple[int, ...]
    """Atomic numbers, ascending."""
    charges: tuple[int, ...]
    """Total charges."""
    multiplicities: tuple[int, ...]
    """Spin multiplicities 2S + 1."""
    predicts: frozenset[str] = frozenset(EVERYTHING)
    """Quantities that were trained: any of ``energy``, ``forces``, ``hamiltonian``."""
    dimensions: tuple[int, ...] = (0,)
    """Numbers of periodic directions: 0 molecules, …, 3 bulk."""

    @classmethod
    def of_header(cls, header: Mapping[str, Any]) -> "Knowledge":
        """Read from the header of a checkpoint, without its weights.

        Raises
        ------
        KeyError, TypeError
            If the header lacks an entry or has one of another type.
        """
        training = header["training"]
        return cls(
            tuple(header["elements"]), tuple(header["charges"]), tuple(header["multiplicities"]),
            frozenset(training.get("predicts", EVERYTHING)), tuple(training.get("dimensions", (0,))),
        )  # fmt: skip

    def unknown_elements(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Those of the given atomic numbers that did not occur in training, ascending."""
        return tuple(sorted({int(z) for z in numbers} - set(self.elements)))

    def knows_state(self, charge: int, multiplicity: int) -> bool:
        """Whether both a total charge and a multiplicity occurred in training."""
        return charge in self.charges and multiplicity in self.multiplicities

    def admits(self, numbers: Iterable[int], charge: int, multiplicity: int) -> bool:
        """Whether elements, charge and multiplicity of a molecule all occurred in training."""
        return not self.unknown_elements(numbers) and self.knows_state(charge, multiplicity)

    @property
    def states(self) -> str:
        """Charges and multiplicities in words."""
        return f"charges {list(self.charges)} and multiplicities {list(self.multiplicities)}"
