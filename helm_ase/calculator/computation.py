"""Computation of the calculator's results: by the network and, with ``refine``, SCF steps after it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helm_ase.calculator.keywords import ModelKeywords
from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import SettingError
from helm_ase.nn import HELM
from helm_ase.prediction import domain
from helm_ase.prediction.dispersion import add_to_molecule
from helm_ase.prediction.electronic import (
    ElectronicPrediction,
    predict_electronic_structure,
    predict_energy,
)

if TYPE_CHECKING:
    from ase import Atoms

    from helm_ase.representation.charge_state import ChargeState
    from helm_ase.representation.energy_baseline import EnergyMethod

FEWEST_FOR_FORCES = 2
"""Smallest number of SCF steps for which forces are given: after one step, they differ from the derivative of
the energy by up to 0.5 eV/Å (displaced formaldehyde), after two by 0.01
(``tests/benchmarks/refined_forces.py``)."""


class LoadedModel(NamedTuple):
    """Model that a calculator has loaded."""

    keywords: ModelKeywords
    """Keywords of the calculator for which it was loaded."""
    checkpoint: Checkpoint
    model: HELM
    """Network of the checkpoint, on the device and in the precision of the keywords."""


class Computation:
    """Part of :class:`~helm_ase.HELMCalculator` that computes energies and electronic structures."""

    if TYPE_CHECKING:  # of the calculator
        atoms: Atoms
        parameters: Mapping[str, Any]
        _loaded: LoadedModel | None
        _computed_state: ChargeState | None
        _tight_binding: EnergyMethod | None
        _warned: domain.ExtrapolationMemory
        _uncertainty: domain.Uncertainty | None
        _last_change: float | None
        _network: ElectronicPrediction | None
        _electronic: ElectronicPrediction | None

    def _predicted_energy(self, forces: bool) -> tuple[float, NDArray[np.float64] | None]:
        """Energy (eV) and forces (eV/Å, (N, 3)) of the network; keeps its error bar."""
        assert self._loaded is not None
        assert self._computed_state is not None
        _, checkpoint, model = self._loaded
        domain.check_trained(checkpoint, "energy")
        energy, gradient, features = predict_energy(
            model,
            self.atoms,
            self._computed_state,
            forces,
            self._tight_binding,
            self.parameters["recompute"],
        )
        self._uncertainty = domain.uncertainty_of(
            checkpoint, features, len(self.atoms), self._computed_state, self._warned
        )
        return energy, gradient

    def _refined_energy(self, forces: bool) -> tuple[float, NDArray[np.float64] | None]:
        """Energy (eV) and forces (eV/Å, (N, 3)) after SCF steps; keeps what the last one changed."""
        from helm_ase.prediction.refinement import refine

        steps = self.parameters["refine"]
        if forces and steps < FEWEST_FOR_FORCES:
            raise SettingError(
                f"forces after {steps} SCF step are not the slope of its energy: take "
                f"refine={FEWEST_FOR_FORCES} or more, or refine(1, forces=True) for the gradient alone"
            )
        refined = refine(self._network_electrons(), steps, forces)
        self._last_change = refined.last_change
        return add_to_molecule(refined.energy, refined.forces, self.atoms, self._tight_binding)

    def _network_electrons(self) -> ElectronicPrediction:
        assert self._loaded is not None
        assert self._computed_state is not None
        _, checkpoint, model = self._loaded
        domain.check_trained(checkpoint, "hamiltonian")
        if self._network is None:
            self._network = predict_electronic_structure(
                model, checkpoint, self.atoms, self._computed_state, self._tight_binding
            )
        return self._network

    def _electrons(self) -> ElectronicPrediction:
        if self._electronic is None:
            self._electronic = self._network_electrons()
            if steps := self.parameters["refine"]:
                from helm_ase.prediction.refinement import refined

                self._electronic = refined(self._electronic, steps)
        return self._electronic
