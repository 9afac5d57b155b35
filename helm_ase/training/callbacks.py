"""Callbacks of Lightning: averaging of weights, saving the best model, end of a stage."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor

from helm_ase.checkpoint.format import Checkpoint, save_checkpoint
from helm_ase.nn import HELM
from helm_ase.qc.level import Baseline
from helm_ase.representation.coverage import DistanceCoverage
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.level import LevelOfTheory
from helm_ase.training.module import TrainingModule


@dataclass(frozen=True)
class CheckpointHeader:
    """Header of every checkpoint of a stage: everything but weights and validation errors."""

    name: str
    level: LevelOfTheory
    baseline: Baseline
    energy_baseline: EnergyBaseline
    coverage: DistanceCoverage
    training: Mapping[str, Any]

    def checkpoint(self, model: HELM, errors: Mapping[str, float]) -> Checkpoint:
        """The model as it is now, with its validation errors."""
        metrics = {k: float(f"{v:.6g}") for k, v in errors.items()}
        return Checkpoint(
            self.name, model, self.level, self.baseline, self.coverage, self.training, metrics,
            energy_baseline=self.energy_baseline,
        )  # fmt: skip


@dataclass(frozen=True)
class GrowingDecay:
    """Exponential average, faster in the first steps: decay min(d, (1 + n) / (10 + n)) at step n."""

    decay: float

    def __call__(self, averages: list[Tensor], weights: list[Tensor], seen: Tensor | int) -> None:
        """Move averages towards weights."""
        n = int(seen)
        torch._foreach_lerp_(averages, weights, 1 - min(self.decay, (1 + n) / (10 + n)))


class ExponentialAverage(WeightAveraging):
    """Average of the weights, with which the model is validated and saved."""

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=GrowingDecay(decay))

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Keep the averaged weights on the device of the model; Lightning would keep them on the host."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


class KeepBest(Callback):
    """Judge every validation, and write the model if it is the best so far, or always (``keep: last``).

    Must come before the callback that takes the averaged weights out again.
    """

    def __init__(self, path: str | Path, header: CheckpointHeader) -> None:
        self.path, self.header = Path(path), header
        self.best = math.inf

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Save if the loss is the lowest."""
        assert isinstance(pl_module, TrainingModule)
        results = pl_module.validation_results()
        pl_module.rate.validated(results["loss"])
        finite = math.isfinite(results["loss"])
        if results["loss"] < self.best or (finite and pl_module.stage.keep == "last"):
            self.best = min(self.best, results["loss"])
            if trainer.is_global_zero:
                save_checkpoint(self.header.checkpoint(pl_module.model, results), self.path)

    def state_dict(self) -> dict[str, Any]:
        """The lowest loss."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.best = state_dict["best"]


class EndOfStage(Callback):
    """Stop, after a last validation, when the stage is over by epochs, by the clock, or by its plateau."""

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the time."""
        assert isinstance(pl_module, TrainingModule)
        stage = pl_module.stage
        last_batch = batch_idx + 1 >= trainer.num_training_batches
        by_epochs = last_batch and trainer.current_epoch + 1 >= stage.epochs
        by_clock = stage.minutes is not None and pl_module.elapsed >= 60 * stage.minutes
        if by_epochs or by_clock or pl_module.rate.over:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # a last validation, whichever epoch this is
