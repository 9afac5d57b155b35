"""Structures that are to be labelled: molecules and crystals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.representation.labelled import structure_key
from helm_ase.representation.labelled_crystal import crystal_key
from helm_ase.representation.lattice import Lattice


@dataclass(frozen=True)
class Structure:
    """Geometry, charge and multiplicity, and where they come from."""

    name: str
    """Unique in its set."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    charge: int = 0
    """Total charge, e."""
    multiplicity: int = 1
    """2S + 1."""
    smiles: str = ""
    """Canonical SMILES, if known."""
    split: str = ""
    """Split it is meant for, if any."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """How it came about; JSON values."""

    @cached_property
    def key(self) -> str:
        """Fingerprint of geometry, charge and multiplicity."""
        return structure_key(self.numbers, self.positions, self.charge, self.multiplicity)


@dataclass(frozen=True)
class CrystalStructure:
    """Crystal, neutral and with a closed shell, and where it comes from."""

    name: str
    """Unique in its set."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Å, (N, 3)."""
    lattice: Lattice
    split: str = ""
    """Split it is meant for, if any."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """How it came about; JSON values."""

    @cached_property
    def key(self) -> str:
        """Fingerprint of geometry and lattice."""
        return crystal_key(self.numbers, self.positions, self.lattice)
