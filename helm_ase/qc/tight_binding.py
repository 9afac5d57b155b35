"""GFN2-xTB through tblite: the energy baseline E0, and charges and spin densities for the baseline H0.

Published tight-binding programs converge energies to 1e-6 Hartree only, which would show as noise in forces
and charges; here the self-consistent charges are converged a thousand times tighter, for one or two more
cycles.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import kB
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from helm_ase.errors import CheckpointError, ElementError, SCFError, SettingError
from helm_ase.representation.energy_baseline import (
    EnergyBaseline,
    EnergyBaselineResult,
    ReferenceEnergy,
    SpinDensity,
)
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

ACCURACY = 1e-3
"""Factor of tblite's convergence thresholds; at 1 they leave 1e-5 Hartree in the energy of ethanol and 1e-4 e
in its charges."""
DAMPED = (
    {"mixer-damping": 0.05, "max-iter": 500, "mixer-memory": 20},
    {"mixer-damping": 0.2, "max-iter": 500, "mixer-memory": 10},
    {"mixer-damping": 0.02, "max-iter": 2000, "mixer-memory": 20},
)
"""Settings of further attempts where charges do not converge, in turn.  A short memory matters more
than damping, and keeps cycles cheap.  The electronic temperature stays: another would be another energy."""
TEMPERATURE = 30 * kB / HARTREE_IN_EV
"""Electronic temperature of spin densities, Hartree.  Equal orbitals share an unpaired electron, so that it
does not depend on axes; where two orbitals cross, it moves from one to the other within 0.003 eV."""
SAME_ENERGY = 1e-6
"""Largest difference of reference energies between versions of tblite, Hartree."""
NO_TBLITE = (
    "this model needs tblite (GFN2-xTB) for its energy baseline: pip install tblite, or choose a model "
    "without a baseline (helm-ase models)"
)


def require_tblite() -> None:
    """Refuse to go on without tblite.

    Raises
    ------
    SettingError
        That names the way out.
    """
    if find_spec("tblite") is None:
        raise SettingError(NO_TBLITE)


def with_parameters(baseline: EnergyBaseline, elements: Sequence[int]) -> EnergyBaseline:
    """The baseline with the installed tblite's parameters of some elements, unless it has parameters.

    Raises
    ------
    SettingError
        If tblite is not installed.
    """
    if not baseline or baseline.parameters:
        return baseline
    require_tblite()
    known = _published_parameters()
    parameters = {k: v for k, v in known.items() if k not in ("element", "dispersion")}
    if baseline.dispersion:
        parameters["dispersion"] = known["dispersion"]
    parameters["element"] = {
        chemical_symbols[z]: known["element"][chemical_symbols[z]] for z in sorted(elements)
    }
    return replace(baseline, parameters=parameters)


@cache
def _published_parameters() -> dict[str, Any]:
    """Parameters of GFN2-xTB as tblite knows them."""
    from tblite import library

    parameters, table = library.new_param(), library.new_table()
    library.export_gfn2_param(parameters)
    library.dump_param(parameters, table)
    return dict(library.table_to_dict(table))


class TightBinding:
    """Self-consistent tight binding of one molecule after another.

    As long as only positions change, a calculation starts from the charges of the one before.

    Parameters
    ----------
    baseline
        Method and parameters.
    spins
        Whether results of open shells hold their spin density.

    Raises
    ------
    SettingError
        If tblite is not installed, or the baseline has no parameters yet.
    """

    def __init__(self, baseline: EnergyBaseline, spins: bool = False) -> None:
        require_tblite()
        if not baseline.parameters:
            raise SettingError(f"the parameters of energy baseline {baseline.name!r} are missing")
        self.baseline, self.spins = baseline, spins
        self._system: tuple[Any, ...] = ()
        self._calculator: Any = None
        self._last: Any = None
        self._guess: Any = None

    def restarted(self, baseline: EnergyBaseline) -> "TightBinding":
        """The same method with other parameters, whose first calculation starts from the last charges here.

        That calculation must be of the same molecule.
        """
        made = TightBinding(baseline, self.spins)
        made._guess = self._last
        return made

    def __call__(
        self, numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int, multiplicity: int
    ) -> EnergyBaselineResult:
        """Energy, gradient, charges and, if asked for, the spin density of an open shell.

        Parameters
        ----------
        numbers, positions
            Atomic numbers (N,) and positions in Å, (N, 3).
        charge, multiplicity
            Total charge and 2S + 1.

        Raises
        ------
        ElementError
            If an element has no parameters.
        SCFError
            If the charges do not converge.
        """
        system = (tuple(np.asarray(numbers).tolist()), charge, multiplicity)
        places = np.asarray(positions, dtype=np.float64) / BOHR_IN_ANGSTROM
        if system != self._system:
            self._start(system, places)
        else:
            self._calculator.update(places)
        try:
            result = self._calculator.singlepoint(self._last)
        except _failures():
            result = self._again(system, places)
        self._last = result
        energy, gradient = float(result.get("energy")), np.array(result.get("gradient"))
        if not (np.isfinite(energy) and np.isfinite(gradient).all()):
            self._system = ()
            raise SCFError("GFN2-xTB, the energy baseline, gave no finite energy for this geometry")
        spin = None
        if self.spins and multiplicity > 1:
            spin = self._spin_density(result, system[0], multiplicity - 1)
        return EnergyBaselineResult(energy, gradient, np.array(result.get("charges")), spin)

    def _spin_density(self, result: Any, numbers: Sequence[int], unpaired: int) -> SpinDensity:
        """α minus β electrons, each spin filling the orbitals from below."""
        levels, orbitals = (np.array(result.get(f"orbital-{x}")) for x in ("energies", "coefficients"))
        electrons = round(float(np.sum(result.get("orbital-occupations"))))
        alpha, beta = (_filled(levels, (electrons + sign * unpaired) // 2) for sign in (1, -1))
        atoms, degrees = (np.array(self._calculator.get(x)) for x in ("shell-map", "angular-momenta"))
        tables = self.baseline.parameters["element"]
        named = [name for z in numbers for name in tables[chemical_symbols[z]]["shells"]]
        principal = np.array([int(name[0]) for name in named])
        return SpinDensity(atoms, principal, degrees, (orbitals * (alpha - beta)) @ orbitals.T)

    def _start(self, system: tuple[Any, ...], places: NDArray[np.float64]) -> None:
        numbers, charge, multiplicity = system
        known = self.baseline.parameters["element"]
        if lacking := sorted({chemical_symbols[z] for z in numbers} - set(known)):
            raise ElementError(
                f"the energy baseline has no parameters of {', '.join(lacking)}, only of {', '.join(known)}"
            )
        self._calculator = self._new(numbers, places, charge, multiplicity, {})
        self._system, self._last, self._guess = system, self._guess, None

    def _again(self, system: tuple[Any, ...], places: NDArray[np.float64]) -> Any:
        """Further attempts, from the start and with stronger damping."""
        self._system = ()
        numbers, charge, multiplicity = system
        reason: Exception | None = None
        for settings in DAMPED:
            calculator = self._new(numbers, places, charge, multiplicity, settings)
            try:
                return calculator.singlepoint()
            except _failures() as error:
                reason = error
        raise SCFError(
            f"the charges of GFN2-xTB, the energy baseline, do not converge for this geometry ({reason}): "
            "check the geometry, charge and multiplicity, or use a model without an energy baseline"
        ) from reason

    def _new(
        self, numbers: Sequence[int], places: NDArray[np.float64], charge: int, multiplicity: int,
        settings: dict[str, float],
    ) -> Any:  # fmt: skip
        from tblite.interface import Calculator

        made = Calculator(
            dict(self.baseline.parameters), np.array(numbers), places, float(charge), multiplicity - 1,
            color=False, logger=_silent,
        )  # fmt: skip
        for key, value in ({"verbosity": 0, "accuracy": ACCURACY} | settings).items():
            made.set(key, value)
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Without tblite's objects, which cannot be copied."""
        return self.__dict__ | {"_system": (), "_calculator": None, "_last": None, "_guess": None}


def _filled(levels: NDArray[np.float64], electrons: int) -> NDArray[np.float64]:
    """Occupations of orbitals, (M,), by electrons of one spin."""
    if not 0 < electrons < len(levels):
        return np.full(len(levels), float(electrons > 0))
    ends = levels.min() - 1.0, levels.max() + 1.0
    fermi = brentq(lambda e: expit((e - levels) / TEMPERATURE).sum() - electrons, *ends, xtol=1e-14)
    return np.asarray(expit((fermi - levels) / TEMPERATURE))


def _silent(message: str) -> None:
    """tblite prints through this."""


def _failures() -> tuple[type[Exception], ...]:
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError

    return TBLiteRuntimeError, TBLiteValueError, RuntimeError


def reference_energy(
    baseline: EnergyBaseline, numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int,
    multiplicity: int,
) -> ReferenceEnergy:  # fmt: skip
    """Energy of one molecule, to be compared by :func:`check_references` wherever the baseline is used."""
    energy = TightBinding(baseline)(numbers, positions, charge, multiplicity).energy
    return ReferenceEnergy(
        tuple(np.asarray(numbers).tolist()), tuple(map(tuple, np.asarray(positions).tolist())), charge,
        multiplicity, energy,
    )  # fmt: skip


def checked_tight_binding(baseline: EnergyBaseline) -> TightBinding:
    """Tight binding of a checkpoint's baseline, once it is known to give the energies of training.

    Raises
    ------
    SettingError, CheckpointError
        As :func:`check_references`.
    """
    key = json.dumps(baseline.to_json(), sort_keys=True)
    if key not in _CHECKED:
        check_references(baseline)
        _CHECKED.add(key)
    return TightBinding(baseline)


_CHECKED: set[str] = set()
"""Baselines that have been compared with their references in this process."""


def check_references(baseline: EnergyBaseline) -> None:
    """Compute the reference energies again.

    Raises
    ------
    SettingError
        If tblite is not installed.
    CheckpointError
        If the installed tblite gives other energies than that of training.
    """
    if not baseline:
        return
    compute = TightBinding(baseline)
    for known in baseline.references:
        result = compute(np.array(known.numbers), np.array(known.positions), known.charge, known.multiplicity)
        if abs(result.energy - known.energy) > SAME_ENERGY:
            raise CheckpointError(
                f"the installed tblite gives a GFN2-xTB energy of {result.energy:.8f} Eh where the model was "
                f"trained with {known.energy:.8f}: install the version that its card names"
            )
