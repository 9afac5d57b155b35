"""Initial network of a run: with random weights, or with those of a checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from ase.data import chemical_symbols

from helm_ase.checkpoint import Checkpoint, load_model
from helm_ase.checkpoint.bounds import Allowance, check_numbers
from helm_ase.dataset.sample import Sample
from helm_ase.errors import SettingError
from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.level import LevelOfTheory, physical_differences
from helm_ase.training.output_scales import fit_block_scales, fit_energy_references
from helm_ase.training.recipe import Recipe

LARGEST_NETWORK = 2**29
"""Largest number of weights of a network: 2 GiB in single precision."""


def open_start(recipe: Recipe) -> Checkpoint | None:
    """The checkpoint that a recipe starts from."""
    return None if recipe.start is None else load_model(recipe.start)


def network_settings(recipe: Recipe, start: Checkpoint | None) -> HELMSettings:
    """Architecture: the recipe's, that of the checkpoint, or the default.

    Raises
    ------
    SettingError
        If recipe and checkpoint disagree.
    """
    if start is None:
        return recipe.model or HELMSettings()
    theirs = start.model.settings
    if recipe.model is not None and recipe.model != theirs:
        raise SettingError(
            f"the recipe's model is not that of checkpoint {start.name!r}: leave 'model' out, and its own "
            "is taken over"
        )
    return theirs


def initial_model(
    recipe: Recipe, start: Checkpoint | None, samples: Sequence[Sample], level: LevelOfTheory
) -> HELM:
    """Network with references and scales from the training set, or the weights to start from.

    Parameters
    ----------
    recipe
        What to build.
    start
        Its checkpoint, if it names one.
    samples
        Training set.
    level
        Level of theory of the labels, with the basis of the predicted matrix.

    Raises
    ------
    SettingError
        If labels, network and checkpoint do not fit each other.
    """
    settings = network_settings(recipe, start)
    _check_states(settings, samples, start)
    elements = _elements(recipe, start, samples)
    basis = ao_basis(level.basis, elements)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        try:
            check_numbers("model.backbone", asdict(settings.backbone), BackboneSettings)
            with Allowance(LARGEST_NETWORK):
                model = HELM(basis, settings)
        except ValueError as error:
            raise SettingError(f"the recipe's model cannot be built: {error}") from error
    if start is None:
        fit_energy_references(model, samples)
        fit_block_scales(model, samples)
        return model
    if other := physical_differences(start.level, level):
        raise SettingError(
            f"checkpoint {start.name!r} is of another level of theory than the labels: {other}"
        )
    if start.basis != basis:
        raise SettingError(
            f"checkpoint {start.name!r} has other shells for basis {basis.name!r} than PySCF now"
        )
    _take_over(model, start, recipe, samples)
    return model


def _take_over(model: HELM, start: Checkpoint, recipe: Recipe, samples: Sequence[Sample]) -> None:
    """Load the weights of the checkpoint, except for the heads that are to be renewed."""
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(start.model.state_dict())
    if "energy" in recipe.renew:
        _put_back(model, fresh, "energy_head.")
        fit_energy_references(model, samples)
    if "hamiltonian" in recipe.renew:
        _put_back(model, fresh, "hamiltonian_heads.")
        fit_block_scales(model, samples)


def _put_back(model: HELM, fresh: dict[str, Any], prefix: str) -> None:
    model.load_state_dict({k: v for k, v in fresh.items() if k.startswith(prefix)}, strict=False)


def _elements(recipe: Recipe, start: Checkpoint | None, samples: Sequence[Sample]) -> tuple[int, ...]:
    """Elements of the network; those of the labels must be among them."""
    seen = sorted({z for s in samples for z in s.graph.z.tolist()})
    if start is not None and recipe.elements not in ((), start.basis.elements):
        raise SettingError(
            f"elements is {list(recipe.elements)}, but checkpoint {start.name!r} knows "
            f"{list(start.basis.elements)}: leave it out"
        )
    elements = recipe.elements or (tuple(seen) if start is None else start.basis.elements)
    allowed = elements if start is None else start.basis.elements
    lacking = [chemical_symbols[z] for z in sorted(set(seen) | set(elements)) if z not in allowed]
    if lacking:
        whose = "'elements' of the recipe" if start is None else f"checkpoint {start.name!r}"
        raise SettingError(f"the labels hold {', '.join(lacking)}, which {whose} does not know")
    return tuple(sorted(elements))


def with_baselines(recipe: Recipe, start: Checkpoint) -> Recipe:
    """The recipe in which baselines that it leaves open are those of the checkpoint to start from, as far as
    its heads are not renewed."""
    data = recipe.data
    if data.baseline is None and "hamiltonian" not in recipe.renew:
        data = replace(data, energy_baseline=_energy_baseline(recipe, start, start.baseline.charges))
        data = replace(data, baseline=replace(start.baseline, operators=()))
    else:
        data = replace(data, energy_baseline=_energy_baseline(recipe, start, False))
    return replace(recipe, data=data)


def _energy_baseline(recipe: Recipe, start: Checkpoint, needed: bool) -> EnergyBaseline:
    """E0 of the recipe or, where it is left open, of the checkpoint; its parameters are filled in later."""
    ours, theirs = recipe.data.energy_baseline, start.energy_baseline
    if ours is not None or not theirs or ("energy" in recipe.renew and not needed):
        return recipe.data.e0
    return EnergyBaseline(theirs.name, dispersion=theirs.dispersion)


def check_baseline(recipe: Recipe, start: Checkpoint) -> None:
    """Refuse to continue with a Hamiltonian head that was trained with another H0.

    Raises
    ------
    SettingError
        Naming both.
    """
    theirs, ours = start.baseline, recipe.data.h0
    to_come = ours.name == "fitted" and not ours.operators
    same = theirs.name == ours.name if to_come else theirs.signature == ours.signature
    if not same and "hamiltonian" not in recipe.renew:
        raise SettingError(
            f"checkpoint {start.name!r} adds to the baseline {theirs} ({theirs.signature[1]}), the recipe to "
            f"{ours} ({ours.signature[1]}): name the same, or renew 'hamiltonian'"
        )


def _check_states(settings: HELMSettings, samples: Sequence[Sample], start: Checkpoint | None) -> None:
    """Refuse recipes whose charges and multiplicities are not exactly those of the labels, and labels with
    others than those of the checkpoint to start from."""
    for name in ("charge", "multiplicity"):
        seen = {int(getattr(s.graph, name)) for s in samples}
        named = set(settings.charges if name == "charge" else settings.multiplicities)
        if start is not None and (new := seen - named):
            raise SettingError(
                f"the labels hold {name} {sorted(new)}, which checkpoint {start.name!r} does not know; it "
                f"knows {sorted(named)}"
            )
        if start is None and seen and seen != named:
            raise SettingError(
                f"the labels hold {name} {sorted(seen)}, the settings name {sorted(named)}: name exactly "
                "those of the labels, as a model supports only what it was trained on"
            )
