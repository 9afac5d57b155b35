"""The training loop: steps, averages of the weights, validation, files to resume from.

It knows nothing of schemes; what is trained follows from the loss weights.  With more than one worker,
each is a single-threaded process with its own batches, and gradients are averaged over them.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from helm_ase.data.batch import TrainingBatch, balanced_batches, collate
from helm_ase.data.sample import Sample
from helm_ase.errors import DatasetError, SettingError
from helm_ase.nn import HELM, trust_matrix
from helm_ase.training.evaluation import evaluate, summarise
from helm_ase.training.losses import LossWeights, loss_terms, total_loss

LABELS_MAY_LACK = ("energy", "forces")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    epochs: int = 60
    minutes: float = 100.0
    """Wall-clock limit; the learning rate reaches its end at whichever limit comes first."""
    learning_rate: float = 2e-3
    final_fraction: float = 0.01
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    clip: float = 10.0
    ema: float = 0.998
    max_pairs: int = 400
    """Pairs and atoms in a batch of one worker."""
    validate_every: int = 2
    """Epochs."""
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    late_weights: LossWeights | None = None
    """Weights at the end; the weights move there linearly over the middle half of the run."""

    def weights_at(self, progress: float) -> LossWeights:
        """Loss weights at a fraction of the run: the first until ¼, the last from ¾, linear in between."""
        if self.late_weights is None:
            return self.weights
        t = min(max(2 * progress - 0.5, 0.0), 1.0)
        first, last = asdict(self.weights), asdict(self.late_weights)
        return LossWeights(**{k: (1 - t) * first[k] + t * last[k] for k in first})

    def rate_at(self, step: int, progress: float) -> float:
        """Learning rate: linear warm-up, then cosine."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        rate = self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * cosine)
        return rate * min(1.0, (step + 1) / self.warmup_steps)


class Trainer:
    """Fit a model to samples.

    Parameters
    ----------
    model
        Trained in place; holds the averaged weights after :meth:`fit`.
    train, validation
        Samples.
    schedule
        How long and how fast.
    folder
        Where ``last.pt`` (to resume from), ``best.pt`` (averaged weights with the lowest validation
        score) and ``log.jsonl`` go.
    rank, workers
        Place of this process among the workers.
    fingerprint
        Identifies the run; a file with another one is not resumed from.
    """

    def __init__(
        self,
        model: HELM,
        train: Sequence[Sample],
        validation: Sequence[Sample],
        schedule: Schedule,
        folder: str | Path,
        rank: int = 0,
        workers: int = 1,
        fingerprint: str = "",
    ) -> None:
        self.fingerprint = fingerprint
        self.model, self.train, self.validation, self.schedule = model, train, validation, schedule
        self.folder, self.rank, self.workers = Path(folder), rank, workers
        self.folder.mkdir(parents=True, exist_ok=True)
        delta = model.settings.trust_delta
        self.loads = np.array([s.load for s in train])
        self.trust = [trust_matrix(s.overlap, delta).float() for s in train] if delta else None
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in model.named_parameters()}
        self.step = self.epoch = 0
        self.elapsed, self.best = 0.0, math.inf
        self._progress = 0.0
        self._tick = time.monotonic()

    @property
    def progress(self) -> float:
        """Fraction of the run that is over, by epochs or by time, whichever is further."""
        return max(self.epoch / self.schedule.epochs, self.elapsed / (60 * self.schedule.minutes))

    def fit(self) -> None:
        """Run to the end of the schedule, then load the averaged weights with the best validation score."""
        while self.progress < 1.0:
            losses = self._run_epoch()
            self.epoch += 1
            if self.rank == 0:
                self._finish_epoch(losses)
            self._synchronise_clock()
        if (self.folder / "best.pt").exists():
            self.model.load_state_dict(torch.load(self.folder / "best.pt", weights_only=True), strict=False)

    def _run_epoch(self) -> dict[str, float]:
        generator = np.random.default_rng([self.schedule.seed, self.epoch])
        batches = list(balanced_batches(self.loads, self.schedule.max_pairs, generator))
        batches = batches[: len(batches) // self.workers * self.workers]
        if not batches:
            raise DatasetError(f"{len(self.train)} molecules do not make a batch for {self.workers} workers")
        self._progress = self.progress  # the same on all workers, whose clocks differ within an epoch
        sums: dict[str, float] = {}
        self.model.train()
        for index in batches[self.rank :: self.workers]:
            trust = None if self.trust is None else [self.trust[k] for k in index]
            terms = self._step(collate([self.train[k] for k in index], trust))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value / (len(batches) // self.workers)
        return sums

    def _step(self, batch: TrainingBatch) -> dict[str, float]:
        now = time.monotonic()
        self.elapsed, self._tick = self.elapsed + now - self._tick, now
        weights = self.schedule.weights_at(self._progress)
        out = self.model(batch.graph, weights.needs_forces, weights.needs_forces, weights.needs_hamiltonian)
        terms = loss_terms(out, batch)
        self.optimizer.zero_grad(set_to_none=True)
        total_loss(terms, weights).backward()
        self._average_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        rate = self.schedule.rate_at(self.step, self._progress)
        if torch.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        self.step += 1
        decay = min(self.schedule.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.average[name].lerp_(p, 1 - decay)
        return {name: float(value.detach()) for name, value in terms.items()}

    def _average_gradients(self) -> None:
        if self.workers == 1:
            return
        used = [p for p in self.model.parameters() if p.grad is not None]  # the same on every worker
        flat = torch.cat([p.grad.flatten() for p in used if p.grad is not None])
        dist.all_reduce(flat)
        flat /= self.workers
        for p, g in zip(used, flat.split([p.numel() for p in used]), strict=True):
            p.grad = g.view_as(p)

    def _synchronise_clock(self) -> None:
        if self.workers > 1:
            clock = torch.tensor([self.elapsed], dtype=torch.float64)
            dist.broadcast(clock, 0)
            self.elapsed = float(clock)

    def _finish_epoch(self, losses: dict[str, float]) -> None:
        record: dict[str, float] = {"epoch": self.epoch, "minutes": round(self.elapsed / 60, 2)}
        record |= {f"train_{k}": v for k, v in losses.items()}
        if self.epoch % self.schedule.validate_every == 0 or self.progress >= 1.0:
            record |= self._validate()
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        self.save()

    def _validate(self) -> dict[str, float]:
        current = {k: v.detach().clone() for k, v in self.model.named_parameters()}
        self.model.load_state_dict(self.average, strict=False)
        energy = self.schedule.weights_at(self.progress).needs_forces
        summary = summarise(evaluate(self.model, self.validation, energy=energy))
        score = validation_score(summary, energy)
        if score < self.best:
            self.best = score
            _write(self.model.state_dict(), self.folder / "best.pt")
        self.model.load_state_dict(current, strict=False)
        return {f"val_{k}": v for k, v in summary.items()} | {"val_score": score}

    def save(self) -> None:
        """Write everything needed to resume."""
        state = {
            "fingerprint": self.fingerprint,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "counters": [self.step, self.epoch, self.elapsed, self.best],
        }
        _write(state, self.folder / "last.pt")

    def resume(self) -> bool:
        """Continue from ``last.pt`` if it is there.

        Raises
        ------
        SettingError
            If the file belongs to a run with other data or settings.
        """
        path = self.folder / "last.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            raise SettingError(f"{path} belongs to a run with other data or settings: use another folder")
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.epoch, self.elapsed, self.best = state["counters"]
        return True


def validation_score(summary: dict[str, float], energy: bool) -> float:
    """One number to select by: each error over the floor of the first shipped checkpoint, averaged.

    ``energy`` says whether energies and forces count.  A model that returns anything but numbers scores
    infinity.
    """
    floors = {"hamiltonian": 350.0, "homo": 0.07, "gap": 0.1}
    if energy:
        floors |= {"energy": 0.01, "forces": 0.1}
    lacking = {k for k in LABELS_MAY_LACK if math.isnan(summary.get(k, 0.0))}
    floors = {k: floor for k, floor in floors.items() if k not in lacking}
    score = sum(summary[k] / floor for k, floor in floors.items()) / len(floors) + 0.1 * summary["ghosts"]
    return score if math.isfinite(score) else math.inf


def _write(state: Mapping[str, object], path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
