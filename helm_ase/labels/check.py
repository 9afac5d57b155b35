"""Checks whether the labels of a file are consistent with one another and with PySCF.

Every law is one :class:`~helm_ase.labels.entry_checks.Check` with the largest value it may take.  The limits
are some five to ten times what correct labels show (1494 molecules, B3LYP/def2-SVP, float32) and far below
what the mistakes cost that people make: AO order, unit, charge, functional.

- *Levels*: PySCF's own belong to the cycle before the last and differ by up to 2e-5 Eh; a float32 matrix
  adds its rounding, amplified where the overlap is nearly singular, which is computed and forgiven.
- *Dipole* of the orbitals of H: up to 2e-4 e·a0, for the density errs in first order.
- *Net force and torque*: up to 3e-4 Eh/a0 and 1e-3 Eh on PySCF's grid of level 2; on that of level 0 they
  reach 0.02 of both, so that other limits hold below level 2.
- *Rebuilt Fock matrix*: 0.3 µEh on average; 2 µEh if only density fitting differs, 132 µEh between the
  two meanings of B3LYP.  With it a file's level of theory is proved; nothing else does that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import DatasetError, HelmError, SettingError
from helm_ase.labels.entry_checks import CHECKS, REBUILD_CHECKS, SETUP, Check, Entry
from helm_ase.labels.source import LabelSource
from helm_ase.representation import LabelledMolecule
from helm_ase.system.terminal import progress_bar
from helm_ase.units import HARTREE_IN_EV

NAMED_FAILURES = 10
"""Number of failed entries that are named for each check; all are counted."""
COMPOSITION_LIMIT = 1.0
"""Largest residual in Hartree: bonds cause 0.3, a charge 0.5, the energy of another molecule tens."""
COPY_PRECISION = 1e-3
"""Å, of distances, for copies that were rotated, shifted or renumbered."""


@dataclass
class Finding:
    """Outcome of one check."""

    name: str
    allowed: float
    unit: str
    meaning: str
    checked: int = 0
    worst: float = 0.0
    worst_entry: str = ""
    failures: int = 0
    failed: list[str] = field(default_factory=list)
    """Names of the first entries that failed, with what was wrong."""
    advisory: bool = False
    """Whether the check is only a remark, which cannot make a file fail."""

    @property
    def passed(self) -> bool:
        """Whether no entry failed, or the check is only advisory."""
        return self.failures == 0 or self.advisory

    def record(self, name: str, value: float) -> None:
        """Record the value of one entry; NaN counts as failure."""
        self.checked += 1
        if value > self.worst or not self.worst_entry or value != value:
            self.worst, self.worst_entry = value, name
        if not value <= self.allowed:
            self._fail(f"{name} ({value:.3g} {self.unit})" if self.unit else name)

    def reject(self, name: str, reason: str) -> None:
        """Record an entry for which the check could not be computed."""
        self.checked += 1
        self.worst, self.worst_entry = float("inf"), name
        self._fail(f"{name} ({reason})")

    def _fail(self, text: str) -> None:
        self.failures += 1
        if len(self.failed) < NAMED_FAILURES:
            self.failed.append(text)


@dataclass(frozen=True)
class Report:
    """Outcome of all checks of one file."""

    path: str
    molecules: int
    sampled: int
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(f.passed for f in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        findings = [asdict(f) | {"passed": f.passed} for f in self.findings]
        return {
            "path": self.path, "molecules": self.molecules, "sampled": self.sampled, "passed": self.passed,
            "checks": findings,
        }  # fmt: skip


def check_labels(
    source: LabelSource, sample: int | None = None, rebuild: int = 0, seed: int = 0, progress: bool = False
) -> Report:
    """Check the molecules of a file.

    Parameters
    ----------
    source
        Open file.
    sample
        Check so many random molecules; all if absent.
    rebuild
        For so many of them also rebuild the Fock matrix with PySCF (seconds each).
    seed
        Seed of the choice.
    progress
        Show a bar.

    Raises
    ------
    SettingError
        If a number is negative.

    Examples
    --------
    >>> report = check_labels(open_labels("labels.h5"), rebuild=3)  # doctest: +SKIP
    >>> [f.name for f in report.findings if not f.passed]  # doctest: +SKIP
    """
    if rebuild < 0 or (sample is not None and sample < 1):
        raise SettingError(f"sample is {sample}, rebuild {rebuild}: at least 1 and 0")
    if rebuild and not source.level.functional:
        raise SettingError(
            f"{source.path} does not record its functional: name it (--level functional=...) to rebuild"
        )
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(source))[:sample])
    again = set(rng.permutation(chosen)[:rebuild].tolist())
    run = _Run(source)
    for index in progress_bar(chosen.tolist(), desc="checking", unit="mol", disable=not progress):
        run.examine(index, index in again)
    return Report(str(source.path), len(source), len(chosen), tuple(run.findings()))


class _Run:
    """Findings of one pass over a file."""

    def __init__(self, source: LabelSource) -> None:
        self.source = source
        self.readable = Finding("readable", 0, "", "damaged entry: wrong shape, not finite, not symmetric")
        self.checks = {
            c: Finding(c.name, c.limit(source.level), c.unit, c.meaning)
            for c in (SETUP, *CHECKS, *REBUILD_CHECKS)
        }
        self.same = Finding("duplicates", 0, "", "the same geometry, charge and multiplicity twice")
        self.copies = Finding("copies", 0, "", "rotated, shifted or renumbered copies", advisory=True)
        self.broken = Finding(
            "broken symmetry", 0, "", "singlets with energy and forces to learn, not H", advisory=True
        )
        self.keys: dict[str, str] = {}
        self.shapes: dict[bytes, str] = {}
        self.energies = _Energies()

    def examine(self, index: int, rebuild: bool) -> None:
        """Check one entry."""
        try:
            label = self.source[index]
        except DatasetError as error:
            self.readable.reject(self.source.name_of(index), str(error))
            return
        self.readable.record(label.name, 0)
        self._compare(label)
        if label.hamiltonian is not None and not label.determines_hamiltonian:
            self.broken.record(label.name, 1.0)
        entry = Entry(label, self.source.level)
        if self._measure(SETUP, entry):
            for check in (*CHECKS, *(REBUILD_CHECKS if rebuild else ())):
                self._measure(check, entry)
        self.energies.add(label)

    def _measure(self, check: Check, entry: Entry) -> bool:
        finding = self.checks[check]
        try:
            value = check.measure(entry)
        except (HelmError, np.linalg.LinAlgError, ValueError) as error:
            finding.reject(entry.label.name, str(error))
            return False
        if value is not None:
            finding.record(entry.label.name, value)
        return value is None or value <= finding.allowed

    def _compare(self, label: LabelledMolecule) -> None:
        first = self.keys.setdefault(label.key, label.name)
        shape = self.shapes.setdefault(_shape(label), label.name)
        self.same.record(f"{label.name} = {first}", float(first != label.name))
        self.copies.record(f"{label.name} = {shape}", float(shape != label.name and first == label.name))

    def findings(self) -> Iterator[Finding]:
        """Results of all checks that applied to at least one entry."""
        findings = [
            self.readable, *self.checks.values(), self.energies.finding(), self.same, self.copies,
            self.broken,
        ]  # fmt: skip
        return (f for f in findings if f.checked)


class _Energies:
    """Total energies against their best fit by composition."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.compositions: list[NDArray[np.int16]] = []
        self.energies: list[float] = []

    def add(self, label: LabelledMolecule) -> None:
        """Take in one label."""
        if label.energy is not None:
            self.names.append(label.name)
            self.compositions.append(np.bincount(label.numbers, minlength=119).astype(np.int16))
            self.energies.append(label.energy / HARTREE_IN_EV)

    def finding(self) -> Finding:
        """Largest residual; nothing is checked with fewer than three molecules per element."""
        finding = Finding("energy by composition", COMPOSITION_LIMIT, "Eh", "energy of another molecule")
        if not self.names:
            return finding
        counts = np.array(self.compositions)[:, np.any(self.compositions, axis=0)].astype(float)
        if len(counts) < 3 * counts.shape[1] + 2:
            return finding
        for name, residual in zip(
            self.names, _robust_residuals(counts, np.array(self.energies)), strict=True
        ):
            finding.record(name, float(residual))
        return finding


def _robust_residuals(counts: NDArray[np.float64], energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """|energy − fit|; the fit is repeated with little weight for what lies far off (Cauchy's weights)."""
    weights = np.ones(len(energies))
    residuals = np.zeros(len(energies))
    for _ in range(30):
        root = np.sqrt(weights)
        fit = np.linalg.lstsq(counts * root[:, None], energies * root, rcond=None)[0]
        residuals = np.abs(energies - counts @ fit)
        scale = max(float(np.median(residuals)), 1e-3)
        weights = 1 / (1 + (residuals / (3 * scale)) ** 2)
    return residuals


def _shape(label: LabelledMolecule) -> bytes:
    """Fingerprint that rotation, translation and renumbering leave alone (up to rounding)."""
    import hashlib

    first, second = np.triu_indices(len(label.numbers), 1)
    z = np.sort(np.stack([label.numbers[first], label.numbers[second]]), axis=0)
    distances = np.linalg.norm(label.positions[first] - label.positions[second], axis=1)
    rows = np.stack([*z, np.round(distances / COPY_PRECISION).astype(np.int64)])
    state = np.array([label.charge, label.multiplicity, *np.sort(label.numbers)], dtype=np.int64)
    ordered = rows[:, np.lexsort(rows[::-1])]
    return hashlib.sha256(state.tobytes() + ordered.astype(np.int64).tobytes()).digest()[:16]


def table(report: Report) -> str:
    """Report as text: one line a check, then the failures."""
    lines = [f"{'check':<22} {'molecules':>9}  {'worst':>9}  {'allowed':>8}  {'unit':<14}  result"]
    for f in report.findings:
        result = "ok" if not f.failures else "remark" if f.advisory else "FAILED"
        lines.append(
            f"{f.name:<22} {f.checked:>9}  {f.worst:>9.2g}  {f.allowed:>8.2g}  {f.unit:<14}  {result}"
        )
    for f in report.findings:
        if f.failures:
            lines += _explain(f)
    return "\n".join(lines)


def _explain(finding: Finding) -> Iterable[str]:
    more = finding.failures - len(finding.failed)
    yield f"\n{finding.name}: {finding.failures} of {finding.checked}: {finding.meaning}"
    yield from (f"  {text}" for text in finding.failed)
    if more:
        yield f"  and {more} more"


__all__ = ["Finding", "Report", "check_labels", "table"]
