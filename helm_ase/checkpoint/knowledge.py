"""What a model knows, and what it must not be asked: the one place where that is decided."""

from collections.abc import Iterable
from dataclasses import dataclass

EVERYTHING = ("energy", "forces", "hamiltonian")
"""What a model predicts if its checkpoint does not say."""


@dataclass(frozen=True)
class Knowledge:
    """Systems that occurred in training, and quantities that were learnt."""

    elements: tuple[int, ...]
    """Atomic numbers, ascending."""
    charges: tuple[int, ...]
    """Total charges."""
    multiplicities: tuple[int, ...]
    """Spin multiplicities 2S + 1."""
    predicts: frozenset[str] = frozenset(EVERYTHING)
    """Any of ``energy``, ``forces``, ``hamiltonian``; the rest is noise."""
    dimensions: tuple[int, ...] = (0,)
    """Numbers of periodic directions: 0 molecules, …, 3 bulk."""

    def unknown_elements(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Atomic numbers among these that did not occur, ascending."""
        return tuple(sorted({int(z) for z in numbers} - set(self.elements)))

    def knows_state(self, charge: int, multiplicity: int) -> bool:
        """Whether a total charge and a multiplicity both occurred."""
        return charge in self.charges and multiplicity in self.multiplicities

    def admits(self, numbers: Iterable[int], charge: int, multiplicity: int) -> bool:
        """Whether elements, charge and multiplicity of a molecule all occurred."""
        return not self.unknown_elements(numbers) and self.knows_state(charge, multiplicity)

    @property
    def states(self) -> str:
        """Charges and multiplicities in words."""
        return f"charges {list(self.charges)} and multiplicities {list(self.multiplicities)}"
