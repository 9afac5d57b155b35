"""Domain of a model: elements, charges and geometries that it supports, and extrapolation beyond training."""

import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.checkpoint import Checkpoint, knowledge_at_hand
from helm_ase.errors import ChargeError, ElementError, StructureError, UntrainedError
from helm_ase.prediction.environments import unknown_environments
from helm_ase.representation.bonding import BIN_WIDTH, BondCoverage, BondFault
from helm_ase.representation.box import refuse_periodic_vacuum
from helm_ase.representation.charge_state import ChargeState, check_parity
from helm_ase.representation.coverage import describe
from helm_ase.representation.geometry import check_geometry
from helm_ase.representation.lattice import Lattice

CLOSED_SHELL = (
    "closed shells were learnt from restricted Kohn–Sham theory, which does not describe broken bonds"
)
JUMP = 0.5
"""Displacement of an atom, Å, above which the next calculation counts as a new geometry, not as a step."""


class ExtrapolationWarning(UserWarning):
    """Warning that a geometry is outside of what occurred in training."""


def check_kind(atoms: Atoms, checkpoint: Checkpoint, state: ChargeState | None = None) -> None:
    """Refuse atoms for reasons other than their geometry: unsupported periodicity or unknown elements.

    Where the charge and multiplicity are known, only models that know them are recommended instead.

    Raises
    ------
    StructureError, ElementError
        Naming what was found and what is allowed.
    """
    if (dimensions := int(atoms.pbc.sum())) not in checkpoint.dimensions:
        refuse_dimensions(dimensions, atoms, checkpoint)
    known = checkpoint.knows.elements
    if unknown := checkpoint.knows.unknown_elements(atoms.numbers.tolist()):
        raise ElementError(
            f"model {checkpoint.name!r} has not seen {_symbols(unknown)}; it knows {_symbols(known)}. "
            + _other_models(atoms, state)
        )


def _other_models(atoms: Atoms, state: ChargeState | None) -> str:
    """Advice: which models of the installation know the elements and, where it is given, the state."""
    dimensions, names = int(atoms.pbc.sum()), []
    for name, knows in knowledge_at_hand().items():
        fits = state is None or knows.knows_state(*state)
        if fits and dimensions in knows.dimensions and not knows.unknown_elements(atoms.numbers.tolist()):
            names.append(repr(name))
    what = "these elements" if state is None else "these elements with this charge and multiplicity"
    if dimensions:
        what = f"{KINDS[dimensions]} of these elements"
    if names:
        return f"{' and '.join(names)} {'knows' if len(names) == 1 else 'know'} {what}"
    return f"No model of this installation knows {what} (helm-ase models lists all; helm-ase train makes one)"


KINDS = {0: "molecules", 1: "chains", 2: "slabs", 3: "bulk"}
"""Number of periodic directions → name of such systems."""


def refuse_dimensions(dimensions: int, atoms: Atoms, checkpoint: Checkpoint) -> None:
    """Raise an error that says why a model does not support this number of periodic directions.

    Raises
    ------
    StructureError
        Always.
    """
    if checkpoint.dimensions == (0,):
        raise StructureError(
            f"model {checkpoint.name!r} describes isolated molecules, but pbc is {atoms.pbc.tolist()}: if "
            "this is a molecule in a box, as some readers make it, set atoms.pbc = False (helm-ase: "
            f"--no-pbc); for a crystal take a model that has learnt crystals. {_other_models(atoms, None)}"
        )
    known = ", ".join(KINDS[d] for d in checkpoint.dimensions)
    raise StructureError(
        f"model {checkpoint.name!r} has learnt {known}, not {KINDS[dimensions]}: pbc is {atoms.pbc.tolist()}"
    )


def check_crystal(atoms: Atoms, checkpoint: Checkpoint, state: ChargeState) -> None:
    """Raise an error for crystals that the model does not support.

    Raises
    ------
    StructureError, ElementError, ChargeError
        Naming what was found and what is allowed.
    """
    check_geometry(atoms.numbers.astype(np.int64), atoms.positions)
    check_kind(atoms, checkpoint)
    if state != (0, 1):
        raise ChargeError(f"crystals are neutral closed shells; charge and multiplicity are {tuple(state)}")
    if (electrons := checkpoint.basis.electrons(atoms.numbers)) % 2:
        raise StructureError(
            f"a cell with {electrons} valence electrons has an open shell: take a supercell with an even "
            f"number"
        )
    if "energy" not in checkpoint.predicts:  # which vacuum leaves alone; predict_crystal asks for levels
        refuse_periodic_vacuum(atoms)


def check_molecule(atoms: Atoms, checkpoint: Checkpoint, state: ChargeState) -> None:
    """Raise an error for molecules that the model does not support.

    Raises
    ------
    StructureError, ElementError, ChargeError
        Naming what was found and what is allowed.
    """
    check_geometry(atoms.numbers.astype(np.int64), atoms.positions)
    check_kind(atoms, checkpoint, state)
    if atoms.pbc.any():
        raise StructureError(
            f"pbc is {atoms.pbc.tolist()}: crystals are computed by HELMCalculator only, in this version"
        )
    check_parity(checkpoint.basis.electrons(atoms.numbers, state.charge), state)
    if not checkpoint.knows.knows_state(*state):
        raise ChargeError(
            f"model {checkpoint.name!r} has not seen charge {state.charge} with multiplicity "
            f"{state.multiplicity}; it knows {checkpoint.knows.states}. {_other_models(atoms, state)}"
        )


def check_trained(checkpoint: Checkpoint, quantity: str) -> None:
    """Raise an error for quantities that a model was not trained to predict.

    Raises
    ------
    UntrainedError
        Naming what it does predict.
    """
    if quantity not in checkpoint.predicts:
        raise UntrainedError(
            f"model {checkpoint.name!r} was not trained to predict the {quantity}, only "
            f"{', '.join(sorted(checkpoint.predicts))}: choose another model (helm-ase models)"
        )


class Extrapolation(NamedTuple):
    """Features of a geometry that did not occur in training."""

    distances: dict[tuple[int, int], list[float]]
    """Pairs of elements (Z1 ≤ Z2) → distances, Å."""
    faults: list[BondFault]
    """Bonds, environments of atoms, fragments, and charge with multiplicity."""


def extrapolation_of(atoms: Atoms, checkpoint: Checkpoint, state: ChargeState) -> Extrapolation:
    """Compare a geometry with the training set of a model.

    If the model has no record of bonds but was trained on closed shells only, fragments that are radicals
    or ions count as unknown.  Crystals are judged by :mod:`helm_ase.prediction.environments`.
    """
    lattice = Lattice.of_atoms(atoms) if atoms.pbc.any() else None
    distances = checkpoint.coverage.unseen(atoms.numbers, atoms.positions, lattice)
    record = checkpoint.bonding
    if record is None and (checkpoint.knows.charges, checkpoint.knows.multiplicities) == ((0,), (1,)):
        record = BondCoverage.of_closed_shells()
    if lattice is not None:
        return Extrapolation(distances, unknown_environments(atoms, checkpoint))
    if record is None:
        return Extrapolation(distances, [])
    return Extrapolation(distances, record.faults(atoms.numbers, atoms.positions, state))


WORSE = 1.25
"""Factor by which an error bar must grow before it is reported again."""


class KnownGeometry(NamedTuple):
    """Geometry for which warnings were issued."""

    numbers: NDArray[np.int64]
    """Atomic numbers, (N,)."""
    positions: NDArray[np.float64]
    """Positions of the atoms, Å, (N, 3)."""


class ExtrapolationMemory:
    """Warnings that were issued for a geometry and for the small steps that followed it.

    In dynamics and optimisations a warning is issued once for each pair of elements and interval of
    distances, so that still worse distances are reported.  Another ``Atoms`` object, or a large displacement,
    counts as a new geometry, with warnings of its own.  Copies and pickles start without any memory.
    """

    def __init__(self) -> None:
        self._atoms: weakref.ref[Atoms] | None = None
        self._last: KnownGeometry | None = None
        self._already: set[tuple[int, int, int]] = set()
        self._faults: set[tuple[int, ...]] = set()
        self._told = 0.0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    def warn(self, atoms: Atoms, model: str, extrapolation: Extrapolation, state: ChargeState) -> None:
        """Issue warnings for everything that was not warned of before; ``model`` is its name in the
        message."""
        if not self._continues(atoms):
            self._already, self._faults, self._told = set(), set(), 0.0
        self._atoms = weakref.ref(atoms)
        self._last = KnownGeometry(atoms.numbers.copy(), atoms.positions.copy())
        self._already = warn_about_distances(model, extrapolation.distances, self._already)
        self._faults |= warn_about_bonds(model, extrapolation.faults, state, self._faults)

    def is_news(self, bar: float) -> bool:
        """Whether an error bar, eV/atom, should be reported: the first one, or one much larger than the
        last."""
        if bar <= WORSE * self._told:
            return False
        self._told = bar
        return True

    def _continues(self, atoms: Atoms) -> bool:
        previous = None if self._atoms is None else self._atoms()
        if self._last is None or previous is None or id(previous) != id(atoms):
            return False
        if not np.array_equal(self._last.numbers, atoms.numbers):
            return False
        return bool(np.linalg.norm(self._last.positions - atoms.positions, axis=1).max() < JUMP)


def warn_about_distances(
    model: str, distances: Mapping[tuple[int, int], list[float]], already: set[tuple[int, int, int]]
) -> set[tuple[int, int, int]]:
    """Warn of element pairs at distances never seen in training.

    Parameters
    ----------
    model
        Its name, for the message.
    distances
        Pairs of elements → distances, Å, of :class:`Extrapolation`.
    already
        Element pairs, and intervals of their distances, that have been warned of.

    Returns
    -------
    set
        Those that have now been warned of.
    """
    new: dict[tuple[int, int], list[float]] = {}
    told = set(already)
    for pair, lengths in distances.items():
        for length in lengths:
            if (place := (*pair, int(length / BIN_WIDTH))) not in already:
                new.setdefault(pair, []).append(length)
                told.add(place)
    if new:
        warnings.warn(
            f"model {model!r} never saw {describe(new)}; its answer there is extrapolation",
            ExtrapolationWarning,
            stacklevel=5,
        )
    return told


def warn_about_bonds(
    model: str, faults: Sequence[BondFault], state: ChargeState, already: set[tuple[int, ...]]
) -> set[tuple[int, ...]]:
    """Warn of bonds and states that occurred rarely or never in training, except those whose keys are in
    ``already``; return the keys.

    Parameters
    ----------
    model
        Its name, for the message.
    faults
        Those of :class:`Extrapolation`.
    state
        Charge and multiplicity.
    already
        Keys of what has been warned of.
    """
    new = [fault for fault in faults if fault.key not in already]
    if new:
        shown = "; ".join(fault.text for fault in new[:3]) + ("; …" if len(new) > 3 else "")
        broken = any(fault.broken for fault in new)
        warnings.warn(
            f"model {model!r} saw this rarely or never: {shown}; its answer there is "
            + (f"worth nothing: {CLOSED_SHELL}" if broken and state.multiplicity == 1 else "extrapolation"),
            ExtrapolationWarning,
            stacklevel=5,
        )
    return {fault.key for fault in new}


class Uncertainty(NamedTuple):
    """Expected error of an energy."""

    energy: float
    """Expected error of the energy of the molecule, eV."""
    per_atom: float
    """The same divided by the number of atoms, eV."""
    threshold: float
    """Value of ``per_atom``, in eV, above which the model extrapolates and the error bar is a lower bound."""


def uncertainty_of(
    checkpoint: Checkpoint, features: Tensor, atoms: int, state: ChargeState, memory: ExtrapolationMemory
) -> Uncertainty | None:
    """Error bar of one molecule, with a warning if it is above the model's threshold; None without one.

    Parameters
    ----------
    checkpoint
        Checkpoint of the model.
    features
        Last hidden layer of the energy head, (N, F).
    atoms
        How many there are.
    state
        Charge and multiplicity.
    memory
        Memory of what this geometry, and those before it, have been warned of.
    """
    if checkpoint.uncertainty is None:
        return None
    count, states = (torch.tensor([x], device="cpu") for x in (atoms, tuple(state)))
    per_atom = float(checkpoint.uncertainty.per_atom(features, count, states)[0])
    threshold = checkpoint.uncertainty.threshold
    if per_atom > threshold and memory.is_news(per_atom):
        warnings.warn(
            f"the error bar of model {checkpoint.name!r} is {1e3 * per_atom:.1f} meV per atom, above its "
            f"limit of {1e3 * threshold:.1f}: this is extrapolation, and the error may be many times larger",
            ExtrapolationWarning,
            stacklevel=4,
        )
    return Uncertainty(per_atom * atoms, per_atom, threshold)


def _symbols(numbers: "list[int] | tuple[int, ...]") -> str:
    symbols = (chemical_symbols[z] if 0 < z < len(chemical_symbols) else f"Z = {z}" for z in numbers)
    return ", ".join(symbols)
