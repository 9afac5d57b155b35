"""Learning rate over a stage."""

import math
from dataclasses import dataclass

from helm_ase.training.recipe import RateSettings


@dataclass
class RateSchedule:
    """Schedule of the learning rate as a fraction of the largest: warm-up, then cosine or plateau.

    The cosine follows the progress of the stage, which may be that of the clock; the staircase follows the
    validation.  PyTorch's schedulers count steps and know nothing of either.
    """

    settings: RateSettings
    reduction: float = 1.0
    """Factor to which a plateau schedule has reduced the learning rate."""
    best: float = math.inf
    """Lowest validation loss so far."""
    waiting: int = 0
    """Number of validations since then."""

    def fraction(self, step: int, progress: float) -> float:
        """Fraction of the largest rate at a step, when the fraction ``progress`` of the stage is over."""
        s = self.settings
        warm = min(1.0, (step + 1) / max(s.warmup_steps, 1))
        if s.shape == "plateau":
            return warm * self.reduction
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return warm * (s.final_fraction + (1 - s.final_fraction) * cosine)

    def validated(self, loss: float) -> None:
        """Update the schedule with the loss of a validation."""
        if loss < self.best:
            self.best, self.waiting = loss, 0
            return
        self.waiting += 1
        if self.waiting > self.settings.patience:
            self.reduction, self.waiting = self.reduction * self.settings.factor, 0

    @property
    def over(self) -> bool:
        """Whether a plateau schedule has reached its final rate."""
        return self.settings.shape == "plateau" and self.reduction < self.settings.final_fraction

    def state(self) -> dict[str, float]:
        """State to save."""
        return {"level": self.reduction, "best": self.best, "waiting": self.waiting}

    def restore(self, state: dict[str, float]) -> None:
        """Restore a saved state."""
        self.reduction, self.best, self.waiting = state["level"], state["best"], int(state["waiting"])
