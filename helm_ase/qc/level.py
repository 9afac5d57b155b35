"""Level of theory: what exactly a label or a prediction approximates."""

from dataclasses import dataclass
from typing import Any, Literal

from helm_ase.errors import SettingError

BaselineName = Literal["none", "sap", "minao"]


@dataclass(frozen=True)
class LevelOfTheory:
    """Kohn–Sham settings, complete enough to repeat a calculation."""

    functional: str = "b3lyp"
    """Name as PySCF spells it."""
    variant: str = "VWN-RPA (PySCF >= 2.3, as Gaussian)"
    """Which of the functionals that share this name."""
    basis: str = "def2-svp"
    density_fitting: bool = True
    grid_level: int = 2
    """PySCF integration grid level of the labels."""
    conv_tol: float = 1e-9
    """SCF energy threshold in Hartree."""
    code: str = "PySCF 2.14"
    """Program and version that made the labels."""


@dataclass(frozen=True)
class Baseline:
    """Hamiltonian H0 from which the network's correction counts."""

    name: BaselineName = "minao"
    """``none``: zero; ``sap``: kinetic energy + superposition of atomic potentials; ``minao``: Fock matrix
    of PySCF's superposition of minimal-basis atomic densities."""
    grid: tuple[int, int] = (50, 434)
    """Radial and angular points on each atom for the exchange–correlation part of ``minao``.  What matters
    is the angular number: 302 points (PySCF's level 3) leave 30 µEh of orientation in a virtual level of
    ethanol, 434 leave 4 µEh at the same cost."""

    def __post_init__(self) -> None:
        if self.name not in ("none", "sap", "minao"):
            raise SettingError(f"unknown baseline {self.name!r}; allowed: none, sap, minao")
        object.__setattr__(self, "grid", tuple(self.grid))  # JSON knows only lists


def kohn_sham(mole: Any, level: LevelOfTheory) -> Any:
    """PySCF mean-field object (RKS or UKS) at a level of theory."""
    from pyscf import dft

    mf = (dft.RKS if mole.spin == 0 else dft.UKS)(mole, xc=level.functional)
    if level.density_fitting:
        mf = mf.density_fit()
    mf.grids.level = level.grid_level
    mf.conv_tol = level.conv_tol
    return mf
