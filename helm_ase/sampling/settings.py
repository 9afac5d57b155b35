"""Settings of a sampling campaign, with units and allowed values."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from helm_ase.errors import SettingError
from helm_ase.sampling.states import Vertical

Statistics = Literal["classical", "wigner"]
"""Distribution of normal-mode displacements: Boltzmann, or that of the quantum oscillator."""


@dataclass(frozen=True)
class SamplingSettings:
    """Settings of one sampling campaign; equal settings and molecules give equal structures.

    Raises
    ------
    SettingError
        If a value is outside what is allowed.
    """

    temperatures: tuple[float, ...] = (0.0, 300.0, 500.0, 800.0)
    """Temperatures in K; 0 means the relaxed geometry itself."""
    draws: int | None = None
    """Number of temperatures drawn at random for each conformer; None: all of them."""
    conformers: int = 1
    """Number of conformers of each SMILES."""
    md_steps: int = 100
    """Number of steps before each frame that is kept; 0 for no dynamics."""
    frames: int = 1
    """Frames kept of each trajectory, ``md_steps`` apart."""
    timestep: float = 0.7
    """Time step of the molecular dynamics, fs."""
    friction: float = 0.02
    """Friction of the Langevin thermostat, 1/fs."""
    displacements: int = 0
    """Normal-mode displacements of each conformer and temperature."""
    statistics: Statistics = "classical"
    """Distribution of the normal-mode displacements: ``classical`` puts kT into each mode, ``wigner`` draws
    from the quantum harmonic oscillator."""
    dimers: int = 0
    """Number of pairs of molecules that are tried."""
    dimer_heavy_atoms: int = 6
    """Largest number of heavy atoms that the two molecules of a dimer have together."""
    dimer_relax_steps: int = 15
    """Relaxation steps of a dimer after it is put together."""
    partners: tuple[str, ...] = ()
    """SMILES of partner molecules: every given molecule is combined with each of them."""
    partner_geometries: int = 1
    """Number of dimer geometries for each pair with a partner."""
    vertical: tuple[Vertical, ...] = ()
    """States in which every structure is written in addition to its own."""
    contact: tuple[float, float] = (1.9, 3.6)
    """Closest distance between the molecules of a new dimer, Å, drawn uniformly."""
    fmax: float = 0.05
    """Largest force at which a conformer counts as relaxed, eV/Å."""
    relax_steps: int = 300
    """Steps after which a conformer that is not relaxed is dropped."""
    duplicate_tolerance: float = 0.02
    """Two geometries count as duplicates if no sorted interatomic distance differs by more, Å."""
    limit: int | None = None
    """Largest number of structures; None: no limit."""
    seed: int = 0
    """Seed from which the seed of every structure is derived."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", tuple(sorted({float(t) for t in self.temperatures})))
        object.__setattr__(self, "contact", tuple(map(float, self.contact)))
        for name in ("partners", "vertical"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        if unknown := set(self.vertical) - set(get_args(Vertical)):
            raise SettingError(f"vertical is {sorted(unknown)}; choose from {get_args(Vertical)}")
        self._check_temperatures()
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= least):
                raise SettingError(f"{name} is {value}; it must be at least {least}")
        for name in ("timestep", "friction", "fmax"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise SettingError(f"{name} is {value}; it must be above 0")
        if self.statistics not in get_args(Statistics):
            raise SettingError(f"statistics is {self.statistics!r}; choose from {get_args(Statistics)}")
        low, high = self.contact
        if not 1.0 <= low <= high <= 10.0:
            raise SettingError(f"contact is {low} to {high} Å; it must rise, within 1 to 10 Å")

    def _check_temperatures(self) -> None:
        if not self.temperatures or not all(np.isfinite(t) and 0 <= t <= 5000 for t in self.temperatures):
            raise SettingError(f"temperatures are {self.temperatures}; give at least one, within 0 to 5000 K")
        if self.draws is not None and not 1 <= self.draws <= len(self.temperatures):
            raise SettingError(
                f"draws is {self.draws}; it must be 1 to {len(self.temperatures)}, one per temperature"
            )
        if (
            self.temperatures[-1] > 0
            and not self.md_steps
            and not self.displacements
            and not (self.dimers or self.partners)
        ):
            raise SettingError(
                "nothing to draw above 0 K: set md_steps or displacements, or temperatures to 0"
            )


_LEAST = {
    "conformers": 1, "md_steps": 0, "frames": 1, "displacements": 0, "dimers": 0, "dimer_heavy_atoms": 0,
    "partner_geometries": 1,
    "dimer_relax_steps": 0, "relax_steps": 1, "duplicate_tolerance": 0, "limit": 1, "seed": 0,
}  # fmt: skip
