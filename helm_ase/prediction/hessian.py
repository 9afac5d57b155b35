"""Second derivatives of the energy: those of the network exactly, those of the energy baseline numerically.

The network's gradient is differentiated again by automatic differentiation, many rows at a time.  The
gradient of the energy baseline is differentiated by central differences.
"""

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.errors import PredictionError
from helm_ase.nn import HELM
from helm_ase.prediction.electronic import make_graph
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.energy_baseline import EnergyMethod
from helm_ase.units import HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

LOAD = {"cpu": 2000}
"""Rows times atoms and pairs that are differentiated in one pass, by kind of device: they share memory."""
LOAD_ELSEWHERE = 40_000
STEP = 0.005
"""Displacement for the energy baseline, Å; what the third power of it leaves is 1e-5 of a stretched bond."""


def predict_hessian(
    model: HELM, atoms: Atoms, state: ChargeState, tight_binding: EnergyMethod | None = None
) -> NDArray[np.float64]:
    """Second derivatives of the energy with respect to positions, eV/Å², symmetric, (3N, 3N).

    Parameters
    ----------
    model
        Network.
    atoms, state
        Geometry, charge and multiplicity.
    tight_binding
        Energy baseline of the model's checkpoint; None if it has none.

    Raises
    ------
    PredictionError
        If the network returns a number that is not finite.
    SCFError
        If the energy baseline does not converge.
    """
    hessian = network_hessian(model, atoms, state)
    if not np.isfinite(hessian).all():
        raise PredictionError("the network returned a Hessian that is not finite for this geometry")
    if tight_binding is not None:
        hessian = hessian + baseline_hessian(tight_binding, atoms, state)
    return 0.5 * (hessian + hessian.T)


def network_hessian(model: HELM, atoms: Atoms, state: ChargeState) -> NDArray[np.float64]:
    """The network's part, eV/Å², (3N, 3N), symmetric up to its rounding errors."""
    size = 3 * len(atoms)
    with torch.inference_mode(False), torch.enable_grad():
        graph = make_graph(model, atoms, state)
        graph.pos = graph.pos.detach().requires_grad_(True)
        energy = model(graph, recompute=False).energy.sum()
        gradient = None
        if energy.requires_grad:
            (gradient,) = torch.autograd.grad(energy, graph.pos, create_graph=True, allow_unused=True)
        if gradient is None or not gradient.requires_grad:  # a lone atom
            return np.zeros((size, size))
        load = len(atoms) + graph.pair_index.shape[1]
        at_once = max(1, LOAD.get(gradient.device.type, LOAD_ELSEWHERE) // load)
        rows = torch.eye(size, dtype=gradient.dtype, device=gradient.device).split(at_once)
        hessian = [_rows(gradient, graph.pos, some) for some in rows]
    return np.asarray(torch.cat(hessian).cpu().numpy().astype(np.float64))


def _rows(gradient: torch.Tensor, position: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows of the Hessian, (R, 3N), that unit vectors, (R, 3N), pick."""
    picked = rows.reshape(len(rows), *gradient.shape)
    (second,) = torch.autograd.grad(
        gradient, position, picked, retain_graph=True, is_grads_batched=True, materialize_grads=True
    )
    return second.detach().flatten(1)


def baseline_hessian(tight_binding: EnergyMethod, atoms: Atoms, state: ChargeState) -> NDArray[np.float64]:
    """The energy baseline's part by central differences of its gradient, eV/Å², (3N, 3N).

    Raises
    ------
    SCFError
        If it does not converge for a displaced geometry.
    """
    rows = []
    for coordinate in range(3 * len(atoms)):
        sides = []
        for step in (STEP, -STEP):
            positions = atoms.positions.copy()
            positions.flat[coordinate] += step
            sides.append(tight_binding(atoms.numbers, positions, *state).gradient.ravel())
        rows.append((sides[0] - sides[1]) / (2 * STEP))
    return np.array(rows) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
