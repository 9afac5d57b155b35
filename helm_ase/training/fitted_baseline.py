"""The operators of a fitted baseline: those of the checkpoint to start from, or new ones.

The exchange splitting of open shells is fitted by itself: a checkpoint whose operators know none gets it
without a change of the rest.
"""

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import DatasetError, SettingError
from helm_ase.qc.exchange_splitting import SplittingFit
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.operator_fit import OperatorFit
from helm_ase.qc.tight_binding import TightBinding
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.system.atomic_write import whole_file
from helm_ase.training.ranks import is_first_process
from helm_ase.training.recipe import DataSettings, Recipe
from helm_ase.training.samples import OpenLabels, open_entries

MOLECULES = 200
"""Training labels, drawn at random, that operators are fitted to."""
OF_EACH = 20
"""Smallest number of labels per element, if available; more labels are drawn for rare elements."""
OF_CHARGED = 600
"""Training labels for operators that respond to charges: four times as many numbers are fitted."""
OF_OPEN = 300
"""Training labels of open shells that the exchange splitting is fitted to."""
FILE = "operators.json"
"""Name of the file with the operators in the folder of the run, so that all processes, and a continued run,
use the same H0."""
PATIENCE = 3600.0
"""Seconds that the other processes wait for the first one's fit."""


def with_operators(
    recipe: Recipe, start: Checkpoint | None = None, labels: OpenLabels | None = None
) -> Recipe:
    """The recipe, with operators where its baseline is ``fitted`` and has none yet.

    Those of ``start`` are kept unless its Hamiltonian head is renewed; otherwise the first process fits new
    ones.  What was fitted is left in the run's folder.

    Raises
    ------
    SettingError
        If they would have to be fitted to matrices of another basis.
    DatasetError, BasisError
        If labels cannot be read or do not fit their basis.
    """
    baseline = recipe.data.h0
    if baseline.name != "fitted" or baseline.operators:
        return recipe
    operators: tuple[AtomicOperator, ...] = ()
    if start is not None and "hamiltonian" not in recipe.renew:
        operators = start.baseline.operators
    if not operators or (baseline.spins and any(x.exchange is None for x in operators)):
        operators = _kept(Path(recipe.folder) / FILE, recipe.data, labels, operators)
    return replace(recipe, data=replace(recipe.data, baseline=replace(baseline, operators=operators)))


def _kept(
    path: Path, data: DataSettings, labels: OpenLabels | None, known: tuple[AtomicOperator, ...]
) -> tuple[AtomicOperator, ...]:
    """Operators in the file, which the first process writes where it is not there yet.

    ``known`` ones only lack their exchange splitting.
    """
    if not path.exists() and is_first_process():
        operators = known or fit_operators(data, labels=labels)
        if data.h0.spins:
            operators = fit_exchange(data, operators, labels)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(json.dumps([o.to_json() for o in operators]), encoding="utf8")
    last = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > last:
            raise DatasetError(f"the first process has not written {path} within {PATIENCE:g} s")
        time.sleep(0.2)
    return tuple(AtomicOperator(**x) for x in json.loads(path.read_text(encoding="utf8")))


def fit_operators(
    data: DataSettings, molecules: int | None = None, labels: OpenLabels | None = None
) -> tuple[AtomicOperator, ...]:
    """Operators for which H0 is nearest to the Hamiltonians of some training labels.

    Parameters
    ----------
    data
        Labels to draw from, at random; of an open shell the mean of both spins counts.
    molecules
        How many to draw.  Further ones follow for elements that are rare.  A charge shifts all orbital
        energies, so for operators that do not respond to charges, charged molecules count only for elements
        that no neutral one holds.

    Raises
    ------
    SettingError, DatasetError, BasisError
        As :func:`with_operators`.
    """
    labels = labels or open_entries(data, False)
    basis = labels.level.basis
    if data.model_basis not in (None, basis):
        raise SettingError(
            f"baseline 'fitted' needs Hamiltonians in the model's basis, {data.model_basis}; the labels are "
            f"in {basis}: use 'minao' or 'sap'"
        )
    respond = data.h0.charges
    wanted = molecules or (OF_CHARGED if respond else MOLECULES)
    fit, seen = OperatorFit(respond), Counter[int]()
    charges = TightBinding(data.e0.for_charges) if respond else None
    for charged in (None,) if respond else (False, True):
        settled, fitted = set(seen), 0
        for label in labels.shuffled(data.draw_seed):
            if not label.determines_hamiltonian:
                continue
            elements = set(label.numbers.tolist())
            enough = fitted >= wanted and min(seen[z] for z in elements) >= OF_EACH
            in_turn = charged is None or ((label.charge != 0) is charged and not elements <= settled)
            if in_turn and not enough:
                _add(fit, label, basis, charges)
                seen.update(elements)
                fitted += 1
    return fit.solve()


def fit_exchange(
    data: DataSettings, operators: tuple[AtomicOperator, ...], labels: OpenLabels | None = None
) -> tuple[AtomicOperator, ...]:
    """The operators with an exchange splitting, as near to that of some training labels as can be.

    Parameters
    ----------
    data
        Labels to draw from, at random.
    operators
        Operators of all elements.

    Raises
    ------
    DatasetError, BasisError
        As :func:`with_operators`; also if there is no open shell among the labels.
    SCFError, ElementError
        As :meth:`~helm_ase.qc.tight_binding.TightBinding.__call__`.
    """
    labels = labels or open_entries(data, False)
    fit, method = SplittingFit(), TightBinding(data.e0.for_charges, spins=True)
    for label in labels.shuffled(data.draw_seed):
        if fit.count == OF_OPEN:
            break
        if label.determines_hamiltonian and label.multiplicity > 1:
            mole = _mole(label, labels.level.basis)
            spin = method(label.numbers, label.positions, label.charge, label.multiplicity).spin
            if spin is not None:
                fit.add(mole, label.matrices, spin)
    return fit.solve(operators)


def _mole(label: LabelledMolecule, basis: str) -> Any:
    """PySCF's molecule, once the size of the label's matrix is known to fit."""
    mole = build_mole(label.numbers, label.positions, basis, label.charge, label.multiplicity)
    if label.functions != mole.nao:
        raise DatasetError(
            f"entry {label.name}: the Hamiltonian has {label.functions} functions, but {basis} has {mole.nao}"
        )
    return mole


def _add(fit: OperatorFit, label: LabelledMolecule, basis: str, charges: TightBinding | None) -> None:
    mole, matrices = _mole(label, basis), label.matrices
    q = None
    if charges is not None:
        q = charges(label.numbers, label.positions, label.charge, label.multiplicity).charges
    fit.add(mole, matrices.mean(0), q)
