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
    """Whether Muon updates a parameter: matrices, or stacks of them, with at least 16 rows and columns."""
    return parameter.ndim >= 2 and min(parameter.shape[-2:]) >= 16


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices (groups with ``muon``), AdamW for everything else.

    The update of a matrix is Nesterov momentum with all singular values set near one (five Newton–Schulz
    steps), scaled so that its elements are as large as Adam's whatever the shape.  Matrices of one shape,
    on a GPU of similar shapes, go through the iteration together, in the precision of the weights: PyTorch's
    own Muon takes single matrices only and works in bfloat16, which a CPU emulates.

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
        moving = [p for p in group["params"] if p.grad is not None]
        if not moving:
            return
        for p in moving:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients, momenta = [p.grad for p in moving], [self.state[p]["momentum"] for p in moving]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        parts = [in_parts(u, self.rows) for u in torch._foreach_lerp(gradients, momenta, MOMENTUM)]
        turned = all_orthogonalised(parts, padded=moving[0].device.type != "cpu")
        # elements of the size of Adam's
        steps = [-0.2 * max(u.shape[-2:]) ** 0.5 * group["lr"] for u in parts]
        torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
        moves = torch._foreach_mul(turned, steps)
        torch._foreach_add_(moving, [u.reshape(p.shape) for u, p in zip(moves, moving, strict=True)])


def all_orthogonalised(matrices: list[Tensor], padded: bool) -> list[Tensor]:
    """:func:`orthogonalised` of stacks of matrices, each (..., n, m), those that go together in one call.

    Parameters
    ----------
    matrices
        Stacks of any shapes.
    padded
        Join all whose shorter side has the same next power of two, filled up with zeros, which changes no
        singular vector.  It is more arithmetic in far fewer steps, and a GPU has it for nothing;
        otherwise only matrices of one shape go together.
    """
    stacks = [u.flatten(0, -3) if u.ndim > 2 else u[None] for u in matrices]
    lying = [u if u.shape[1] <= u.shape[2] else u.transpose(1, 2) for u in stacks]
    classes: dict[tuple[int, ...], list[int]] = {}
    for k, u in enumerate(lying):
        key = (1 << (u.shape[1] - 1).bit_length(),) if padded else tuple(u.shape[1:])
        classes.setdefault(key, []).append(k)
    turned = list(lying)
    for chosen in classes.values():
        rows, columns = (max(lying[k].shape[d] for k in chosen) for d in (1, 2))
        counts = [len(lying[k]) for k in chosen]
        joined = lying[0].new_zeros(sum(counts), rows, columns)
        places = [
            part[:, : lying[k].shape[1], : lying[k].shape[2]]
            for k, part in zip(chosen, joined.split(counts), strict=True)
        ]
        torch._foreach_copy_(places, [lying[k] for k in chosen])
        for k, part in zip(chosen, orthogonalised(joined).split(counts), strict=True):
            turned[k] = part[:, : lying[k].shape[1], : lying[k].shape[2]]
    upright = [u if u.shape == v.shape else u.transpose(1, 2) for u, v in zip(turned, stacks, strict=True)]
    return [u.reshape(v.shape) for u, v in zip(upright, matrices, strict=True)]


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
