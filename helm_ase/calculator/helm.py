"""HELM as an ASE calculator.

Keywords
--------
=============  ============  ======================================================================
model          default       name, path or URL of a checkpoint (``helm-ase models`` lists names)
device         automatic     ``cpu``, ``cuda``, …
dtype          float32       precision of the network; references, sums and energies are float64
charge         0             total charge, unless ``atoms.info['charge']`` says otherwise
multiplicity   1             2S + 1, unless ``atoms.info['multiplicity']`` (or ``spin``) says otherwise
dispersion     None          ``d3bj`` adds D3(BJ) to energies, forces and Hessians (not to the Hamiltonian)
kpts           dense         crystals: mesh of k points: three numbers, ``{"size": …}``, ``{"density": …}``
smearing       the labels'   crystals: width kT of Fermi–Dirac occupations in eV
refine         0             molecules: SCF steps from the predicted density before all results
recompute      None          ``True``: forces in less memory and more time; None: for many atoms only
=============  ============  ======================================================================

A charge or multiplicity that is passed as keyword, even one equal to the default, takes precedence over the
sums of initial charges and magnetic moments.

Threads may share a calculator: a lock ensures that each gets the results for its own atoms.  The attribute
``results`` holds those of the last call in any thread.
"""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetOutputsMixin
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from numpy.typing import NDArray

from helm_ase.calculator.computation import Computation, LoadedModel
from helm_ase.calculator.copies import Copies, locked
from helm_ase.calculator.crystal_getters import CrystalGetters, refuse_crystal
from helm_ase.calculator.electronic_getters import ElectronicGetters
from helm_ase.calculator.keywords import DEFAULTS, NOT_GIVEN, checked, model_keywords
from helm_ase.calculator.trust_getters import TrustGetters
from helm_ase.calculator.vibration_getters import VibrationGetters
from helm_ase.checkpoint import Checkpoint, load_shared
from helm_ase.errors import StructureError
from helm_ase.nn.placement import placed
from helm_ase.prediction import domain
from helm_ase.prediction.crystals import CrystalPrediction
from helm_ase.prediction.dispersion import added_energy
from helm_ase.prediction.electronic import ElectronicPrediction, levels_of
from helm_ase.representation.charge_state import ChargeState, charge_state
from helm_ase.representation.energy_baseline import EnergyMethod
from helm_ase.representation.geometry import check_types
from helm_ase.system.process_lock import ProcessLock

NO_ATOMS = "no atoms yet: write atoms.calc = calc, or pass atoms="
GONE = "the atoms that this calculator was attached to last no longer exist: keep them, or pass atoms="


class HELMCalculator(
    CrystalGetters,
    ElectronicGetters,
    VibrationGetters,
    TrustGetters,
    Computation,
    Copies,
    GetOutputsMixin,
    Calculator,
):
    """Energy, forces and the Kohn–Sham Hamiltonian of a molecule or crystal.

    ``results`` holds ASE's own names only: ``energy`` and ``free_energy`` (eV), ``forces`` (eV/Å), and on
    request ``dipole`` (e·Å) and ``charges`` (Mulliken, e).  ``hamiltonian`` (Hartree, PySCF AO order),
    ``overlap`` and ``orbital_energies`` (eV) live in ``extra_results``; ask for them with
    :meth:`get_property` or the typed getters.  Energies and forces never compute a Hamiltonian.

    Parameters
    ----------
    model, device, dtype, charge, multiplicity, kpts, smearing, refine, dispersion, recompute
        See the table at the top of this module.
    atoms
        Attach the calculator to these atoms.

    Raises
    ------
    SettingError
        For an unknown keyword, dtype, device or dispersion.
    CheckpointError
        If the model cannot be loaded.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from helm_ase import HELMCalculator
    >>> atoms = molecule("H2O")
    >>> atoms.calc = HELMCalculator()
    >>> homo, lumo = atoms.calc.get_homo_lumo()
    >>> homo < lumo
    True
    """

    name = "helm"
    nolabel = True
    implemented_properties: ClassVar[list[str]] = [
        "energy", "free_energy", "forces", "stress", "dipole", "charges"
    ]  # fmt: skip
    extra_properties: ClassVar[tuple[str, ...]] = ("hamiltonian", "overlap", "orbital_energies")
    discard_results_on_any_change = True
    default_parameters: ClassVar[dict[str, Any]] = DEFAULTS

    def __init__(
        self,
        model: str | None = None,
        device: str | None = None,
        dtype: str = "float32",
        charge: int = NOT_GIVEN,
        multiplicity: int = NOT_GIVEN,
        atoms: Atoms | None = None,
        kpts: Any = None,
        smearing: float | None = None,
        refine: int = 0,
        dispersion: str | None = None,
        recompute: bool | None = None,
        **unknown: Any,
    ) -> None:
        checked(unknown)  # ASE would silently accept some of them
        self._lock = ProcessLock()
        self.extra_results: dict[str, NDArray[np.float64]] = {}
        self._network: ElectronicPrediction | None = None  # what the network says
        self._electronic: ElectronicPrediction | None = None  # the same after SCF steps, if asked for
        self._last_change: float | None = None
        self._crystal: CrystalPrediction | None = None
        self._uncertainty: domain.Uncertainty | None = None
        self._computed_state: ChargeState | None = None
        self._charged_with: str | None = None
        self._attached: weakref.ref[Atoms] | None = None
        self._awaits_atoms = False  # attached, and nothing computed since
        self._warned = domain.ExtrapolationMemory()
        self._extrapolation: domain.Extrapolation | None = None
        self._loaded: LoadedModel | None = None
        self._tight_binding: EnergyMethod | None = None
        self._given: set[str] = set()  # of charge and multiplicity
        state = {"charge": charge, "multiplicity": multiplicity}
        given = {key: value for key, value in state.items() if value is not NOT_GIVEN}
        other = {"kpts": kpts, "smearing": smearing, "dispersion": dispersion, "recompute": recompute}
        given |= {key: value for key, value in other.items() if value is not None}
        super().__init__(model=model, device=device, dtype=dtype, refine=refine, **given)
        if atoms is not None:
            atoms.calc = self

    # -- settings ------------------------------------------------------------------------------------

    @locked
    def set(self, /, **kwargs: Any) -> dict[str, Any]:
        """Change keywords; any change discards the results.

        Raises
        ------
        SettingError
            For an unknown keyword or value.
        """
        kwargs = checked(kwargs)
        self._load(self.parameters | kwargs)  # first, so that nothing changes if loading fails
        self._given |= {"charge", "multiplicity"} & set(kwargs)
        changed: dict[str, Any] = super().set(**kwargs)
        return changed

    def _load(self, parameters: Mapping[str, Any]) -> None:
        wanted = model_keywords(parameters)
        if self._loaded is not None and self._loaded.keywords == wanted:
            return
        checkpoint = load_shared(wanted.model)
        model = placed(checkpoint.model, wanted.device, wanted.dtype)
        self._tight_binding = added_energy(checkpoint, wanted.dispersion)
        self._loaded = LoadedModel(wanted, checkpoint, model)
        self._warned = domain.ExtrapolationMemory()

    @property
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint: level of theory, basis, elements, metrics."""
        assert self._loaded is not None
        return self._loaded.checkpoint

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """What ASE's databases and trajectories record: keywords, model and checksum, charge and
        multiplicity.

        Charge and multiplicity are those of the last calculation, even where ``atoms.info`` set them.
        """
        recorded: dict[str, Any] = super().todict(skip_default)
        if self._computed_state is not None:
            recorded |= self._computed_state._asdict()
        return recorded | {"model": self.checkpoint.name, "model_sha256": self.checkpoint.sha256}

    # -- ASE's book-keeping --------------------------------------------------------------------------

    def set_atoms(self, atoms: Atoms) -> None:
        """Called by ``atoms.calc = calc``: raise an error at once for atoms that the model cannot compute."""
        domain.check_kind(atoms, self.checkpoint)
        self._attached, self._awaits_atoms = weakref.ref(atoms), True

    def reset(self) -> None:
        """Forget all results."""
        super().reset()
        self._forget()

    def _forget(self) -> None:
        self.extra_results = {}
        self._network = self._electronic = self._crystal = None
        self._uncertainty = self._last_change = self._extrapolation = None
        self._computed_state = self._charged_with = None

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what changed since the last calculation, charge and spin in ``atoms.info`` included."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if self._loaded is None or self._loaded.keywords != model_keywords(self.parameters):
            changes = [*changes, "parameters"]  # written to directly, without set()
        elif self._charged_with is not None and self._charged_with != self._filling_keywords():
            changes = [*changes, "parameters"]
        if self.atoms is not None and self._state(atoms) != self._computed_state:
            changes = [*changes, "initial_charges"] if "initial_charges" not in changes else changes
        return changes

    @locked
    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """ASE's ``get_property``, which also serves the names in :attr:`extra_properties`."""
        atoms = self._current(atoms)
        if atoms is not None and self.extra_results and self.check_state(atoms):
            self.reset()  # ASE itself would clear ``results`` only
        if name not in self.extra_properties:
            return super().get_property(name, atoms, allow_calculation)
        stale = atoms is None or bool(self.check_state(atoms)) or name not in self.extra_results
        if stale and not allow_calculation:
            return None
        electronic = self._solve(atoms)
        if name not in self.extra_results:  # of large molecules, all levels at once only if asked for
            self.extra_results[name] = levels_of(electronic)
        return self.extra_results[name].copy()

    @locked
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute ``properties``; the Hamiltonian is predicted only for properties that depend on it.

        Raises
        ------
        StructureError, ElementError, ChargeError
            If the model was not trained for such a system.
        UntrainedError
            If the model was not trained to predict a requested property.
        PredictionError
            If a result is not finite.
        """
        if system_changes:
            self.results: dict[str, Any] = {}
            self._forget()
        if (atoms := self.atoms if atoms is None else atoms) is None:
            raise StructureError(NO_ATOMS)
        self._awaits_atoms = False
        self._computed_state = state = self._state(atoms)  # before ASE stores atoms whose state is invalid
        super().calculate(atoms, list(properties), list(system_changes))
        self._load(checked(self.parameters))
        assert self._loaded is not None
        _, checkpoint, model = self._loaded
        crystal = bool(atoms.pbc.any())
        (domain.check_crystal if crystal else domain.check_molecule)(atoms, checkpoint, state)
        if self._extrapolation is None:  # once for each geometry, whatever is asked of it
            self._extrapolation = domain.extrapolation_of(atoms, checkpoint, state)
            self._warned.warn(atoms, checkpoint.name, self._extrapolation, state)
        if crystal:
            return self._calculate_crystal(properties, checkpoint, model)
        if "stress" in properties:
            raise PropertyNotImplementedError("a molecule has no stress: nothing is periodic (atoms.pbc)")
        if {"energy", "free_energy", "forces"} & set(properties):
            find = self._refined_energy if self.parameters["refine"] else self._predicted_energy
            energy, forces = find("forces" in properties)
            self.results |= {"energy": energy, "free_energy": energy}
            if forces is not None:
                self.results["forces"] = forces
        if {"dipole", "charges", *self.extra_properties} & set(properties):
            electronic = self._electrons()
            if "dipole" in properties:
                self.results["dipole"] = electronic.dipole
            if "charges" in properties:
                self.results["charges"] = electronic.charges

    @locked
    def _solve(self, atoms: Atoms | None = None) -> ElectronicPrediction:
        atoms = self._current(atoms)
        if atoms is None:
            raise StructureError(NO_ATOMS)
        domain.check_kind(atoms, self.checkpoint)
        refuse_crystal(atoms)
        changes = self.check_state(atoms)
        if changes:
            self.reset()
        if self._electronic is None:
            self.calculate(atoms, ["hamiltonian"], changes)
        assert self._electronic is not None
        if not self.extra_results:
            self.extra_results = {
                "hamiltonian": self._electronic.hamiltonian.copy(),  # callers may change their copy
                "overlap": self._electronic.structure.overlap.numpy().copy(),
            }
            if not self._electronic.structure.is_large:
                self.extra_results["orbital_energies"] = levels_of(self._electronic)
        return self._electronic

    def _current(self, atoms: Atoms | None) -> Atoms | None:
        if atoms is not None:
            check_types(atoms.numbers, atoms.positions)  # before ASE compares them
            self._attached = weakref.ref(atoms)
            return atoms
        attached = None if self._attached is None else self._attached()
        if attached is None and self._awaits_atoms:  # those that were computed before are others
            raise StructureError(GONE)
        return self.atoms if attached is None else attached

    def _state(self, atoms: Atoms) -> ChargeState:
        values = self.parameters
        said = [
            values[key] if key in self._given or values[key] != DEFAULTS[key] else None
            for key in ("charge", "multiplicity")
        ]
        return charge_state(atoms, *said)
