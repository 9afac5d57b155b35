"""Levels in the words of ASE's electronic-structure outputs: bands of one k point."""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.abc import GetOutputsMixin
from numpy.typing import NDArray

from helm_ase.errors import StructureError
from helm_ase.units import HARTREE_IN_EV

if TYPE_CHECKING:
    from ase import Atoms

    from helm_ase.prediction.electronic import ElectronicPrediction


class LevelOutput(GetOutputsMixin):
    """ASE's getters of eigenvalues, occupations, Fermi level and k points, for a molecule."""

    if TYPE_CHECKING:  # of the calculator
        _lock: threading.RLock
        results: dict[str, Any]

        def _solve(self, atoms: Atoms | None = None) -> ElectronicPrediction: ...

    def _outputmixin_get_results(self) -> dict[str, Any]:
        with self._lock:
            structure = self._solve().structure
            return self.results | {
                "eigenvalues": structure.orbital_energies.numpy()[:, None] * HARTREE_IN_EV,
                "occupations": structure.occupations.numpy()[:, None].copy(),
                "fermi_level": structure.fermi_level * HARTREE_IN_EV,
                "nspins": structure.n_spins,
                "nkpts": 1,
                "nbands": structure.orbital_energies.shape[1],
                "ibz_kpoints": np.zeros((1, 3)),
                "kpoint_weights": np.ones(1),
            }

    def get_bz_k_points(self) -> NDArray[np.float64]:
        """The Γ point: a molecule has no other."""
        return np.zeros((1, 3))

    def band_structure(self) -> Any:
        """Raise: a molecule has no band structure."""
        raise StructureError("a molecule has no band structure; get_eigenvalues() gives its levels")
