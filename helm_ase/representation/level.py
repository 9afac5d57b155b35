"""Level of theory: what exactly a label or a prediction approximates."""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

NUMERICS = ("grid_level", "conv_tol", "code", "plane_wave_cutoff")
"""Fields of a level that change its numbers by less than any model's error."""

SPELLED = ("basis", "auxiliary_basis", "label_basis", "pseudopotential")
"""Fields that are names, in which capitals and hyphens do not count."""


@dataclass(frozen=True)
class LevelOfTheory:
    """Kohn–Sham settings, complete enough to repeat a calculation."""

    functional: str = "b3lyp"
    """Name as PySCF spells it."""
    variant: str = "VWN-RPA (PySCF >= 2.3, as Gaussian)"
    """Which of the functionals that share this name."""
    basis: str = "def2-svp"
    """Name as PySCF spells it; effective core potentials are those of the basis."""
    density_fitting: bool = True
    """Coulomb and exchange through an auxiliary basis."""
    grid_level: int = 2
    """PySCF integration grid level of the labels."""
    conv_tol: float = 1e-9
    """SCF energy threshold in Hartree."""
    code: str = "PySCF 2.14"
    """Program and version that made the labels."""
    auxiliary_basis: str = ""
    """For density fitting; empty: the program's default for the basis."""
    label_basis: str = ""
    """Basis of the labels where a model's matrix is an effective one in a smaller ``basis``; else empty."""
    pseudopotential: str = ""
    """Of crystals, name as PySCF spells it; empty: all electrons, or the core potential of the basis."""
    plane_wave_cutoff: float = 0.0
    """Of the density of crystals, Hartree; 0: no plane waves."""
    smearing: float = 0.0
    """kT of Fermi–Dirac occupations, Hartree."""

    @property
    def physical(self) -> "LevelOfTheory":
        """Without what only moves the numbers a little, and without ways of spelling."""
        fields: dict[str, Any] = {k: getattr(LevelOfTheory(), k) for k in NUMERICS}
        fields |= {k: plain(getattr(self, k)) for k in SPELLED}
        return replace(self, functional=self.functional.lower(), **fields)


def plain(name: str) -> str:
    """A basis name as PySCF compares it."""
    return re.sub(r"[-_ ]", "", name.lower())


def differences(first: LevelOfTheory, second: LevelOfTheory) -> str:
    """In which fields two levels differ, and how; empty if they are the same."""
    one, other = asdict(first), asdict(second)
    return ", ".join(f"{k}: {one[k]!r} and {other[k]!r}" for k in one if one[k] != other[k])
