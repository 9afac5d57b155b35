"""A recipe from labels to a checkpoint: stage after stage, resumable after every epoch."""

import contextlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy

from helm_ase.checkpoint.format import file_sha256, read_checkpoint, save_checkpoint
from helm_ase.data.sample import Sample
from helm_ase.errors import SettingError
from helm_ase.nn import HELM
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.level import LevelOfTheory
from helm_ase.training.batches import Samples, SharedBatches, loader, loads_of, validation_loader
from helm_ase.training.callbacks import EndOfStage, ExponentialAverage, Imprint, KeepBest
from helm_ase.training.configuration import plain, to_yaml, without_places
from helm_ase.training.curves import write_report
from helm_ase.training.initial import initial_model, network_settings, open_start
from helm_ase.training.module import TrainingModule
from helm_ase.training.recipe import Compute, Recipe, Stage
from helm_ase.training.samples import open_samples
from helm_ase.training.schemes import check_order, moving_parts, settled

BEST, LAST, FINISHED, RECIPE = "best.safetensors", "last.ckpt", "finished", "recipe.yaml"
"""Files of a stage, or of the run."""
LEARNT = {"hamiltonian": ("hamiltonian",), "energy": ("energy", "forces")}
"""Part of the network → what a checkpoint can be asked for once it is trained."""
EXPECTED = (
    ".*does not have many workers.*",
    ".*logs directory.*",
    ".*Checkpoint directory.*",
    ".*LeafSpec.*",
)
"""Warnings of Lightning about what is meant."""


@dataclass(frozen=True)
class Run:
    """What all stages share."""

    recipe: Recipe
    train: Sequence[Sample]
    validation: Sequence[Sample]
    level: LevelOfTheory
    coverage: DistanceCoverage
    facts: Mapping[str, Any]
    """About data and start, for the header of every checkpoint."""


def train(recipe: Recipe) -> Path:
    """Train; goes on where an interrupted run of the same folder stopped.

    Returns
    -------
    Path
        The checkpoint, FOLDER/NAME.safetensors.

    Raises
    ------
    SettingError
        If the recipe contradicts itself, its labels, its checkpoint, or what the folder holds.
    DatasetError
        If labels cannot be read.
    """
    check_order(recipe)
    stages = tuple(settled(stage) for stage in recipe.stages)
    folder = Path(recipe.folder)
    _claim(folder, recipe)
    run, model, learnt = _prepare(recipe, stages)
    for k, stage in enumerate(stages):
        learnt = learnt | {x for part in moving_parts(stage) for x in LEARNT.get(part, ())}
        model = run_stage(run, model, stage, folder / str(k), learnt)
    target = folder / f"{recipe.name}.safetensors"
    save_checkpoint(read_checkpoint(folder / str(len(stages) - 1) / BEST), target)
    write_report(folder)
    return target


def _prepare(recipe: Recipe, stages: Sequence[Stage]) -> tuple[Run, HELM, frozenset[str]]:
    start = open_start(recipe)
    backbone = network_settings(recipe, start).backbone
    cutoff = max(backbone.cutoff, backbone.pair_cutoff)
    options: dict[str, Any] = {
        "model_basis": recipe.data.model_basis,
        "coupled_polarizability": recipe.data.coupled_polarizability,
        "observables": any(w.needs_observables for s in stages for w in (s.weights, s.late_weights) if w),
    }
    train_set, level = open_samples(recipe.data, False, cutoff, recipe.folder, **options)
    validation, _ = open_samples(recipe.data, True, cutoff, recipe.folder, **options)
    level = replace(level, basis=recipe.data.model_basis or level.basis)
    model = initial_model(recipe, start, train_set, level)
    geometries = [(s.graph.z.numpy(), s.graph.pos.numpy()) for s in train_set]
    learnt: frozenset[str] = frozenset()
    if start is not None:
        learnt = start.predicts - {x for part in recipe.renew for x in LEARNT[part]}
    facts = {
        "recipe": without_places(recipe),
        "data": {
            Path(p).name: file_sha256(p) for p in dict.fromkeys(recipe.data.train + recipe.data.validation)
        },
        "start": None if start is None else {"name": start.name, "sha256": start.sha256},
        "train_structures": len(train_set),
        "validation_structures": len(validation),
    }
    coverage = DistanceCoverage.collect(geometries, backbone.cutoff)
    return Run(recipe, train_set, validation, level, coverage, facts), model, learnt


def run_stage(run: Run, model: HELM, stage: Stage, folder: Path, learnt: frozenset[str]) -> HELM:
    """One stage, unless it is already over; returns the model with the best weights."""
    folder.mkdir(parents=True, exist_ok=True)
    best = folder / BEST
    if not (folder / FINISHED).exists():
        _fit(run, model, stage, folder, learnt)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            (folder / FINISHED).write_text("")
    model.load_state_dict(read_checkpoint(best).model.state_dict())
    return model


def _fit(run: Run, model: HELM, stage: Stage, folder: Path, learnt: frozenset[str]) -> None:
    module = TrainingModule(model, stage)

    training = {**run.facts, "predicts": sorted(learnt)}
    imprint = Imprint(run.recipe.name, run.level, run.recipe.data.baseline, run.coverage, training)
    trainer = make_trainer(run.recipe.compute, stage, folder, KeepBest(folder / BEST, imprint))
    last = folder / LAST
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        trainer.fit(
            module,
            datamodule=StageData(run, stage),
            ckpt_path=str(last) if last.exists() else None,
            weights_only=True,
        )


class StageData(lightning.LightningDataModule):
    """Batches of a stage, shared by the processes that Lightning has started."""

    def __init__(self, run: Run, stage: Stage) -> None:
        super().__init__()
        self.run, self.stage = run, stage
        self.settings = network_settings(run.recipe, open_start(run.recipe))

    def _batches(self, samples: Sequence[Sample], seed: int | None, limit: int | None) -> SharedBatches:
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return SharedBatches(loads_of(samples), self.stage.batch_load, seed, rank, processes, limit)

    def train_dataloader(self) -> Any:
        """Batches of the training set in an order of their own for each epoch."""
        data = self.run.recipe.data
        samples = Samples(self.run.train, self.settings, data.in_memory)
        return loader(
            samples,
            self._batches(self.run.train, self.run.recipe.seed, self.stage.epoch_batches),
            data.loaders,
        )

    def val_dataloader(self) -> Any:
        """Batches of the validation set, always the same."""
        samples = Samples(self.run.validation, self.settings, self.run.recipe.data.in_memory)
        return validation_loader(samples, self._batches(self.run.validation, None, None))


def make_trainer(compute: Compute, stage: Stage, folder: Path, keep_best: KeepBest) -> lightning.Trainer:
    """Lightning's trainer for one stage."""
    callbacks: list[Callback] = [
        EndOfStage(),
        keep_best,
        ExponentialAverage(stage.optimiser.averaging),
        ModelCheckpoint(folder, filename="last", save_top_k=1, monitor=None, every_n_epochs=1,
                        save_on_train_epoch_end=True, enable_version_counter=False),
    ]  # fmt: skip
    if compute.progress_bar:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    return lightning.Trainer(
        accelerator=compute.accelerator,
        devices=compute.devices,
        num_nodes=compute.nodes,
        strategy=strategy(compute),
        precision=compute.precision,
        max_epochs=stage.epochs,
        min_epochs=0,
        check_val_every_n_epoch=stage.validate_every,
        callbacks=callbacks,
        logger=loggers(folder),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        inference_mode=False,
        enable_progress_bar=compute.progress_bar,
        enable_model_summary=False,
    )


def strategy(compute: Compute) -> str | Strategy:
    """Data-parallel by default if there are several processes; otherwise what the recipe says, as it says it.

    On one machine they are started as fresh processes of this one; under Slurm or torchrun they are there.
    """
    if compute.strategy != "auto" or compute.devices * compute.nodes == 1:
        return compute.strategy
    external = "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ
    # a batch of lone atoms, or weights that set in late, leave parameters without gradient
    return DDPStrategy(start_method="popen" if external else "spawn", find_unused_parameters=True)


def loggers(folder: Path) -> list[Logger]:
    """A table of each start of the stage, FOLDER/log/version_N, and TensorBoard's files if that is there."""
    found: list[Logger] = [CSVLogger(folder, name="log")]
    with contextlib.suppress(ModuleNotFoundError):
        found.append(TensorBoardLogger(folder, name="", version="tensorboard"))
    return found


def _claim(folder: Path, recipe: Recipe) -> None:
    """Write the recipe into its folder, or make sure that the one there is the same but for where it runs."""
    path = folder / RECIPE
    same = replace(recipe, folder="", compute=Compute())
    facts = json.dumps({"recipe": plain(asdict(same))}, sort_keys=True)
    marker = folder / "fingerprint.json"
    if marker.exists():
        if marker.read_text() != facts:
            raise SettingError(
                f"{folder} holds a run of another recipe: use another folder, or remove this one"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(to_yaml(recipe), encoding="utf8")
    marker.write_text(facts)
