"""Methods of the calculator that tell how far its results can be trusted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from helm_ase.calculator.copies import Copies, locked
from helm_ase.errors import SettingError, StructureError
from helm_ase.prediction.domain import Extrapolation, Uncertainty
from helm_ase.prediction.verdict import Verdict, judge
from helm_ase.units import HARTREE_IN_EV

if TYPE_CHECKING:
    from ase import Atoms

    from helm_ase.prediction.electronic import ElectronicPrediction
    from helm_ase.representation.charge_state import ChargeState


class TrustGetters(Copies):
    """Methods of :class:`~helm_ase.HELMCalculator` that estimate errors and detect extrapolation."""

    if TYPE_CHECKING:  # of the calculator
        _uncertainty: Uncertainty | None
        _last_change: float | None
        _extrapolation: Extrapolation | None
        _electronic: ElectronicPrediction | None

        def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
            """The method of ASE's calculator."""

        def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
            """The method of ASE's calculator."""

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Sequence[str] = (),
            system_changes: Sequence[str] = (),
        ) -> None:
            """The method of ASE's calculator."""

        def _current(self, atoms: Atoms | None) -> Atoms | None: ...
        def _state(self, atoms: Atoms) -> ChargeState: ...

    @locked
    def get_uncertainty(self, atoms: "Atoms | None" = None) -> "Uncertainty":
        """Error bar of the energy, computed at no cost from the last layer of the network.

        Raises
        ------
        SettingError
            If the model has no error bar (``helm-ase calibrate`` makes one), or the energy is not the
            network's because SCF steps were done (``refine``).
        """
        if self.parameters["refine"]:
            raise SettingError(
                "the error bar is that of the network's energy, and this calculator gives refined ones: "
                "get_verdict() says how far they have converged"
            )
        if self.checkpoint.uncertainty is None:
            raise SettingError(
                f"model {self.checkpoint.name!r} has no error bar: make one with 'helm-ase calibrate MODEL "
                "LABELS', or compare several models with HELMCommittee"
            )
        self.get_property("energy", self._current(atoms))
        assert self._uncertainty is not None
        return self._uncertainty

    @locked
    def get_verdict(self, atoms: "Atoms | None" = None) -> Verdict:
        """Verdict on the energy: trusted, extrapolated or meaningless, with the reasons and their numbers.

        A small HOMO–LUMO gap is among the reasons only if orbitals of this geometry have been asked for
        before: the verdict computes none.

        Returns
        -------
        Verdict
            ``verdict.trust`` is ``"trusted"``, ``"extrapolating"`` or ``"refused"``; ``str(verdict)`` is one
            line with the reasons.
        """
        if (atoms := self._current(atoms)) is None:
            raise StructureError("no atoms yet: write atoms.calc = calc, or pass atoms=")
        if "energy" in self.checkpoint.predicts or self.parameters["refine"]:
            self.get_property("energy", atoms)
        elif (changes := self.check_state(atoms)) or self._extrapolation is None:  # the last attempt failed
            self.calculate(atoms, [], changes)  # nothing but the comparison with training
        assert self._extrapolation is not None
        gap = None if self._electronic is None else float(self._electronic.structure.gap) * HARTREE_IN_EV
        return judge(self._extrapolation, self._state(atoms), self._uncertainty, self._last_change, gap)
