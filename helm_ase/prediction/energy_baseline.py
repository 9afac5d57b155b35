"""The energy baseline as a function that autograd can go through."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from helm_ase.checkpoint import Checkpoint
from helm_ase.qc.tight_binding import TightBinding, checked_tight_binding
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.energy_baseline import EnergyBaselineResult, EnergyMethod
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM


class BaselineEnergy(torch.autograd.Function):
    """E0 in eV, (1,), of positions in Å, (N, 3); its slope is the method's own analytic gradient."""

    @staticmethod
    def forward(ctx: Any, position: Tensor, compute: Callable[[Any], EnergyBaselineResult]) -> Tensor:
        """Compute energy and gradient."""
        result = compute(position.detach().cpu().numpy())
        ctx.gradient = result.gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
        return position.new_tensor([result.energy * HARTREE_IN_EV])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Slope of the result with respect to positions."""
        return slope * slope.new_tensor(ctx.gradient), None


def baseline_energy(
    tight_binding: EnergyMethod, numbers: Any, state: ChargeState
) -> Callable[[Tensor], Tensor]:
    """E0 of one molecule as a function of its positions, differentiable once.

    Raises
    ------
    SCFError
        When it is called, if the method does not converge.
    """

    def compute(positions: Any) -> EnergyBaselineResult:
        return tight_binding(numbers, positions, state.charge, state.multiplicity)

    def energy(position: Tensor) -> Tensor:
        energy: Tensor = BaselineEnergy.apply(position, compute)
        return energy

    return energy


def tight_binding_of(checkpoint: Checkpoint) -> TightBinding | None:
    """What computes the energy baseline of a checkpoint, once it gives its references; None without one.

    Raises
    ------
    SettingError, CheckpointError
        If tblite is not installed, or gives other energies than in training.
    """
    return checked_tight_binding(checkpoint.energy_baseline) if checkpoint.energy_baseline else None
