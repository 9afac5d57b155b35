"""Energy baseline E0: a cheap method to whose energies and forces the network adds its own."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import SettingError

EnergyBaselineName = Literal["none", "gfn2-xtb"]


@dataclass(frozen=True)
class ReferenceEnergy:
    """Energy of a molecule by which a loaded model checks that its baseline gives the same as in training."""

    numbers: tuple[int, ...]
    """Atomic numbers of the molecule, (N,)."""
    positions: tuple[tuple[float, float, float], ...]
    """Positions of the atoms in Å, (N, 3)."""
    charge: int
    """Total charge of the molecule, e."""
    multiplicity: int
    """Spin multiplicity 2S + 1 of the molecule."""
    energy: float
    """Energy E0 of the molecule, Hartree."""

    def __post_init__(self) -> None:
        """Lists, which is what JSON knows, become tuples."""
        object.__setattr__(self, "numbers", tuple(map(int, self.numbers)))
        object.__setattr__(self, "positions", tuple(tuple(map(float, r)) for r in self.positions))


@dataclass(frozen=True)
class EnergyBaseline:
    """Choice of an energy baseline E0, with everything that is needed to compute it again.

    Raises
    ------
    SettingError
        If the name is unknown, or ``none`` comes with parameters.
    """

    name: EnergyBaselineName = "none"
    """Energy baseline: ``none`` is zero; ``gfn2-xtb`` is GFN2-xTB (Bannwarth, Ehlert and Grimme 2019),
    computed by tblite."""
    dispersion: bool = False
    """Whether E0 contains GFN2-xTB's D4 dispersion energy. It should not if the functional of the labels
    lacks dispersion, as B3LYP does."""
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Parameters of the method in the format of tblite. Leave them empty in a recipe: training fills in
    those of the installed tblite."""
    charge_parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Parameters that give the atomic charges and spin densities for a baseline H0 which responds to them, if
    they are not those of the energy: where these are fitted to labels, charges and spin densities can
    stay those of the published method."""
    references: tuple[ReferenceEnergy, ...] = field(default=(), repr=False)
    """Energies that are recomputed when a model is loaded, to check that the installed method still gives
    the same. Leave them empty in a recipe: training fills them in."""

    def __post_init__(self) -> None:
        if self.name not in (allowed := get_args(EnergyBaselineName)):
            raise SettingError(f"unknown energy baseline {self.name!r}; allowed: {', '.join(allowed)}")
        filled = self.parameters or self.charge_parameters or self.references or self.dispersion
        if self.name == "none" and filled:
            raise SettingError("energy baseline 'none' has no parameters, references or dispersion")
        made = tuple(x if isinstance(x, ReferenceEnergy) else ReferenceEnergy(**x) for x in self.references)
        object.__setattr__(self, "references", made)

    def __bool__(self) -> bool:
        """Whether there is something to compute."""
        return self.name != "none"

    @property
    def signature(self) -> list[Any]:
        """JSON-compatible values that identify the baseline: equal ones mean equal energies."""
        parts = [self.parameters, *([self.charge_parameters] if self.charge_parameters else [])]
        texts = [json.dumps(part, sort_keys=True) for part in parts]
        return [self.name, self.dispersion, *(hashlib.sha256(t.encode()).hexdigest() for t in texts)]

    @property
    def for_charges(self) -> "EnergyBaseline":
        """The method whose atomic charges and spin densities H0 responds to."""
        if not self.charge_parameters:
            return self
        return EnergyBaseline(self.name, self.dispersion, self.charge_parameters)

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary for JSON, from which the baseline can be constructed again."""
        tables = {k: dict(getattr(self, k)) for k in ("parameters", "charge_parameters")}
        return {k: v for k, v in (asdict(self) | tables).items() if v or k != "charge_parameters"}


@dataclass(frozen=True)
class SpinDensity:
    """Density matrix of α electrons minus that of β electrons, in a minimal basis of valence shells."""

    atoms: NDArray[np.int64]
    """Atom of every shell, (shells,)."""
    principal: NDArray[np.int64]
    """Principal quantum number n of every shell, (shells,)."""
    degrees: NDArray[np.int64]
    """Degree l of every shell, (shells,)."""
    matrix: NDArray[np.float64]
    """Density matrix, (M, M), functions in the order of the shells, of each from m = −l to l."""

    def rows_of(self, shell: int) -> slice:
        """Rows of a shell."""
        end = int((2 * self.degrees[: shell + 1] + 1).sum())
        return slice(end - int(2 * self.degrees[shell] + 1), end)


@dataclass(frozen=True)
class EnergyBaselineResult:
    """E0 of one molecule."""

    energy: float
    """Hartree."""
    gradient: NDArray[np.float64]
    """dE0/dr, Hartree/bohr, (N, 3)."""
    charges: NDArray[np.float64]
    """Mulliken charges of the atoms, e, (N,)."""
    spin: SpinDensity | None = None
    """Density of the unpaired electrons of an open shell; None in a closed one, and from a method that was
    not asked for it."""


class EnergyMethod(Protocol):
    """What computes an energy that is added to the network's."""

    def __call__(
        self, numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int, multiplicity: int
    ) -> EnergyBaselineResult:
        """Energy, gradient, charges and, if the method was made for it, spin density of atoms at positions in
        Å, (N, 3)."""
