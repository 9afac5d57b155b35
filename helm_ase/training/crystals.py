"""Training on crystals: their operators of H0, their scales, and steps of an optimiser.

One process, all samples in memory: sets of crystals are small so far.  The network, its heads, the optimisers
and the checkpoints are those of molecules.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helm_ase.checkpoint import Checkpoint, load_model
from helm_ase.checkpoint.format import save_checkpoint
from helm_ase.dataset.batch import balanced_batches
from helm_ase.dataset.crystals import CrystalSample
from helm_ase.errors import SettingError
from helm_ase.evaluation.crystals import crystal_errors, mean_errors
from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.nn.new_elements import adopt_weights
from helm_ase.qc.level import Baseline
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.graph import batch_graphs
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.level import LevelOfTheory
from helm_ase.training.crystal_data import CrystalData, check_answers, prepare_crystals, set_references
from helm_ase.training.crystal_losses import CrystalLossWeights, crystal_loss_terms, weighted_sum
from helm_ase.training.optimisers import make_optimiser
from helm_ase.training.output_scales import scale_blocks
from helm_ase.training.rates import RateSchedule
from helm_ase.training.recipe import OptimiserSettings, RateSettings, check_range

Step = Callable[..., dict[str, float]]
"""Network, samples, optimiser, settings and random generator → terms of the loss."""
SMALL = BackboneSettings(
    natural_channels=32, unnatural_channels=8, lmax=2, mmax_nodes=2, node_layers=2, edge_layers=2,
    cutoff=4.5, pair_cutoff=9.0, gaussians=12, radial_hidden=32, average_neighbours=20.0,
)  # fmt: skip
"""A network for minimal bases of s and p functions, which one core trains in minutes.  Few Gaussians: with
some dozens of frames narrow ones follow the frames, not the function."""


@dataclass(frozen=True)
class CrystalTraining:
    """What defines a run, besides its labels."""

    name: str = "crystals"
    """Name of the checkpoint."""
    model: HELMSettings = field(default_factory=lambda: HELMSettings(SMALL, trust_delta=0.0))
    """Network; without trust filter, for valence bases are far from linear dependence."""
    weights: CrystalLossWeights = field(default_factory=CrystalLossWeights)
    """Weights of the terms of the loss."""
    epochs: int = 200
    """Limit; the learning rate reaches its end at whichever limit comes first."""
    minutes: float | None = None
    """Limit of the processor time of training.  Without it a run repeats to the last digit."""
    batch_load: int = 700
    """Pairs and atoms in a batch; of small cells a few crystals, for steps count more than their noise."""
    k_points: int = 4
    """Random ones for each crystal and step."""
    virtuals: int = 4
    """Unoccupied bands that losses and errors count."""
    optimiser: OptimiserSettings = field(
        default_factory=lambda: OptimiserSettings("muon", muon_rate=4e-3, averaging=0.99)
    )
    rate: RateSettings = field(default_factory=lambda: RateSettings(warmup_steps=20))
    seed: int = 0
    start: str | Path | None = None
    """Name or path of a checkpoint to go on from, with its network; with its H0 if no element is new.
    Distances and numbers of periodic directions that the labels lack are not claimed to be known any more."""

    def __post_init__(self) -> None:
        check_range(self, ("epochs", "batch_load", "k_points"), 1)
        check_range(self, ("virtuals",), 0)
        if self.model.trust_delta or self.model.orthogonal:
            raise SettingError(
                "crystals have no trust filter yet: set trust_delta to 0 and orthogonal to False, and take a "
                "basis that is far from linear dependence, as gth-szv-molopt-sr"
            )
        if self.model.charges != (0,) or self.model.multiplicities != (1,):
            raise SettingError("crystals are neutral closed shells: charges (0,) and multiplicities (1,)")


@dataclass(frozen=True)
class CrystalRun:
    """What comes out of a training."""

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    """Mean terms of the loss in every epoch."""
    train: list[CrystalSample]
    validation: list[CrystalSample]


def train_on_crystals(
    path: str | Path, output: str | Path, settings: CrystalTraining | None = None, progress: bool = False
) -> CrystalRun:
    """Train on the entries of the split ``train`` of a file; those of ``val`` measure the result.

    Parameters
    ----------
    path
        Labelled crystals.
    output
        Checkpoint to write.
    settings
        Network, loss and optimiser.
    progress
        Print the loss now and then.

    Raises
    ------
    DatasetError
        If the file has no entries to train on.
    """
    settings = settings or CrystalTraining()
    start = None if settings.start is None else load_model(settings.start)
    settings = settings if start is None else replace(settings, model=start.model.settings)
    backbone = settings.model.backbone
    data = prepare_crystals(path, max(backbone.cutoff, backbone.pair_cutoff), start)
    return train_on_samples(data, output, settings, progress, start)


def train_on_samples(
    data: CrystalData, output: str | Path, settings: CrystalTraining, progress: bool = False,
    start: Checkpoint | None = None,
) -> CrystalRun:  # fmt: skip
    """Train on prepared samples, made for the network's cutoff.

    Parameters
    ----------
    data
        From :func:`prepare_crystals`.
    output
        Checkpoint to write.
    settings
        Network, loss and optimiser.
    progress
        Print the loss now and then.
    start
        Checkpoint for which the samples were prepared and whose weights are gone on from.

    Raises
    ------
    SettingError
        If the samples were prepared for another cutoff, or a loss compares with what no label has.
    """
    train, validation = data.train, data.validation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = HELM(data.basis, settings.model)
    if data.cutoff != model.cutoff:
        raise SettingError(
            f"the samples hold pairs within {data.cutoff:g} Å, the network needs those within "
            f"{model.cutoff:g} Å: prepare_crystals(path, {model.cutoff:g})"
        )
    check_answers(train, settings.weights)
    _initialise(model, train, start)
    model, history = optimise(model, train, settings, crystal_step, progress)
    baseline = Baseline("fitted", operators=data.operators)
    checkpoint = _checkpoint(model, data.level, baseline, settings, data.labels, (train, validation))
    save_checkpoint(checkpoint, output)
    return CrystalRun(checkpoint, history, train, validation)


def _initialise(model: HELM, samples: Sequence[CrystalSample], start: Checkpoint | None) -> None:
    """Set scales and references from the training set, as far as no checkpoint to start from has them, and
    take over the weights of that."""
    wider = start is not None and model.basis.elements != start.basis.elements
    if start is None or wider:
        scale_blocks(model, [(s.graph, s.correction) for s in samples])
    if start is not None:
        adopt_weights(model, start.model)
    if start is None or "energy" not in start.predicts:
        set_references(model, samples)
    elif wider:
        set_references(model, samples, start.model)


def optimise(
    model: HELM, samples: Sequence[Any], settings: CrystalTraining, step: Step, progress: bool = False
) -> tuple[HELM, list[dict[str, float]]]:
    """Steps of the optimiser.

    Parameters
    ----------
    model
        The network; trained in place.
    samples
        Training samples, each with its ``load``.
    settings
        Optimiser, limits and batches.
    step
        Changes the network by one batch and returns the terms of its loss.
    progress
        Print the loss now and then.

    Returns
    -------
    model
        With averaged weights, in evaluation mode.
    history
        Mean terms of the loss in every epoch.
    """
    optimiser = make_optimiser([(list(model.parameters()), 1.0)], settings.optimiser)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.optimiser.averaging)
    )
    schedule, random = RateSchedule(settings.rate), np.random.default_rng(settings.seed)
    loads = np.array([s.load for s in samples])
    history, begin, count, epoch = [], time.process_time(), 0, 0
    while (over := _progress(epoch, begin, settings)) < 1:
        model.train()
        sums: dict[str, list[float]] = {}
        for batch in balanced_batches(loads, settings.batch_load, random):
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * schedule.fraction(count, over)
            terms = step(model, [samples[k] for k in batch], optimiser, settings, random)
            average.update_parameters(model)
            count += 1
            for name, value in terms.items():
                sums.setdefault(name, []).append(value)
        history.append({name: float(np.mean(values)) for name, values in sums.items()})
        if progress and epoch % 20 == 0:
            print(epoch, {k: round(v, 3) for k, v in history[-1].items()}, flush=True)
        epoch += 1
    averaged = average.module
    assert isinstance(averaged, HELM)
    return averaged.eval(), history


def _progress(epoch: int, begin: float, settings: CrystalTraining) -> float:
    """Fraction of the run that is over, by whichever limit is nearer."""
    spent = 0.0 if settings.minutes is None else (time.process_time() - begin) / (60 * settings.minutes)
    return max(epoch / settings.epochs, spent)


def crystal_step(
    model: HELM, samples: Sequence[CrystalSample], optimiser: torch.optim.Optimizer,
    settings: CrystalTraining, random: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """One batch of labelled crystals: terms of its loss, after a step of the optimiser."""
    graph = batch_graphs([s.graph for s in samples])
    weights = settings.weights
    out = model(
        graph, energy=weights.needs_energy, forces=weights.forces > 0, stress=weights.stress > 0,
        hamiltonian=weights.needs_hamiltonian,
    )  # fmt: skip
    kpts = [_random_points(s, settings.k_points, random) for s in samples]
    terms = crystal_loss_terms(out, samples, weights, kpts, settings.virtuals)
    descend(model, weighted_sum(terms, weights), optimiser, settings)
    return {name: float(value.detach()) for name, value in terms.items()}


def descend(model: HELM, loss: Tensor, optimiser: torch.optim.Optimizer, settings: CrystalTraining) -> None:
    """One step of the optimiser, left out where the gradient is not finite."""
    optimiser.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.optimiser.clip)
    if torch.isfinite(norm):
        optimiser.step()


def _random_points(sample: CrystalSample, count: int, random: np.random.Generator) -> Tensor:
    """Fractional k points, zero along directions without periodicity, (count, 3)."""
    periodic = sample.overlap.translations.any(0).numpy()
    return torch.from_numpy(random.uniform(-0.5, 0.5, (count, 3)) * periodic)


def _checkpoint(
    model: HELM, level: LevelOfTheory, baseline: Baseline, settings: CrystalTraining,
    labels: Sequence[LabelledCrystal], samples: tuple[Sequence[CrystalSample], Sequence[CrystalSample]],
) -> Checkpoint:  # fmt: skip
    weights = settings.weights
    predicts = ["hamiltonian"] * weights.needs_hamiltonian + ["energy", "forces"] * weights.needs_energy
    geometries = [(x.numbers, x.positions, x.lattice) for x in labels]
    training: dict[str, Any] = {
        "predicts": predicts,
        "dimensions": sorted({x.lattice.dimensions for x in labels}),
        "train_structures": len(samples[0]),
        "validation_structures": len(samples[1]),
    }
    metrics: dict[str, float] = {}
    for name, part in zip(("train", "val"), samples, strict=True):
        if part:
            errors = crystal_errors(model, part, level.smearing, settings.virtuals, "energy" in predicts)
            metrics |= {f"{name}_{k}": v for k, v in mean_errors(errors).items() if np.isfinite(v)}
    coverage = DistanceCoverage.collect(geometries, model.cutoff)
    checkpoint = Checkpoint(settings.name, model, level, baseline, coverage, training, metrics)
    return replace(checkpoint, model=model.requires_grad_(False))
