"""Parameters of GFN2-xTB fitted to labels: an energy baseline E0 that leaves the network less to learn.

Energies and forces of E0 are compared with those of labels, but for what the network holds by itself: an
energy for each element, charge and multiplicity.  Gauss–Newton steps change all parameters of the elements at
once, with derivatives by differences and a ridge that pulls each towards its published value, relative to a
spread within which it stays reasonable: what labels do not determine stays where it was.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.errors import HelmError, SettingError
from helm_ase.qc.tight_binding import TightBinding
from helm_ase.representation.connectivity import bonded
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

Array = NDArray[np.float64]
Path = tuple[str | int, ...]

OF_ELEMENT: dict[str, tuple[float, float]] = {
    "levels": (0.05, 0.6), "slater": (0.01, 0.08), "shpoly": (0.005, 0.05), "kcn": (0.005, 0.05),
    "gam": (0.005, 0.04), "lgam": (0.01, 0.15), "gam3": (0.005, 0.06), "arep": (0.005, 0.1),
    "dkernel": (0.002, 0.02), "qkernel": (0.0005, 0.004), "en": (0.02, 0.3),
}  # fmt: skip
"""Parameter of an element, in tblite's units → step of its derivative, spread about the published value."""
OF_CHARGE = (0.005, 0.08)
"""The same for the effective nuclear charge ``zeff``, relative to its value."""
OF_ALL: dict[Path, tuple[float, float]] = {
    **{("hamiltonian", "xtb", "shell", pair): (0.01, 0.1) for pair in ("ss", "pp", "dd", "sd", "pd")},
    **{("thirdorder", "shell", shell): (0.02, 0.2) for shell in "spd"},
    ("hamiltonian", "xtb", "kpol"): (0.02, 0.3),
    ("hamiltonian", "xtb", "enscale"): (0.002, 0.02),
    ("hamiltonian", "xtb", "wexp"): (0.01, 0.1),
}
"""Parameters that all elements share."""
OF_PAIR = (0.01, 0.05)
"""Factor of the Hamiltonian between two elements, 1 as published."""
PAIR = ("hamiltonian", "xtb", "kpair")
NAME = "GFN2-xTB, fitted to labels"
"""Name that tables have once a fit has changed them."""
SHORTENED = (1.0, 0.5, 0.25)
"""Fractions of a Gauss–Newton step that are tried in turn."""


class Parameter(NamedTuple):
    """One number of tblite's tables."""

    path: Path
    """Keys and, in a list, the index that lead to it."""
    step: float
    """Change by which its derivative is taken."""
    spread: float
    """Typical distance from the published value that is still reasonable."""
    elements: frozenset[str] = frozenset()
    """Symbols of the elements that a molecule must hold for it to matter; empty: any."""


@dataclass(frozen=True)
class FitSettings:
    """Weights of the fit.

    Raises
    ------
    SettingError
        For a value that is not positive.
    """

    energy_error: float = 0.015
    """Error of an energy, eV/atom, that counts as one unit."""
    force_error: float = 0.1
    """Error of the components of a molecule's forces (root mean square), eV/Å, that counts as one unit."""
    ridge: float = 0.03
    """Units² for each molecule that one parameter costs at one spread from its published value; larger ones
    keep parameters nearer to what is published."""
    robust: float = 4.0
    """Units beyond which an error counts linearly (Huber)."""
    largest_step: float = 1.5
    """Largest change of a parameter in one step, in spreads."""

    def __post_init__(self) -> None:
        for name in ("energy_error", "force_error", "ridge", "robust", "largest_step"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} is {getattr(self, name)}; it must be positive")


class Response(NamedTuple):
    """Energy and forces of E0 for one molecule, and their derivatives."""

    values: Array
    """Energy (eV) and forces (eV/Å), (1 + 3N,)."""
    slopes: dict[int, Array]
    """Number of a parameter → derivative of ``values`` with respect to it, (1 + 3N,)."""


class Errors(NamedTuple):
    """Mean errors of E0 for some molecules."""

    energy: float
    """eV/atom, after the energies of elements and states."""
    forces: float
    """eV/Å, mean absolute component, mean over molecules."""
    missing: int
    """Molecules for which E0 did not converge."""


def adjustable(
    parameters: Mapping[str, Any], labels: Sequence[LabelledMolecule], bonds: int = 8
) -> list[Parameter]:
    """Parameters that some labels can determine.

    Parameters
    ----------
    parameters
        tblite's tables.
    labels
        Labels of the fit.
    bonds
        Number of bonds between two elements from which on their pair has a factor of its own.
    """
    found = []
    for symbol, table in parameters["element"].items():
        only = frozenset({symbol})
        for name, (step, spread) in OF_ELEMENT.items():
            count = len(table[name]) if isinstance(table[name], list) else None
            places: Iterable[Path] = [()] if count is None else [(k,) for k in range(name == "lgam", count)]
            found += [Parameter(("element", symbol, name, *k), step, spread, only) for k in places]
        step, spread = (x * table["zeff"] for x in OF_CHARGE)
        found.append(Parameter(("element", symbol, "zeff"), step, spread, only))
    found += [Parameter(path, *steps) for path, steps in OF_ALL.items()]
    return found + [Parameter((*PAIR, p), *OF_PAIR, frozenset(p.split("-"))) for p in _pairs(labels, bonds)]


def _pairs(labels: Sequence[LabelledMolecule], least: int) -> list[str]:
    counts: dict[str, int] = {}
    for label in labels:
        for i, j in np.argwhere(np.triu(bonded(label.numbers, label.positions))):
            pair = "-".join(sorted(chemical_symbols[label.numbers[k]] for k in (i, j)))
            counts[pair] = counts.get(pair, 0) + 1
    return sorted(pair for pair, count in counts.items() if count >= least)


def changed(parameters: Mapping[str, Any], path: Path, amount: float) -> dict[str, Any]:
    """tblite's tables with one number changed; only what is on the way to it is copied."""
    tables = dict(parameters)
    here: Any = tables
    for key in path[:-1]:
        inner = here.get(key, {}) if isinstance(here, dict) else here[key]
        here[key] = list(inner) if isinstance(inner, list) else dict(inner)
        here = here[key]
    last = path[-1]
    before = (
        here.get(last, 1.0) if isinstance(here, dict) else here[last]
    )  # factors of pairs are 1 if missing
    here[last] = before + amount
    return tables


def respond(
    parameters: Mapping[str, Any], label: LabelledMolecule, which: Sequence[Parameter] = ()
) -> Response | None:
    """E0 of one molecule, with its derivatives to some parameters; None where it does not converge."""
    method = TightBinding(_baseline(parameters))
    molecule = label.numbers, label.positions, label.charge, label.multiplicity
    symbols = {chemical_symbols[z] for z in label.numbers}

    def values(compute: TightBinding) -> Array:
        result = compute(*molecule)
        forces = -HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM * result.gradient
        return np.concatenate([[HARTREE_IN_EV * result.energy], forces.ravel()])

    try:
        here = values(method)
        slopes = {
            k: (values(method.restarted(_baseline(changed(parameters, p.path, p.step)))) - here) / p.step
            for k, p in enumerate(which)
            if p.elements <= symbols
        }
    except HelmError:
        return None
    return Response(here, slopes)


def _baseline(parameters: Mapping[str, Any]) -> EnergyBaseline:
    return EnergyBaseline("gfn2-xtb", "dispersion" in parameters, parameters)


def features(labels: Sequence[LabelledMolecule]) -> Array:
    """What the network's own energies depend on, (molecules, F): counts of elements, charge, multiplicity."""
    elements = sorted({int(z) for label in labels for z in label.numbers})
    states = sorted({(label.charge, label.multiplicity) for label in labels} - {(0, 1)})
    table = np.zeros((len(labels), len(elements) + len(states)))
    for row, label in zip(table, labels, strict=True):
        for z in label.numbers:
            row[elements.index(int(z))] += 1
        if (state := (label.charge, label.multiplicity)) in states:
            row[len(elements) + states.index(state)] = 1
    return table


def errors_of(responses: Sequence[Response | None], labels: Sequence[LabelledMolecule]) -> Errors:
    """Mean errors, with energies of elements and states fitted to the same molecules."""
    kept = [(r, label) for r, label in zip(responses, labels, strict=True) if r is not None]
    energies = _energy_errors(kept, features([label for _, label in kept]))
    forces = [np.abs(_forces(label) - r.values[1:]).mean() for r, label in kept]
    return Errors(float(np.abs(energies).mean()), float(np.mean(forces)), len(labels) - len(kept))


def _energy_errors(kept: Sequence[tuple[Response, LabelledMolecule]], table: Array) -> Array:
    """eV/atom, without what :func:`features` explain, (molecules,)."""
    sizes = np.array([len(label.numbers) for _, label in kept])
    off = np.array([_energy(label) - r.values[0] for r, label in kept]) / sizes
    own = table / sizes[:, None]
    return np.asarray(off - own @ np.linalg.lstsq(own, off, rcond=None)[0])


class TightBindingFit:
    """Fit of tblite's tables to labels, a Gauss–Newton step at a time.

    Parameters
    ----------
    parameters
        Published tables of all elements of the labels.
    labels
        Labels with energies and forces, at one level of theory.
    settings
        Weights.
    parallel
        Function like :func:`map`, which may share the molecules among processes.

    Raises
    ------
    SettingError
        If a label lacks energy or forces.
    """

    def __init__(
        self, parameters: Mapping[str, Any], labels: Sequence[LabelledMolecule],
        settings: FitSettings | None = None, parallel: Callable[..., Iterable[Any]] = map,
    ) -> None:  # fmt: skip
        if lacking := [x.name for x in labels if x.energy is None or x.forces is None]:
            raise SettingError(f"labels without energy or forces cannot be fitted to: {lacking[0]}, …")
        self.labels, self.settings, self.parallel = labels, settings or FitSettings(), parallel
        self.parameters: dict[str, Any] = deepcopy(dict(parameters))
        self.which = adjustable(self.parameters, labels)
        self.moved = np.zeros(len(self.which))
        """How far each parameter is from its published value."""
        self._table = features(labels)

    def step(self) -> bool:
        """One Gauss–Newton step; False, and nothing changed, if none of its parts lowers the loss."""
        jobs = (self.parameters,) * len(self.labels), self.labels, (self.which,) * len(self.labels)
        responses = list(self.parallel(respond, *jobs))
        before = self.loss(responses, self.moved)
        direction = self._direction(responses)
        spreads = np.array([p.spread for p in self.which])
        direction *= min(1.0, self.settings.largest_step / max(np.abs(direction / spreads).max(), 1e-12))
        for fraction in SHORTENED:
            moved = self.moved + fraction * direction
            tables: dict[str, Any] = self.parameters
            for parameter, amount in zip(self.which, fraction * direction, strict=True):
                tables = changed(tables, parameter.path, float(amount))
            there = self.parallel(respond, (tables,) * len(self.labels), self.labels)
            if self.loss(list(there), moved) < before:
                self.parameters = tables | {"meta": {**tables.get("meta", {}), "name": NAME}}
                self.moved = moved
                return True
        return False

    def loss(self, responses: Sequence[Response | None], moved: Array) -> float:
        """Robust loss with its ridge; a molecule without convergence costs as much as ten bad errors."""
        both = zip(responses, self.labels, strict=True)
        kept = [(r, label) for r, label in both if r is not None]
        table = self._table[[r is not None for r in responses]]
        forces = [np.sqrt(np.mean((_forces(label) - r.values[1:]) ** 2)) for r, label in kept]
        units = np.concatenate([
            _energy_errors(kept, table) / self.settings.energy_error,
            np.array(forces) / self.settings.force_error,
        ])  # fmt: skip
        missing = 10 * self.settings.robust**2 * (len(responses) - len(kept))
        return float(_huber(units, self.settings.robust).sum() + missing + self._ridge() @ moved**2)

    def _ridge(self) -> Array:
        weight = self.settings.ridge * len(self.labels)
        return weight / np.array([p.spread for p in self.which]) ** 2

    def _direction(self, responses: Sequence[Response | None]) -> Array:
        """Solution of the normal equations, (parameters,)."""
        count, s = len(self.which), self.settings
        size = count + self._table.shape[1]
        normal, right = np.zeros((size, size)), np.zeros(size)
        for label, response, row in zip(self.labels, responses, self._table, strict=True):
            if response is None:
                continue
            n = len(label.numbers)
            error = np.concatenate([[_energy(label)], _forces(label)]) - response.values
            weights = np.r_[1 / (s.energy_error * n), np.full(3 * n, 1 / (s.force_error * np.sqrt(3 * n)))]
            slopes = np.zeros((1 + 3 * n, size))
            for k, slope in response.slopes.items():
                slopes[:, k] = slope
            slopes[0, count:] = row
            rms = np.sqrt(np.mean(error[1:] ** 2)) / s.force_error
            weights[1:] *= np.sqrt(min(1.0, s.robust / max(rms, 1e-12)))
            slopes, error = slopes * weights[:, None], error * weights
            normal += slopes.T @ slopes
            right += slopes.T @ error
        ridge = np.r_[self._ridge(), np.full(size - count, 1e-9)]
        right[:count] -= ridge[:count] * self.moved
        return np.linalg.solve(normal + np.diag(ridge), right)[:count]


def _huber(x: Array, limit: float) -> Array:
    """Squares up to a limit, straight lines beyond."""
    size = np.abs(x)
    return np.where(size < limit, size**2, limit * (2 * size - limit))


def _energy(label: LabelledMolecule) -> float:
    assert label.energy is not None
    return label.energy


def _forces(label: LabelledMolecule) -> Array:
    assert label.forces is not None
    return label.forces.ravel()
