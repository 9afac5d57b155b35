"""Integrals of the position operator, needed for dipole moments and polarizabilities."""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helm_ase.qc.molecule import basis_of, build_mole, dipole_integrals
from helm_ase.representation.labelled import LabelledMolecule, pack_triangle, unpack_triangle


@dataclass(frozen=True)
class PositionIntegrals:
    """⟨μ| r |ν⟩ about the origin in one basis: bohr, (3, A, A), canonical AO order."""

    basis: str
    """Name known to PySCF."""

    @property
    def title(self) -> bytes:
        """Description of the contents in a cache file."""
        return json.dumps({"position integrals": {"basis": self.basis}}).encode()

    @property
    def name(self) -> str:
        """Part of the name of the cache file."""
        return "position"

    @property
    def subject(self) -> str:
        """Name of the quantities, for messages."""
        return "position integrals"

    def holds(self, derived: NDArray[np.float64]) -> bool:
        """Integrals do not change."""
        return True

    def derive(
        self, label: LabelledMolecule, known: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Compute them; they do not depend on the label's matrix."""
        if known is not None:
            return known
        mole = build_mole(label.numbers, label.positions, self.basis, label.charge, label.multiplicity)
        return dipole_integrals(mole, basis_of(mole))

    def pack(self, derived: NDArray[np.float64]) -> bytes:
        """Record → bytes."""
        return np.stack([pack_triangle(x) for x in derived]).astype("<f8").tobytes()

    def unpack(self, payload: bytes) -> NDArray[np.float64]:
        """Bytes → record."""
        return np.stack([unpack_triangle(x) for x in np.frombuffer(payload, "<f8").reshape(3, -1)])
