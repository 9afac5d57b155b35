"""Lightning module of a stage: losses, gradients and learning rates."""

import math
import time
from typing import Any

import lightning.pytorch as lightning
import torch
import torch.distributed as dist
from torch import Tensor

from helm_ase.dataset.batch import TrainingBatch
from helm_ase.evaluation.errors import MoleculeErrors, summarise
from helm_ase.nn import HELM
from helm_ase.training.batches import EmptyBatch, ValidationBatch
from helm_ase.training.losses import LossWeights, Term, loss_terms, term_value, total_loss
from helm_ase.training.optimisers import make_optimiser
from helm_ase.training.rates import RateSchedule
from helm_ase.training.recipe import Stage
from helm_ase.training.schemes import freeze
from helm_ase.training.validation import errors_of_batch


class TrainingModule(lightning.LightningModule):
    """One stage of a recipe.

    A batch that is shared by several processes is one batch: sums and numbers of items are added over
    processes before any mean or root, so that the gradient is that of one process with the whole batch.

    Parameters
    ----------
    model
        The network; trained in place.
    stage
        Settled stage (see :func:`~helm_ase.training.schemes.settled`).
    """

    def __init__(self, model: HELM, stage: Stage) -> None:
        super().__init__()
        self.model, self.stage = model, stage
        self.rate = RateSchedule(stage.rate)
        self.elapsed = 0.0
        self.progress = 0.0
        self._tick: float | None = None
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self.results: dict[str, float] = {}
        self._validated: list[tuple[dict[str, Term], list[MoleculeErrors]]] = []
        self.groups = freeze(model, stage)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Two groups of parameters: the energy head, and all others, which have a learning rate of their
        own."""
        backbone_rate = self.stage.backbone_rate
        assert backbone_rate is not None
        groups = [(self.groups[True], 1.0), (self.groups[False], backbone_rate)]
        return make_optimiser([g for g in groups if g[0]], self.stage.optimiser)

    # One step ---------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: TrainingBatch | EmptyBatch, batch_idx: int) -> None:
        """Learning rate of the step."""
        batches = max(int(self.trainer.num_training_batches), 1)
        epochs = (self.trainer.current_epoch + batch_idx / batches) / self.stage.epochs
        minutes = self.stage.minutes
        self.progress = max(epochs, 0.0 if minutes is None else self.elapsed / (60 * minutes))
        fraction = self.rate.fraction(self.trainer.global_step, self.progress)
        for optimiser in self.trainer.optimizers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * fraction

    def training_step(self, batch: TrainingBatch | EmptyBatch, batch_idx: int) -> Tensor:
        """Loss of a batch, times the number of processes, over which Lightning averages gradients."""
        weights = self.stage.weights_at(self.progress)
        terms = self._terms(batch, weights)[0]
        values = {name: term_value(name, *term) for name, term in self._over_processes(terms).items()}
        loss = total_loss(values, weights)
        self._steps += 1
        for name, value in (values | {"loss": loss}).items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        times: int = self.trainer.world_size
        return loss * times

    def _terms(self, batch: TrainingBatch | EmptyBatch, weights: LossWeights) -> tuple[dict[str, Term], Any]:
        if isinstance(batch, EmptyBatch):
            nothing = torch.stack([p.double().sum() for p in self.parameters() if p.requires_grad]).sum() * 0
            return {name: Term(nothing, torch.zeros_like(nothing.detach())) for name in weights.wanted}, None
        out = self.model(
            batch.graph,
            energy=weights.needs_energy,
            forces=weights.needs_forces,
            hamiltonian=weights.needs_hamiltonian,
        )
        return loss_terms(out, batch, weights.wanted), out

    def _over_processes(self, terms: dict[str, Term]) -> dict[str, Term]:
        """Add sums and numbers of items over processes, without their gradients; also the elapsed time."""
        now = time.process_time() if self.stage.clock == "cpu" else time.monotonic()
        self.elapsed, self._tick = self.elapsed + (now - self._tick if self._tick else 0.0), now
        if self.trainer.world_size == 1:
            return terms
        flat = [x.detach() for term in terms.values() for x in term]
        clock = flat[0].new_tensor(self.elapsed if self.trainer.global_rank == 0 else 0.0)
        sums = torch.stack([*flat, clock])
        dist.all_reduce(sums)
        self.elapsed = float(sums[-1])
        return {
            name: Term(term.total + (sums[2 * k] - term.total.detach()), sums[2 * k + 1])
            for k, (name, term) in enumerate(terms.items())
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: Any = None,
        gradient_clip_algorithm: Any = None,
    ) -> None:
        """Clip by norm; steps whose gradient is not finite are skipped."""
        moving = [p for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(moving, self.stage.optimiser.clip)
        if not torch.isfinite(norm):
            for p in moving:
                p.grad = None

    def on_train_epoch_end(self) -> None:
        """Log one row: means over the epoch, and validation errors."""
        steps = max(self._steps, 1)
        values = {f"train_{name}": float(total) / steps for name, total in self._sums.items()}
        rate = max(g["lr"] for o in self.trainer.optimizers for g in o.param_groups)
        row = {"epoch": self.current_epoch, "minutes": self.elapsed / 60, "rate": rate} | values
        row |= {f"val_{k}": v for k, v in self.results.items()}
        if self.trainer.is_global_zero:  # not through self.log, which rounds to single precision
            for logger in self.trainer.loggers:
                logger.log_metrics(row, self.trainer.global_step)
                logger.save()
        self._sums, self._steps, self.results = {}, 0, {}

    # Validation -------------------------------------------------------------------------------------

    @property
    def final_weights(self) -> LossWeights:
        """Weights by which validations are compared: those of the end of the stage."""
        return self.stage.weights_at(1.0)

    def validation_step(self, batch: ValidationBatch | EmptyBatch, batch_idx: int) -> None:
        """Loss terms and errors of every molecule, for the averaged weights."""
        if isinstance(batch, EmptyBatch):
            return
        terms, out = self._terms(batch.batch, self.final_weights)
        plain = {name: Term(term.total.detach().cpu(), term.count.cpu()) for name, term in terms.items()}
        errors = errors_of_batch(out, batch.samples, self.model.settings)
        self._validated.append((plain, errors))

    def validation_results(self) -> dict[str, float]:
        """Loss and mean errors over the whole validation set, the same in every process."""
        weights, validated = self.final_weights, self._validated
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            dist.all_gather_object(gathered, validated)
            validated = [item for part in gathered for item in part]
        self._validated = []
        values = {}
        for name in weights.wanted:
            total = torch.stack([terms[name].total for terms, _ in validated]).sum()
            count = torch.stack([terms[name].count for terms, _ in validated]).sum()
            values[name] = term_value(name, total, count)
        loss = float(total_loss(values, weights))
        errors = summarise([error for _, part in validated for error in part])
        known = {k: v for k, v in errors.items() if math.isfinite(v)}
        self.results = {"loss": loss if math.isfinite(loss) else math.inf} | known
        return self.results

    # What Lightning's checkpoint holds besides ------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the clock and the state of the learning rate."""
        over = bool(self.trainer.should_stop)
        checkpoint["helm_ase"] = {"elapsed": self.elapsed, "rate": self.rate.state(), "over": over}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them."""
        self.elapsed = checkpoint["helm_ase"]["elapsed"]
        self.rate.restore(checkpoint["helm_ase"]["rate"])
