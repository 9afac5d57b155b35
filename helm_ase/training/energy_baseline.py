"""The energy baseline of a run: that of the checkpoint to start from, or that of the installed tblite."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from helm_ase.checkpoint import Checkpoint
from helm_ase.dataset.sample import Sample
from helm_ase.errors import SettingError
from helm_ase.qc.tight_binding import reference_energy, with_parameters
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.graph import AtomicGraph
from helm_ase.training.recipe import Recipe
from helm_ase.training.samples import OpenLabels, open_entries

REFERENCES = 4
"""Molecules whose E0 is kept in the checkpoint."""


def with_energy_baseline(
    recipe: Recipe, start: Checkpoint | None = None, labels: OpenLabels | None = None
) -> Recipe:
    """The recipe, with the parameters of its energy baseline.

    Raises
    ------
    SettingError
        If the checkpoint to start from has another one and its energy head is not renewed, or tblite is
        missing; or if the file of its parameters is no such file.
    """
    if recipe.data.energy_parameters:
        recipe = _with_file(recipe, Path(recipe.data.energy_parameters))
    ours = recipe.data.e0
    theirs = EnergyBaseline() if start is None else start.energy_baseline
    if start is not None and not _same_energy(ours, theirs):
        if "energy" not in recipe.renew:
            raise SettingError(
                f"checkpoint {start.name!r} adds to the energy baseline {theirs}, the recipe to {ours}"
                f"{' with other parameters' if ours.name == theirs.name else ''}: name the same, or renew "
                "'energy'"
            )
    elif theirs and not ours.parameters:
        return replace(recipe, data=replace(recipe.data, energy_baseline=replace(theirs, references=())))
    if ours and not ours.parameters:
        ours = with_parameters(ours, _elements(recipe, start, labels))
    charges = theirs.for_charges.parameters
    if ours and theirs and "hamiltonian" not in recipe.renew and charges != ours.parameters:
        ours = replace(ours, charge_parameters=charges)  # H0 stays what its head was trained with
    return replace(recipe, data=replace(recipe.data, energy_baseline=ours))


def _with_file(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with the parameters of its energy baseline read from a file."""
    try:
        parameters = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"data.energy_parameters: {path} cannot be read as JSON ({error})") from error
    if not isinstance(parameters, dict) or not isinstance(parameters.get("element"), dict):
        raise SettingError(
            f"data.energy_parameters: {path} holds no parameters of GFN2-xTB; "
            "examples/train/fit_energy_baseline.py writes such files"
        )
    baseline = replace(recipe.data.e0, parameters=parameters)
    if ("dispersion" in parameters) != baseline.dispersion:
        raise SettingError(
            f"data.energy_baseline.dispersion is {baseline.dispersion}, but {path} "
            f"{'has' if 'dispersion' in parameters else 'lacks'} parameters of dispersion"
        )
    return replace(recipe, data=replace(recipe.data, energy_baseline=baseline, energy_parameters=None))


def _same_energy(ours: EnergyBaseline, theirs: EnergyBaseline) -> bool:
    """Whether a recipe's baseline, whose parameters may be left open, is that of a checkpoint."""
    same = (ours.name, ours.dispersion) == (theirs.name, theirs.dispersion)
    return same and (not ours.parameters or dict(ours.parameters) == dict(theirs.parameters))


def _elements(recipe: Recipe, start: Checkpoint | None, labels: OpenLabels | None) -> Sequence[int]:
    """Elements of the network that is to be trained."""
    if recipe.elements or start is not None:
        return recipe.elements or start.basis.elements  # type: ignore[union-attr]
    labels = labels or open_entries(recipe.data, False)
    return sorted({z for label in labels for z in label.numbers.tolist()})


def with_references(baseline: EnergyBaseline, samples: Sequence[Sample]) -> EnergyBaseline:
    """The baseline with energies of small training molecules that hold as many elements as possible."""
    if not baseline:
        return baseline
    graphs = sorted((s.graph for s in samples), key=lambda g: len(g.z))
    chosen: list[AtomicGraph] = []
    seen: set[int] = set()
    for graph in graphs:
        if len(chosen) < REFERENCES and not set(graph.z.tolist()) <= seen:
            chosen.append(graph)
            seen |= set(graph.z.tolist())
    made = [
        reference_energy(baseline, g.z.numpy(), np.asarray(g.pos.numpy()), int(g.charge), int(g.multiplicity))
        for g in chosen
    ]
    return replace(baseline, references=tuple(made))
