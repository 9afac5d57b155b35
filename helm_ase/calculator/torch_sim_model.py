"""HELM as a model of torch-sim, which optimises and moves many molecules at once."""

from pathlib import Path
from typing import Any, Literal

import torch
from ase import Atoms
from torch import Tensor

from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import SettingError, StructureError
from helm_ase.prediction.batch_engine import BatchEngine

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ModuleNotFoundError as error:
    raise SettingError("this needs torch-sim: pip install 'helm-ase[torch-sim]'") from error


class HELMTorchSimModel(ModelInterface):
    """Energies and forces of the molecules of a torch-sim state.

    The network takes the molecules in batches.  An energy baseline (GFN2-xTB), if the model has one, is
    computed for one molecule after another on the CPU, and then takes most of the time.

    Parameters
    ----------
    model
        Name, path or URL of a checkpoint, or a loaded one; None: the default.
    device
        Device of the network, ``cpu`` or ``cuda``; None: a GPU if there is one.  States must be on it, too.
    dtype
        Precision of the network, ``float32`` or ``float64``.  Energies and forces come in float64 or in the
        precision of the positions, whichever is lower.
    batch
        Limit of atoms and pairs of one pass of the network; ``auto``: what suits the device.
    charge, multiplicity
        State of all molecules; None: neutral, and the lowest multiplicity.  A state that holds a tensor
        ``charge`` or ``multiplicity`` with one number for each molecule says it for each.
    dispersion
        ``d3bj`` adds a dispersion correction.

    Raises
    ------
    SettingError
        If torch-sim is not installed, or an argument is not valid.
    UntrainedError
        If the model was not trained to predict energies.
    CheckpointError
        If the model cannot be loaded.

    Examples
    --------
    >>> import torch_sim  # doctest: +SKIP
    >>> relaxed = torch_sim.optimize(
    ...     [ethanol, benzene], HELMTorchSimModel(device="cpu"), optimizer=torch_sim.Optimizer.fire
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | Checkpoint | None = None,
        *,
        device: str | None = None,
        dtype: str = "float32",
        batch: int | Literal["auto"] = "auto",
        charge: int | None = None,
        multiplicity: int | None = None,
        dispersion: str | None = None,
    ) -> None:
        super().__init__()
        self.engine = BatchEngine.of(
            model, ("energy", "forces"), batch,
            device=device, dtype=dtype, state=(charge, multiplicity), dispersion=dispersion,
        )  # fmt: skip
        self._device = self.engine.model.energy_reference.device
        self._dtype = torch.float64  # of positions and results, not of the network
        self._compute_forces, self._compute_stress = True, False
        self._memory_scales_with = "n_atoms"

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Energies in eV, (molecules,), and forces in eV/Å, (atoms, 3).

        Raises
        ------
        StructureError
            If the state is periodic, or a molecule is none.
        ElementError, ChargeError
            If the model does not support an element or a state.
        PredictionError
            If a number is not finite, or the device has too little memory for one of the molecules.
        """
        state = SimState(**state) if isinstance(state, dict) else state
        answers = self.engine.run_all(molecules_of(state))
        like = state.positions.new_zeros(())
        return {
            "energy": torch.tensor([x.energy for x in answers], dtype=torch.float64).to(like),
            "forces": torch.cat([torch.from_numpy(x.forces) for x in answers]).to(like),
        }


def molecules_of(state: SimState) -> list[Atoms]:
    """The molecules of a state as ``Atoms`` with charge and multiplicity in ``info``.

    Raises
    ------
    StructureError
        If the state is periodic.
    """
    if bool(torch.as_tensor(state.pbc).any()):
        raise StructureError(
            "HELMTorchSimModel takes molecules: set pbc to False; crystals need HELMCalculator"
        )
    numbers, positions, system = (
        x.detach().cpu().numpy() for x in (state.atomic_numbers, state.positions, state.system_idx)
    )
    molecules = [Atoms(numbers[system == k], positions[system == k]) for k in range(state.n_systems)]
    for name in ("charge", "multiplicity"):
        values = getattr(state, name, None)
        if isinstance(values, Tensor) and values.shape == (len(molecules),):
            for molecule, value in zip(molecules, values.tolist(), strict=True):
                molecule.info[name] = int(value)
    return molecules
