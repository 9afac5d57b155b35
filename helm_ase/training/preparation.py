"""Preparation of a run before its first step: folder, labels and network, and checks that they match."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint
from helm_ase.checkpoint.format import file_sha256
from helm_ase.checkpoint.knowledge import Knowledge
from helm_ase.dataset.sample import Sample
from helm_ase.errors import DatasetError, SettingError
from helm_ase.nn import HELM
from helm_ase.qc.level import Baseline
from helm_ase.representation.bonding import BondCoverage
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.level import LevelOfTheory, physical_differences
from helm_ase.training.configuration import without_places
from helm_ase.training.energy_baseline import with_energy_baseline, with_references
from helm_ase.training.fitted_baseline import with_operators
from helm_ase.training.initial_model import (
    check_baseline,
    initial_model,
    network_settings,
    open_start,
    with_baselines,
)  # fmt: skip
from helm_ase.training.ranks import check_processes, is_first_process
from helm_ase.training.recipe import Recipe, Stage
from helm_ase.training.run_folder import claim_folder
from helm_ase.training.samples import JoinedSamples, OpenLabels, open_entries, open_samples
from helm_ase.training.schemes import LEARNT


@dataclass(frozen=True)
class Run:
    """State of a run that all stages share."""

    recipe: Recipe
    train: Sequence[Sample]
    validation: Sequence[Sample]
    level: LevelOfTheory
    energy_baseline: EnergyBaseline
    coverage: DistanceCoverage
    facts: Mapping[str, Any]
    """Data and start of the run, for the header of every checkpoint."""


class Prepared(NamedTuple):
    """Run that is ready to start."""

    run: Run
    model: HELM
    """With the weights of the first step."""
    learnt: frozenset[str]
    """Quantities that the model predicts already."""


def prepare(recipe: Recipe, stages: Sequence[Stage]) -> Prepared:
    """Prepare a run: its folder, labels, baselines, samples and network, and check that they match.

    Raises
    ------
    SettingError, DatasetError
        If they do not match.
    """
    check_processes(recipe.compute)
    start = open_start(recipe)
    whole = recipe if start is None else with_baselines(recipe, start)
    if start is not None:
        check_baseline(whole, start)
    files = [{"name": Path(p).name, "sha256": file_sha256(p)} for p in label_files(recipe)]
    if is_first_process():
        claim_folder(recipe, files, None if start is None else start.sha256)
    written = without_places(recipe)
    labels = open_entries(recipe.data, False)
    recipe = with_energy_baseline(whole, start, labels)
    if needs_matrices(stages):
        recipe = with_operators(recipe, start, labels)
    else:
        recipe = _without_h0(recipe, start)
    train, validation, level = _open(recipe, start, stages, labels)
    e0 = with_references(recipe.data.e0, train)
    model = initial_model(recipe, start, train, level)
    check_labels(model, stages, train, validation)
    check_operators(model, recipe)
    learnt: frozenset[str] = frozenset()
    if start is not None:
        learnt = start.predicts - {x for part in recipe.renew for x in LEARNT[part]}
    facts = {
        "recipe": written,
        "data": files,
        "start": None if start is None else {"name": start.name, "sha256": start.sha256},
        "train_structures": len(train),
        "validation_structures": len(validation),
    }
    geometries = [(s.graph.z.numpy(), s.graph.pos.numpy()) for s in train]
    coverage = DistanceCoverage.collect(geometries, model.settings.backbone.cutoff)
    coverage = replace(coverage, bonding=BondCoverage.collect(_states(train)))
    return Prepared(Run(recipe, train, validation, level, e0, coverage, facts), model, learnt)


def needs_matrices(stages: Sequence[Stage]) -> bool:
    """Whether any stage looks at Hamiltonians; otherwise neither H0 nor orbitals are computed."""
    return any(w.needs_hamiltonian for s in stages for w in (s.weights, s.late_weights) if w)


def _without_h0(recipe: Recipe, start: Checkpoint | None) -> Recipe:
    """The recipe with the H0 of the checkpoint to start from, or else with none: nothing that is learnt needs
    it."""
    keep = start is not None and "hamiltonian" not in recipe.renew
    baseline = start.baseline if start is not None and keep else Baseline("none")
    return replace(recipe, data=replace(recipe.data, baseline=baseline))


def _states(samples: JoinedSamples) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], ChargeState]]:
    """Atomic numbers, positions (Å), and charge and multiplicity of all samples."""
    for sample in samples:
        graph = sample.graph
        state = ChargeState(int(graph.charge), int(graph.multiplicity))
        yield graph.z.numpy(), graph.pos.numpy(), state


def _open(
    recipe: Recipe, start: Checkpoint | None, stages: Sequence[Stage], labels: OpenLabels
) -> tuple[JoinedSamples, JoinedSamples, LevelOfTheory]:
    """Training set, validation set, and the level of both in the basis of the predicted matrix."""
    backbone = network_settings(recipe, start).backbone
    cutoff = max(backbone.cutoff, backbone.pair_cutoff)
    options: dict[str, Any] = {
        "model_basis": recipe.data.model_basis,
        "coupled_polarizability": recipe.data.coupled_polarizability,
        "observables": any(w.needs_observables for s in stages for w in (s.weights, s.late_weights) if w),
        "matrices": needs_matrices(stages),
    }
    train, level = open_samples(recipe.data, False, cutoff, recipe.folder, labels, **options)
    same = replace(recipe.data, level=level)
    validation, _ = open_samples(same, True, cutoff, recipe.folder, **options)
    if shared := train.keys() & validation.keys():
        raise SettingError(f"{len(shared)} geometries are in the training and in the validation set")
    own = replace(level, basis=recipe.data.model_basis or level.basis)
    if physical_differences(own, level):
        level = replace(own, label_basis=level.basis)
    return train, validation, level


def check_labels(
    model: HELM, stages: Sequence[Stage], train: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    """Refuse validation molecules that the network does not support, and losses for which labels lack data.

    Raises
    ------
    DatasetError, SettingError
        With the name of what does not fit.
    """
    knows = Knowledge(model.basis.elements, model.settings.charges, model.settings.multiplicities)
    for s in validation:
        charge, multiplicity = int(s.graph.charge), int(s.graph.multiplicity)
        if not knows.admits(s.graph.z.tolist(), charge, multiplicity):
            unknown = list(knows.unknown_elements(s.graph.z.tolist()))
            raise DatasetError(
                f"validation molecule {s.name} has an element ({unknown}), charge ({charge}) or "
                f"multiplicity ({multiplicity}) that is in no training molecule"
            )
    wanted = {name for s in stages for w in (s.weights, s.late_weights) if w for name in w.wanted}
    known: dict[str, Callable[[Sample], bool]] = {
        "energy": lambda s: bool(np.isfinite(s.energy)),
        "forces": lambda s: bool(np.isfinite(s.forces.numpy()).all()),
    }
    for name in sorted(wanted):
        what, has = (name, known[name]) if name in known else ("a Hamiltonian", _has_orbitals)
        for which, samples in (("training", train), ("validation", validation)):
            if not any(has(s) for s in samples):
                raise SettingError(f"no {which} label has {what}: set the weight of {name!r} to 0")


def _has_orbitals(sample: Sample) -> bool:
    return not sample.energy_only


def check_operators(model: HELM, recipe: Recipe) -> None:
    """Refuse a network with elements for which its fitted baseline has no operator.

    Raises
    ------
    SettingError
        Naming them.
    """
    known = {operator.number for operator in recipe.data.h0.operators}
    if known and (lacking := set(model.basis.elements) - known):
        names = ", ".join(chemical_symbols[z] for z in sorted(lacking))
        raise SettingError(
            f"the network takes {names}, of which the fitted baseline has no operator: leave them out of "
            "'elements', give labels with them, or set renew: [hamiltonian] to fit new ones"
        )


def label_files(recipe: Recipe) -> list[str]:
    """Paths of all label files, each once."""
    return list(dict.fromkeys(recipe.data.train + recipe.data.validation))
