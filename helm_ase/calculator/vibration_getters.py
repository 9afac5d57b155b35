"""Methods of the calculator for second derivatives of the energy: Hessian and normal modes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from helm_ase.errors import SettingError, StructureError
from helm_ase.prediction.batch_engine import BatchEngine
from helm_ase.prediction.domain import check_molecule, check_trained
from helm_ase.prediction.hessian import predict_hessian
from helm_ase.prediction.infrared import DISPLACEMENT, InfraredSpectrum, predict_infrared
from helm_ase.representation.charge_state import ChargeState

if TYPE_CHECKING:
    from ase.vibrations import VibrationsData

    from helm_ase.calculator.computation import LoadedModel
    from helm_ase.checkpoint import Checkpoint
    from helm_ase.representation.energy_baseline import EnergyMethod


class VibrationGetters:
    """Methods of :class:`~helm_ase.HELMCalculator` for second derivatives of the energy."""

    if TYPE_CHECKING:  # of the calculator
        parameters: Mapping[str, Any]
        _loaded: LoadedModel | None
        _tight_binding: EnergyMethod | None

        @property
        def checkpoint(self) -> Checkpoint:
            """The loaded checkpoint."""

        def _current(self, atoms: Atoms | None) -> Atoms | None: ...
        def _state(self, atoms: Atoms) -> ChargeState: ...

    def get_hessian(self, atoms: Atoms | None = None) -> NDArray[np.float64]:
        """Second derivatives of the energy, eV/Å², symmetric, (3N, 3N): x, y, z of each atom in turn.

        The network's part is exact up to its precision: with ``dtype="float32"`` it is off by some
        1e-5 eV/Å², which may show as a few cm⁻¹ in translations and rotations and nowhere else.

        Parameters
        ----------
        atoms
            Geometry; absent: that of the atoms that the calculator is attached to.

        Raises
        ------
        StructureError, ElementError, ChargeError
            If the model cannot take this system.
        UntrainedError
            If the model was not trained to predict energies.
        """
        hessian, _ = self._hessian_of(atoms)
        return hessian

    def get_vibrations(self, atoms: Atoms | None = None) -> "VibrationsData":
        """Normal modes in the harmonic approximation, with ASE's methods for energies, modes and tables.

        Parameters
        ----------
        atoms
            Geometry, which should be a minimum or a saddle point; absent: that of the atoms that the
            calculator is attached to.

        Raises
        ------
        StructureError, ElementError, ChargeError, UntrainedError
            As :meth:`get_hessian`.
        """
        from ase.vibrations import VibrationsData

        hessian, place = self._hessian_of(atoms)
        return VibrationsData.from_2d(place.copy(), hessian)

    def get_infrared(
        self, atoms: Atoms | None = None, displacement: float = DISPLACEMENT
    ) -> InfraredSpectrum:
        """Normal modes with infrared intensities, from the dipoles of 6N displaced geometries.

        Parameters
        ----------
        atoms
            Geometry, which should be a minimum; absent: that of the atoms that the calculator is attached to.
        displacement
            Distance by which each atom is moved to either side, Å.

        Raises
        ------
        StructureError, ElementError, ChargeError, UntrainedError
            As :meth:`get_hessian`, and if the model was not trained to predict Hamiltonians.
        SettingError
            If the displacement is not positive.
        """
        check_trained(self.checkpoint, "hamiltonian")
        vibrations = self.get_vibrations(atoms)
        assert self._loaded is not None
        state = self._state(vibrations.get_atoms() if atoms is None else atoms)
        engine = BatchEngine(
            self.checkpoint, self._loaded.model, self._tight_binding, frozenset({"dipole"}),
            state=(state.charge, state.multiplicity),
        )  # fmt: skip

        def dipoles(geometries: Sequence[Atoms]) -> list[NDArray[np.float64]]:
            return [answer.dipole for answer in engine.run_all(geometries) if answer.dipole is not None]

        return predict_infrared(vibrations, dipoles, displacement)

    def _hessian_of(self, atoms: Atoms | None) -> tuple[NDArray[np.float64], Atoms]:
        place = self._current(atoms)
        if place is None:
            raise StructureError("no atoms yet: write atoms.calc = calc, or pass atoms=")
        if self.parameters["refine"]:
            raise SettingError(
                "second derivatives are those of the network; of refined energies take ase.vibrations, which "
                "differentiates their forces, or a calculator without refine="
            )
        state = self._state(place)
        check_molecule(place, self.checkpoint, state)
        check_trained(self.checkpoint, "energy")
        assert self._loaded is not None
        return predict_hessian(self._loaded.model, place, state, self._tight_binding), place
