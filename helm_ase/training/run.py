"""Running a recipe: one stage after another, resumable after every epoch, up to the final checkpoint."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from helm_ase.checkpoint.format import read_checkpoint, save_checkpoint
from helm_ase.errors import SettingError
from helm_ase.nn import HELM, HELMSettings
from helm_ase.system.termination import Terminated
from helm_ase.training.batches import Samples, SharedBatches, loader, loads_of, validation_loader
from helm_ase.training.callbacks import CheckpointHeader, EndOfStage, ExponentialAverage, KeepBest
from helm_ase.training.curves import write_report
from helm_ase.training.module import TrainingModule
from helm_ase.training.preparation import Run, prepare
from helm_ase.training.ranks import is_first_process, processes_outside
from helm_ase.training.recipe import Compute, Recipe, Stage
from helm_ase.training.resident import ResidentBatches, ResidentSamples
from helm_ase.training.schemes import check_order, learnt_after, settled

BEST, LAST, FINISHED = "best.safetensors", "last.ckpt", "finished"
"""Files of a stage."""
EXPECTED = (
    ".*does not have many workers.*",
    ".*logs directory.*",
    ".*Checkpoint directory.*",
    ".*LeafSpec.*",
)
"""Warnings of Lightning about behaviour that is intended."""


def train(recipe: Recipe) -> Path:
    """Train a model; an interrupted run in the same folder continues where it stopped.

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
    run, model, learnt = prepare(recipe, stages)
    folder = Path(recipe.folder)
    with matrix_products(recipe.compute.products):
        for k, stage in enumerate(stages):
            learnt = learnt_after(stage, learnt)
            model = run_stage(run, model, stage, folder / str(k), learnt)
    target = folder / f"{recipe.name}.safetensors"
    if is_first_process():
        save_checkpoint(read_checkpoint(folder / str(len(stages) - 1) / BEST), target)
        write_report(folder, recipe)
    return target


@contextlib.contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """Context in which matrix products have another precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def run_stage(run: Run, model: HELM, stage: Stage, folder: Path, learnt: frozenset[str]) -> HELM:
    """Run a stage unless it is already finished; returns the model with the weights that the stage passes
    on."""
    best = folder / BEST
    if not (folder / FINISHED).exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not is_over(folder / LAST, model):
            _fit(run, model, stage, folder, learnt)
        if not best.exists():
            raise SettingError(f"{folder}: the validation loss was never a finite number; try a lower rate")
        if is_first_process():
            (folder / FINISHED).write_text("")
    try:
        model.load_state_dict(read_checkpoint(best).model.state_dict())
    except RuntimeError as error:
        raise SettingError(
            f"{best} holds another network: remove {folder}, and the stage starts again ({error})"
        ) from error
    return model


def is_over(path: Path, model: HELM | None = None) -> bool:
    """Whether a saved state of a stage is that of its end.

    Raises
    ------
    SettingError
        If the file is damaged, no saved state of a run, or, where ``model`` is given, of another network.
    """
    if not path.exists():
        return False
    try:
        saved = torch.load(path, weights_only=True)
        over = bool(saved["helm_ase"]["over"])
        shapes = {k.removeprefix("model."): v.shape for k, v in saved["state_dict"].items()}
    except Exception as error:  # torch raises whatever it trips over
        raise SettingError(
            f"{path} is incomplete or not of this run ({type(error).__name__}): remove it, and the stage "
            "starts again; the stages before it are kept"
        ) from error
    ours = {} if model is None else {k: v.shape for k, v in model.state_dict().items()}
    if any(shapes.get(k) != shape for k, shape in ours.items()):
        raise SettingError(f"{path} holds another network: remove it, and the stage starts again")
    return over


def _fit(run: Run, model: HELM, stage: Stage, folder: Path, learnt: frozenset[str]) -> None:
    module = TrainingModule(model, stage)
    training = {**run.facts, "predicts": sorted(learnt)}
    baselines = run.recipe.data.h0, run.energy_baseline
    header = CheckpointHeader(run.recipe.name, run.level, *baselines, run.coverage, training)
    trainer = make_trainer(run.recipe.compute, stage, folder, KeepBest(folder / BEST, header))
    last = folder / LAST
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        try:
            trainer.fit(
                module,
                datamodule=StageData(run, stage, model.settings),
                ckpt_path=str(last) if last.exists() else None,
                weights_only=True,
            )
        except SIGTERMException as error:  # Lightning's, where the signal comes at the end of an epoch
            raise Terminated from error
        except RuntimeError as error:
            if "PytorchStreamWriter" not in str(error):
                raise
            raise OSError(f"{last} cannot be written: {error!s:.200}") from error


class StageData(lightning.LightningDataModule):
    """Batches of a stage, shared by the processes that Lightning has started."""

    def __init__(self, run: Run, stage: Stage, settings: HELMSettings) -> None:
        super().__init__()
        self.run, self.stage, self.settings = run, stage, settings
        self._kept: ResidentSamples | None = None
        keep = run.recipe.data.in_memory
        self.train, self.validation = (Samples(s, settings, keep) for s in (run.train, run.validation))

    def _batches(self, samples: Samples, seed: int | None, limit: int | None) -> SharedBatches:
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return SharedBatches(loads_of(samples.samples), self.stage.batch_load, seed, rank, processes, limit)

    def train_dataloader(self) -> Any:
        """Batches of the training set; asked for in every epoch, because their number varies."""
        batches = self._batches(self.train, self.run.recipe.seed, self.stage.epoch_batches)
        batches.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        if self.run.recipe.data.resident:
            return ResidentBatches(self._resident(), batches)
        return loader(self.train, batches, self.run.recipe.data.loaders)

    def _resident(self) -> ResidentSamples:
        if self._kept is None:
            device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
            self._kept = ResidentSamples(self.run.train, self.settings, device)
        return self._kept

    def val_dataloader(self) -> Any:
        """Batches of the validation set, always the same."""
        return validation_loader(self.validation, self._batches(self.validation, None, None))


def make_trainer(compute: Compute, stage: Stage, folder: Path, keep_best: KeepBest) -> lightning.Trainer:
    """Lightning's trainer for one stage."""
    callbacks: list[Callback] = [
        EndOfStage(),
        keep_best,
        ExponentialAverage(stage.optimiser.averaging),
        ModelCheckpoint(folder, filename="last", save_top_k=1, monitor=None, every_n_epochs=stage.save_every,
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
        reload_dataloaders_every_n_epochs=1,
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
    external = processes_outside() > 1
    # a batch of lone atoms, or weights that set in late, leave parameters without gradient
    return DDPStrategy(start_method="popen" if external else "spawn", find_unused_parameters=True)


def loggers(folder: Path) -> list[Logger]:
    """A table of each start of the stage, FOLDER/log/version_N, and TensorBoard's files if that is there."""
    loggers: list[Logger] = [CSVLogger(folder, name="log")]
    with contextlib.suppress(ModuleNotFoundError):
        loggers.append(TensorBoardLogger(folder, name="", version="tensorboard"))
    return loggers
