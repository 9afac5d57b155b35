"""Errors of a checkpoint on labelled molecules, beside those of its own H0."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from ase.formula import Formula
from ase.symbols import Symbols
from numpy.typing import NDArray

from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import PredictionError, SettingError
from helm_ase.evaluation.breakdown import Breakdown, break_down, combine
from helm_ase.evaluation.comparison import MatrixErrors, Molecule, Solution, compare
from helm_ase.evaluation.errors import error_of
from helm_ase.evaluation.inference import Answer, answers
from helm_ase.evaluation.scf_comparison import SCFComparison, compare_scf, energy_of_density
from helm_ase.evaluation.selection import Selection
from helm_ase.qc.level import check_variant
from helm_ase.representation import LabelledMolecule
from helm_ase.system.terminal import progress_bar
from helm_ase.units import HARTREE_IN_EV


@dataclass(frozen=True)
class HamiltonianErrors:
    """Errors of one Hamiltonian of a molecule: the predicted one, or H0 alone."""

    errors: MatrixErrors
    homo: float
    """Predicted HOMO, eV; NaN if there is none."""
    lumo: float
    """Predicted LUMO, eV; NaN if there is none."""
    energy_from_h: float
    """E[D(H)] − reference, signed, eV; NaN if it was not asked for."""


NOT_PREDICTED = HamiltonianErrors(
    MatrixErrors(*[float("nan")] * len(fields(MatrixErrors))), *[float("nan")] * 3
)
"""Result of a model that was not trained on Hamiltonians."""


@dataclass(frozen=True)
class MoleculeReport:
    """Errors of a model on one molecule, and what identifies the molecule."""

    name: str
    formula: str
    smiles: str
    atoms: int
    heavy_atoms: int
    functions: int
    """Number of AOs; 0 where the label has no Hamiltonian."""
    charge: int
    multiplicity: int
    homo: float
    """HOMO of the reference, eV; NaN if there is none."""
    lumo: float
    """LUMO of the reference, eV; NaN if there is none."""
    model: HamiltonianErrors
    baseline: HamiltonianErrors
    """Errors of H0 alone."""
    energy: float
    """Energy of the energy head − label, signed, eV; NaN if the label has none."""
    forces: float
    """Mean absolute component error, eV/Å; NaN if the label has none."""
    dipole_from_label: bool
    """Whether the dipole is compared with the label's own; else with that of the reference's H."""
    energy_from_label: bool
    """Whether E[D(H)] is compared with the label's energy; else with E[D] of the reference's H."""
    scf: SCFComparison | None = None


@dataclass(frozen=True)
class AssessmentSettings:
    """Costly quantities that are computed on request."""

    energy_from_h: bool = True
    """E[D(H)] by PySCF; costs about an SCF cycle for each of H and H0."""
    scf: int = 0
    """Number of molecules, evenly spaced, on which SCF cycles from the predicted density are counted."""
    progress: bool = False
    """Whether a progress bar is shown."""

    def __post_init__(self) -> None:
        if self.scf < 0:
            raise SettingError(f"scf is {self.scf}; a number of molecules, at least 0, is needed")


@dataclass(frozen=True)
class Assessment:
    """Errors of a checkpoint on a selection of molecules."""

    molecules: tuple[MoleculeReport, ...]
    model: Breakdown
    baseline: Breakdown
    """Errors of H0 alone by class of matrix elements."""
    scf_failures: int = 0
    """Molecules on which one of the two SCF calculations did not converge."""


def assess(
    checkpoint: Checkpoint, selection: Selection, settings: AssessmentSettings | None = None
) -> Assessment:
    """Evaluate a checkpoint; molecules are read in batches and not kept.

    Parameters
    ----------
    checkpoint
        Its model in evaluation mode, in the wanted precision and on the wanted device.
    selection
        Molecules.
    settings
        What to compute.

    Raises
    ------
    SettingError
        If PySCF is to be asked and means another functional by the name than the labels say they had.
    """
    settings = settings or AssessmentSettings()
    _check_functional(selection, settings)
    count = len(selection.dataset)
    wanted = min(settings.scf, count) if "hamiltonian" in checkpoint.predicts else 0
    chosen = set(np.linspace(0, count - 1, wanted).round().astype(int).tolist())
    reports = []
    model = baseline = Breakdown({}, {}, 0)
    for report, ours, theirs in _reports(checkpoint, selection, settings, chosen):
        reports.append(report)
        model, baseline = combine([model, ours]), combine([baseline, theirs])
    failures = len(chosen) - sum(report.scf is not None for report in reports)
    return Assessment(tuple(reports), model, baseline, failures)


def _check_functional(selection: Selection, settings: AssessmentSettings) -> None:
    if not selection.level.variant or not (settings.energy_from_h or settings.scf):
        return
    try:
        check_variant(selection.level)
    except SettingError as error:
        raise SettingError(
            f"{error}; without the energy of H (--no-energy-from-h) and --scf PySCF is not asked"
        ) from error


def _reports(
    checkpoint: Checkpoint, selection: Selection, settings: AssessmentSettings, chosen: set[int]
) -> Iterator[tuple[MoleculeReport, Breakdown, Breakdown]]:
    trained = checkpoint.predicts
    reports = answers(
        checkpoint.model, selection.dataset, bool(trained & {"energy", "forces"}), "hamiltonian" in trained
    )
    bar = progress_bar(
        reports, desc="molecules", total=len(selection.dataset), unit="mol", disable=not settings.progress,
        leave=False,
    )  # fmt: skip
    for k, answer in enumerate(bar):
        yield _report(_Case(checkpoint, selection, k, answer), settings, k in chosen)


class _Case:
    """One molecule with the matrices that are compared, as far as there are any; canonical AO order."""

    molecule: Molecule | None = None
    reference: Solution | None = None
    baseline: Solution | None = None
    model: Solution | None = None

    def __init__(self, checkpoint: Checkpoint, selection: Selection, index: int, answer: Answer) -> None:
        sample = answer.sample
        self.answer, self.basis, self.level = answer, checkpoint.basis, selection.level
        self.trained = checkpoint.predicts
        self.label: LabelledMolecule = selection.dataset.label(index)
        if self.label.hamiltonian is None:
            return
        self.molecule = Molecule(self.label, checkpoint.basis, sample.overlap)
        self.reference = self.molecule.reference()
        if not self.label.determines_hamiltonian:
            return
        spins = self.reference.structure.n_spins
        h0 = sample.baseline.expand(spins, *sample.baseline.shape[-2:]).numpy().copy()
        self.baseline = self.molecule.solve(h0)
        if answer.correction is None:
            return
        try:
            self.model = self.molecule.solve(h0 + answer.correction)
        except PredictionError as error:
            raise PredictionError(f"{self.label.name}: {error}; is the checkpoint sound?") from error

    def energy_of(self, solution: Solution) -> float:
        """E[D(H)], eV."""
        assert self.molecule is not None
        mole, structure = self.molecule.mole, solution.structure
        return energy_of_density(mole, self.label, structure, self.basis, self.level) * HARTREE_IN_EV

    @property
    def energy_error(self) -> float:
        """Predicted − label, eV; NaN if one of them is missing."""
        if "energy" not in self.trained:
            return float("nan")
        return self.answer.energy - self.answer.sample.energy

    @property
    def force_error(self) -> float:
        """Mean absolute component, eV/Å; NaN if one of them is missing."""
        if self.answer.forces is None or "forces" not in self.trained:
            return float("nan")
        return error_of(self.answer.forces, self.answer.sample.forces.numpy())

    def errors_of(self, solution: Solution | None, reference_energy: float) -> HamiltonianErrors:
        """Compare one of the Hamiltonians; without a reference energy, E[D(H)] is not computed."""
        if solution is None or self.reference is None or self.molecule is None:
            return NOT_PREDICTED
        errors = compare(solution, self.reference, self.molecule.label_dipole)
        energy = np.nan if np.isnan(reference_energy) else self.energy_of(solution) - reference_energy
        return HamiltonianErrors(errors, *solution.frontier, energy)

    def break_down(self, solution: Solution | None) -> Breakdown:
        """Break down the error of one of the Hamiltonians by class of matrix elements."""
        if solution is None or self.reference is None:
            return Breakdown({}, {}, 0)
        difference = solution.structure.hamiltonian - self.reference.structure.hamiltonian
        return break_down(difference.numpy(), self.label.numbers, self.label.positions, self.basis)


def _report(
    case: _Case, settings: AssessmentSettings, scf: bool
) -> tuple[MoleculeReport, Breakdown, Breakdown]:
    label, reference = case.label, case.reference
    energy, levels = np.nan, (np.nan, np.nan) if reference is None else reference.frontier
    if settings.energy_from_h and reference is not None:
        energy = case.energy_of(reference) if label.energy is None else label.energy
    report = MoleculeReport(
        name=label.name,
        formula=_formula(label.numbers),
        smiles=label.smiles,
        atoms=len(label.numbers),
        heavy_atoms=int((label.numbers > 1).sum()),
        functions=label.functions,
        charge=label.charge,
        multiplicity=label.multiplicity,
        homo=levels[0],
        lumo=levels[1],
        model=case.errors_of(case.model, energy),
        baseline=case.errors_of(case.baseline, energy),
        energy=case.energy_error,
        forces=case.force_error,
        dipole_from_label=label.dipole is not None,
        energy_from_label=label.energy is not None,
        scf=compare_scf(case.molecule.mole, label, case.model.structure, case.basis, case.level)
        if scf and case.model and case.molecule else None,
    )  # fmt: skip
    return report, case.break_down(case.model), case.break_down(case.baseline)


def _formula(numbers: NDArray[np.int64]) -> str:
    return str(Formula(str(Symbols(numbers))).convert("hill"))
