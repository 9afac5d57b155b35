"""Criteria, without computing a Fock matrix, whether a predicted density is a better SCF guess than
PySCF's."""

from dataclasses import dataclass

import numpy as np

from helm_ase.electronic import ElectronicStructure
from helm_ase.prediction.domain import Uncertainty

MIN_GAP = 0.08
"""HOMO–LUMO gap in Hartree below which it is uncertain which orbitals are occupied."""
MAX_BAR = 2.5
"""Error bar of the energy per atom over the threshold of the model.

Of 38 molecules of 2 to 12 atoms, seven of them with a stretched bond, the guess of helm-organic-1 took more
Fock matrices than PySCF's for five, all stretched: four have a smaller gap or a larger bar than this, N2 at
1.6 Å took one more.  CO and HF at 1.6 Å have larger bars and harmless guesses (tests/benchmarks/guess.py)."""
MAX_CHARGE = 2.5
"""Largest plausible Mulliken charge, e, of molecules of light elements in a small basis."""


class GuessWarning(UserWarning):
    """Warning that PySCF's own guess is used instead of the predicted density."""


@dataclass(frozen=True)
class Doubts:
    """Indications that a predicted density is wrong, none of which needs a Fock matrix."""

    gap: float
    """HOMO–LUMO gap of the predicted Hamiltonian, the smaller one of both spins, Hartree."""
    bar: float | None
    """Error bar of the energy over the model's threshold; None where the model has no error bar."""
    charge: float
    """Largest Mulliken charge, e."""

    @property
    def reason(self) -> str:
        """Why PySCF's own guess is safer; empty if it is not."""
        if self.gap < MIN_GAP:
            return f"the predicted gap is {self.gap:.3f} Eh (below {MIN_GAP})"
        if self.bar is not None and self.bar > MAX_BAR:
            return f"the error bar is {self.bar:.1f} times the model's threshold (above {MAX_BAR:g})"
        if self.charge > MAX_CHARGE:
            return f"an atom has the predicted charge {self.charge:.1f} e (beyond {MAX_CHARGE})"
        return ""


def doubts_of(structure: ElectronicStructure, bar: Uncertainty | None) -> Doubts:
    """Look at a prediction.

    Parameters
    ----------
    structure
        Electronic structure of the predicted Hamiltonian.
    bar
        Error bar of the energy, if the model has one.
    """
    gaps = [
        float(levels[n] - levels[n - 1])
        for levels, n in zip(structure.orbital_energies.numpy(), structure.occupied, strict=True)
        if 0 < n < len(levels)
    ]
    charges = structure.charges().numpy()
    return Doubts(
        min(gaps, default=float("inf")),
        None if bar is None else bar.per_atom / bar.threshold,
        float(np.abs(charges).max()) if np.isfinite(charges).all() else float("inf"),
    )
