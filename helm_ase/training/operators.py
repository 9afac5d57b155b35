"""The operators of a fitted baseline: those of the checkpoint to start from, or new ones."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import SettingError
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.operator_fit import OperatorFit
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.training.recipe import DataSettings, Recipe
from helm_ase.training.samples import open_entries

MOLECULES = 200
"""Training labels, drawn at random, that operators are fitted to."""
OF_EACH = 20
"""Labels with an element, if there are so many; further ones are drawn for those that are rare."""
FILE = "operators.json"
"""In the folder of the run: a run that goes on must add to the same H0."""


def with_operators(recipe: Recipe, start: Checkpoint | None) -> Recipe:
    """The recipe, with operators where its baseline is ``fitted`` and has none yet.

    Raises
    ------
    SettingError
        If they would have to be fitted to matrices of another basis.
    DatasetError
        If the labels cannot be read.
    """
    baseline = recipe.data.baseline
    if baseline.name != "fitted" or baseline.operators:
        return recipe
    if start is not None and start.baseline.operators:
        operators = start.baseline.operators
    else:
        operators = _kept(Path(recipe.folder), recipe.data)
    return replace(recipe, data=replace(recipe.data, baseline=replace(baseline, operators=operators)))


def _kept(folder: Path, data: DataSettings) -> tuple[AtomicOperator, ...]:
    path = folder / FILE
    if path.exists():
        return tuple(AtomicOperator(**x) for x in json.loads(path.read_text(encoding="utf8")))
    operators = fit_operators(data)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps([asdict(operator) for operator in operators]), encoding="utf8")
    partial.replace(path)
    return operators


def fit_operators(data: DataSettings, molecules: int = MOLECULES) -> tuple[AtomicOperator, ...]:
    """Operators for which H0 is nearest to the Hamiltonians of some training labels, drawn at random.

    Charged molecules shift all levels and count only where there are no neutral ones; of an open shell
    the mean of both spins counts.

    Raises
    ------
    SettingError, DatasetError
        As :func:`with_operators`.
    """
    if data.model_basis:
        raise SettingError(
            f"baseline 'fitted' needs Hamiltonians in the model's basis, {data.model_basis}; the labels are "
            "in another one: use 'minao' or 'sap'"
        )
    basis = open_entries(data, False)[2].basis
    neutral = any(label.charge == 0 for label in _labels(data))
    fit, seen = OperatorFit(), Counter[int]()
    for n, label in enumerate(_labels(data)):
        elements = set(label.numbers.tolist())
        if (neutral and label.charge) or (n >= molecules and min(seen[z] for z in elements) >= OF_EACH):
            continue
        mole = build_mole(label.numbers, label.positions, basis, label.charge, label.multiplicity)
        fit.add(mole, label.hamiltonian.reshape(-1, mole.nao, mole.nao).mean(0))
        seen.update(elements)
    return fit.solve()


def _labels(data: DataSettings) -> Iterator[LabelledMolecule]:
    """All training labels in a random order that is always the same."""
    sources, entries, _ = open_entries(data, False)
    flat = [(part, k) for part, indices in enumerate(entries) for k in indices]
    for n in np.random.default_rng(data.draw_seed).permutation(len(flat)):
        part, k = flat[n]
        yield sources[part][k]
