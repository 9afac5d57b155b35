"""AdamW, and Muon for the matrices with AdamW for the rest."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from helm_ase.training.recipe import OptimiserSettings

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al. 2024), tuned to push every singular value near one."""


def make_optimiser(
    groups: Iterable[tuple[list[nn.Parameter], float]], settings: OptimiserSettings
) -> torch.optim.Optimizer:
    """Optimiser over groups of parameters, each with its own rate relative to the largest one.

    Each group of the result carries ``initial_lr``, the rate to be scaled by the schedule.
    """
    described: list[dict[str, Any]] = []
    for parameters, factor in groups:
        matrices = [p for p in parameters if settings.name == "muon" and is_matrix(p)]
        others = [p for p in parameters if not any(p is m for m in matrices)]
        for chosen, rate, muon in (
            (matrices, settings.muon_rate, True),
            (others, settings.learning_rate, False),
        ):
            if chosen:
                described.append({"params": chosen, "lr": factor * rate, "muon": muon})
    for group in described:
        group["initial_lr"] = group["lr"]
    if settings.name == "muon":
        return Muon(described, settings.weight_decay, settings.muon_rows)
    for group in described:
        group.pop("muon")
    return torch.optim.AdamW(described, weight_decay=settings.weight_decay)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon takes it: matrices and stacks of matrices with at least 16 rows and columns."""
    return parameter.ndim >= 2 and min(parameter.shape[-2:]) >= 16


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices (groups with ``muon``), AdamW for everything else.

    The update of a matrix is Nesterov momentum with all singular values set near one (five Newton–Schulz
    steps), scaled so that its elements are as large as Adam's whatever the shape.  Matrices of one shape
    go through the iteration together, in the precision of the weights: PyTorch's own Muon takes single
    matrices only and works in bfloat16, which a CPU emulates.

    Parameters
    ----------
    groups
        Groups of parameters.
    weight_decay
        Decoupled.
    rows
        Matrices with more rows and columns than this are turned in parts of at most so many rows: the
        iteration costs the cube of the shorter side.
    """

    def __init__(self, groups: list[dict[str, Any]], weight_decay: float, rows: int | None = None) -> None:
        self.rows = rows
        super().__init__(groups, {"lr": 1e-3, "weight_decay": weight_decay, "muon": False})
        adam = [g["params"] for g in self.param_groups if not g["muon"]]
        self._adam = (
            torch.optim.AdamW([{"params": p} for p in adam], weight_decay=weight_decay) if adam else None
        )
        if self._adam is not None:
            self._adam.state = self.state  # one state to save and load

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; gradients that are None leave their parameters alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rates = [g["lr"] for g in self.param_groups if not g["muon"]]
        if self._adam is not None:
            self._adam.state = self.state
            for group, rate in zip(self._adam.param_groups, rates, strict=True):
                group["lr"] = rate
            self._adam.step()
        for group in self.param_groups:
            if group["muon"]:
                self._move_matrices(group)
        return loss

    def _move_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for p in group["params"]:
            if p.grad is not None:
                by_shape.setdefault(p.shape, []).append(p)
        for shape, parameters in by_shape.items():
            updates = []
            for p in parameters:
                assert p.grad is not None
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - MOMENTUM)
                updates.append(torch.lerp(p.grad, state["momentum"], MOMENTUM))
            parts = in_parts(torch.stack(updates), self.rows)
            scale = 0.2 * max(parts.shape[-2:]) ** 0.5  # elements of the size of Adam's
            for p, update in zip(parameters, orthogonalised(parts).reshape(-1, *shape), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * scale)


def in_parts(matrices: Tensor, rows: int | None) -> Tensor:
    """Large matrices as equal parts of at most ``rows`` rows, (..., n, m) → (..., k, n / k, m).

    Others stay as they are, and so do those that have no equal parts of at least half of ``rows`` rows.
    """
    n, m = matrices.shape[-2:]
    if rows is None or min(n, m) <= rows:
        return matrices
    k = next((k for k in range(-(-n // rows), 2 * n // rows + 1) if n % k == 0), 1)
    return matrices if k == 1 else matrices.unflatten(-2, (k, n // k))


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """U Vᵀ of each U Σ Vᵀ, approximately: singular values between 0.7 and 1.2; (..., n, m)."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x: Tensor = matrices if wide else matrices.transpose(-1, -2)
    x = x / x.flatten(-2).norm(dim=-1)[..., None, None].clamp(min=1e-12)
    for _ in range(steps):
        gram = x @ x.transpose(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.transpose(-1, -2)
