"""Level of theory: what exactly a label or a prediction approximates."""

from dataclasses import asdict, dataclass


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


def differences(first: LevelOfTheory, second: LevelOfTheory) -> str:
    """In which fields two levels differ, and how; empty if they are the same."""
    one, other = asdict(first), asdict(second)
    return ", ".join(f"{k}: {one[k]!r} and {other[k]!r}" for k in one if one[k] != other[k])
