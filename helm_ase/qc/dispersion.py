"""Dispersion correction: Grimme's D3 with Becke–Johnson damping, computed by dftd3."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import PredictionError, SettingError
from helm_ase.representation.energy_baseline import EnergyBaselineResult
from helm_ase.representation.level import plain
from helm_ase.units import BOHR_IN_ANGSTROM

KINDS = ("d3bj",)
"""Values of ``dispersion``, None aside."""
HOLDS_DISPERSION = re.compile(r"([-_](d[234].*|v|vv10|nl|3c))$")
"""End of the names of functionals that hold dispersion, as PySCF spells them."""
OF_OTHERS = {"wb97x": "wb97x-v", "wb97m": "wb97m-v", "b97m": "b97m-v"}
"""Names in dftd3 whose parameters were fitted to the semilocal part of another functional than PySCF means
(Najibi and Goerigk, J. Chem. Theory Comput. 14, 5725, 2018)."""
NO_DFTD3 = "dispersion needs simple-dftd3: pip install dftd3, or leave the keyword out"


@dataclass(frozen=True)
class Dispersion:
    """Pairwise D3(BJ) energy with the parameters of a functional.

    Grimme, Ehrlich and Goerigk, J. Comput. Chem. 32, 1456 (2011), without the three-body term, as published
    for the functionals.

    Raises
    ------
    SettingError
        If dftd3 is not installed, the kind is unknown, or the functional holds dispersion or has no
        parameters.
    """

    kind: str
    """One of :data:`KINDS`."""
    functional: str
    """Name as PySCF spells it."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"dispersion {self.kind!r} is not one of {', '.join(KINDS)}, or None")
        name = self.functional.lower()
        if HOLDS_DISPERSION.search(name):
            raise SettingError(f"the functional {name} holds dispersion: {self.kind} would count it twice")
        if name in OF_OTHERS:
            raise SettingError(
                f"the D3(BJ) parameters named {name} belong to {OF_OTHERS[name]}, not to {name}"
            )
        if find_spec("dftd3") is None:
            raise SettingError(NO_DFTD3)
        _damping(name)

    def __call__(self, numbers: NDArray[np.integer], positions: NDArray[np.float64]) -> EnergyBaselineResult:
        """Energy and gradient of a molecule; no charges.

        Parameters
        ----------
        numbers, positions
            Atomic numbers (N,) and positions in Å, (N, 3).

        Raises
        ------
        PredictionError
            If the library cannot compute it.
        """
        correction = self._compute(numbers, positions)
        return EnergyBaselineResult(
            float(correction["energy"]), np.array(correction["gradient"]), np.zeros(0)
        )

    def of_crystal(
        self, numbers: NDArray[np.integer], positions: NDArray[np.float64], cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
        """Energy (Hartree), gradient (Hartree/bohr, (N, 3)) and dE/dstrain (Hartree, (3, 3)) of one cell.

        Parameters
        ----------
        numbers, positions
            Atomic numbers (N,) and positions in Å, (N, 3).
        cell, pbc
            Lattice vectors in Å, (3, 3), and which of them are periods.

        Raises
        ------
        PredictionError
            If the library cannot compute it.
        """
        correction = self._compute(numbers, positions, np.asarray(cell) / BOHR_IN_ANGSTROM, np.asarray(pbc))
        return float(correction["energy"]), np.array(correction["gradient"]), np.array(correction["virial"])

    def _compute(self, numbers: Any, positions: Any, *lattice: Any) -> Any:
        from dftd3.interface import DispersionModel

        places = np.asarray(positions, dtype=np.float64) / BOHR_IN_ANGSTROM
        try:
            model = DispersionModel(np.asarray(numbers), places, *lattice)
            return model.get_dispersion(_damping(self.functional.lower()), grad=True)
        except RuntimeError as error:
            raise PredictionError(f"dftd3 gives no dispersion energy for this structure: {error}") from error


def _damping(functional: str) -> Any:
    from dftd3.interface import RationalDampingParam

    try:
        return RationalDampingParam(method=functional)
    except RuntimeError as error:
        raise SettingError(f"there are no D3(BJ) parameters of the functional {functional}") from error


def counterpoise(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], functional: str, basis: str
) -> EnergyBaselineResult:
    """Geometrical counterpoise correction for the superposition of basis functions.

    Kruse and Grimme, J. Chem. Phys. 136, 154101 (2012), through dftd3.

    Parameters
    ----------
    numbers, positions
        Atomic numbers (N,) and positions in Å, (N, 3).
    functional, basis
        Names as PySCF spells them.

    Raises
    ------
    SettingError
        If dftd3 is not installed, or has no parameters for this functional in this basis.
    """
    if find_spec("dftd3") is None:
        raise SettingError(NO_DFTD3)
    from dftd3.interface import GeometricCounterpoise

    def compute(z: Any, places: Any) -> Any:
        name = {"def2svp": "svp"}.get(plain(basis), plain(basis))  # gCP's SVP is def2-SVP
        made = GeometricCounterpoise(np.asarray(z), places, method=functional.lower(), basis=name)
        return made.get_counterpoise(grad=True)

    near = np.array([[0, 0, 0], [0, 0, 2.2]])  # the library returns 0 for what it does not know (CO)
    if not float(compute([6, 8], near)["energy"]):
        raise SettingError(f"dftd3 has no counterpoise parameters for {functional} in {basis}")
    correction = compute(numbers, np.asarray(positions, dtype=np.float64) / BOHR_IN_ANGSTROM)
    return EnergyBaselineResult(float(correction["energy"]), np.array(correction["gradient"]), np.zeros(0))
