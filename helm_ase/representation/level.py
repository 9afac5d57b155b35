"""Level of theory: the settings of a DFT calculation that determine its results."""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

NUMERICS = ("grid_level", "conv_tol", "code", "plane_wave_cutoff")
"""Fields of a level that change results by less than the error of any model."""

SPELLED = ("basis", "auxiliary_basis", "label_basis", "pseudopotential")
"""Fields that are names, compared without regard to capitals and hyphens."""

CRYSTALLINE = ("pseudopotential", "plane_wave_cutoff", "smearing")
"""Fields that came with crystals: a molecule's level leaves them out where it is written down, so that
what was written before them still compares as the same."""


@dataclass(frozen=True)
class LevelOfTheory:
    """Kohn–Sham settings, complete enough to repeat a calculation."""

    functional: str = "b3lyp"
    """Exchange–correlation functional, as PySCF spells it."""
    variant: str = "VWN-RPA (PySCF >= 2.3, as Gaussian)"
    """Which definition of the functional is meant, where programs or versions define the same name
    differently, as they do B3LYP."""
    basis: str = "def2-svp"
    """Basis set, as PySCF spells it; effective core potentials are those that belong to the basis."""
    density_fitting: bool = True
    """Whether Coulomb and exchange matrices are computed by density fitting."""
    grid_level: int = 2
    """Integration grid of the labels, as PySCF numbers them from 0 to 9."""
    conv_tol: float = 1e-9
    """Convergence threshold of the SCF energy in Hartree."""
    code: str = "PySCF 2.14"
    """Program and version that computed the labels."""
    auxiliary_basis: str = ""
    """Auxiliary basis of the density fitting; if it is empty, the program's default for the basis."""
    label_basis: str = ""
    """Basis of the labels if the model predicts an effective matrix in a smaller ``basis``; otherwise
    empty."""
    pseudopotential: str = ""
    """Pseudopotential of crystals, as PySCF spells it. If it is empty, all electrons are treated, except for
    effective core potentials that belong to the basis."""
    plane_wave_cutoff: float = 0.0
    """Plane-wave cutoff in Hartree with which the density of crystals was represented; 0 if it was not
    represented in plane waves."""
    smearing: float = 0.0
    """Width kT of the Fermi–Dirac occupations of crystals in Hartree; with 0 there is no smearing."""

    @property
    def written(self) -> dict[str, Any]:
        """The fields by name, without those of crystals that a molecule's level leaves at their defaults."""
        return {k: v for k, v in asdict(self).items() if k not in CRYSTALLINE or v}

    @property
    def physical(self) -> "LevelOfTheory":
        """The same level of theory without numerical settings that hardly change its numbers, and with names
        spelled alike."""
        fields: dict[str, Any] = {k: getattr(LevelOfTheory(), k) for k in NUMERICS}
        fields |= {k: plain(getattr(self, k)) for k in SPELLED}
        return replace(self, functional=self.functional.lower(), **fields)


def plain(name: str) -> str:
    """A basis name as PySCF compares it."""
    return re.sub(r"[-_ ]", "", name.lower())


def physical_differences(
    first: LevelOfTheory, second: LevelOfTheory, whose: tuple[str, str] | None = None
) -> str:
    """Fields in which two levels differ such that their results must not be mixed; empty if there are none.

    Grids, thresholds, versions of the program and ways of spelling do not count: the one comparison for
    training, evaluation, committees and merged files.  ``whose`` as in :func:`differences`.
    """
    return differences(first.physical, second.physical, whose)


def differences(first: LevelOfTheory, second: LevelOfTheory, whose: tuple[str, str] | None = None) -> str:
    """Fields in which two levels of theory differ, and how; empty if they are the same.

    Parameters
    ----------
    first, second
        The levels.
    whose
        What to say of the value of each, as ``("in the file", "asked for")``.
    """
    one, other = asdict(first), asdict(second)
    words = ("", "") if whose is None else (f" {whose[0]}", f" {whose[1]}")
    return ", ".join(
        f"{k}: {one[k]!r}{words[0]} and {other[k]!r}{words[1]}" for k in one if one[k] != other[k]
    )
