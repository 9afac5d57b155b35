"""Labelling campaign: labels are computed in parallel; an interrupted campaign can be continued."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from helm_ase.errors import StructureError
from helm_ase.labelling.cluster import ClusterSettings
from helm_ase.labelling.distribution import distribute
from helm_ase.labelling.failures import Failure, FailureList
from helm_ase.labelling.journal import Journal
from helm_ase.labelling.sandbox import Limits
from helm_ase.labelling.stores import AnyLabelSettings, Precision, store_of
from helm_ase.labelling.structures import AnyStructure
from helm_ase.labels.writer import check_label_path
from helm_ase.qc.crystal_labelling import CrystalLabelSettings
from helm_ase.qc.labelling import LabelSettings
from helm_ase.qc.level import check_functional
from helm_ase.representation.structure import CrystalStructure
from helm_ase.system.terminal import progress_bar

JOURNAL_LIMIT = 2_000_000_000
"""Bytes after which a journal is moved into the label file before the campaign is over."""


LabelOrder = Literal["largest", "smallest", "file", "random"]


@dataclass(frozen=True)
class CampaignSettings:
    """Settings of a labelling campaign."""

    output: str
    """Label file; ``OUTPUT.journal`` and ``OUTPUT.failures.jsonl`` stand beside it while needed."""
    label: AnyLabelSettings = field(default_factory=LabelSettings)
    """Settings of the labels, of molecules or of crystals."""
    limits: Limits = field(default_factory=Limits)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    model: str | None = None
    """Checkpoint for the second attempt of an SCF."""
    retry_failed: bool = False
    order: LabelOrder = "largest"
    """Which structures come first: ``largest`` keeps all workers busy to the end, the others serve a campaign
    that may be cut short."""
    precision: Precision = "float64"
    """Floating-point precision of the matrices in a new file of molecules; an existing file keeps its own."""
    progress: bool = True

    @property
    def fingerprint(self) -> str:
        """Fingerprint of everything that can decide whether a structure succeeds or fails."""
        terms = repr((self.label, self.limits, self.model))
        return hashlib.sha256(terms.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Campaign:
    """Outcome of a campaign."""

    output: Path
    labelled: int
    """New labels of this run."""
    present: int
    """Structures that had a label before."""
    duplicates: int
    """Structures that occur more than once among those given."""
    failures: tuple[Failure, ...]
    """Structures of this campaign without label."""
    lost: int = 0
    """Structures whose Dask worker was lost; the next campaign tries them again."""
    lacking: tuple[str, ...] = ()
    """Requested quantities that labels of earlier campaigns do not have."""


def run_campaign(structures: Sequence[AnyStructure], settings: CampaignSettings) -> Campaign:
    """Label all structures that have no label yet.

    The same call continues an interrupted campaign.

    Parameters
    ----------
    structures
        What to label.
    settings
        Level, limits, workers, output.

    Raises
    ------
    BasisError
        If the basis lacks one of the elements.
    DatasetError
        If the output belongs to another level of theory or is being written by another process.
    """
    output = Path(settings.output)
    level = settings.label.level
    _check_settings(structures, settings)
    _present_keys(output, settings)  # another level is refused before anything is written
    with Journal(output.with_name(output.name + ".journal"), level) as journal:
        present = _present_keys(output, settings) | journal.keys
        failures = FailureList(output.with_name(output.name + ".failures.jsonl"))
        _check_names(structures, output, journal, settings)
        earlier = _present_keys(output, settings)
        tasks, duplicates, known = _plan(structures, present, failures, settings)
        tasks = in_order(tasks, settings.order)
        labelled, lost = _label_all(tasks, settings, journal, failures)
        _move_to_file(journal, output, settings)
        failures.rewrite(resolved=_present_keys(output, settings))
    keys = {s.key for s in structures}
    left = tuple(f for f in failures.entries.values() if f.key in keys)
    lacking = store_of(settings.label).lacking(output, earlier & keys)
    return Campaign(output, labelled, known, duplicates, left, lost, lacking)


def finish_campaign(settings: CampaignSettings) -> Campaign:
    """Move all finished labels of an interrupted campaign into its label file, without labelling anything.

    Raises
    ------
    DatasetError
        If the output belongs to another level of theory, or the campaign is still running.
    """
    output = Path(settings.output)
    check_label_path(settings.output)
    present = _present_keys(output, settings)
    with Journal(output.with_name(output.name + ".journal"), settings.label.level) as journal:
        finished = len(journal.keys - present)
        _move_to_file(journal, output, settings)
    return Campaign(output, finished, len(present), 0, ())


def in_order(tasks: Sequence[AnyStructure], order: LabelOrder) -> list[AnyStructure]:
    """Structures in the order in which they are to be labelled; the random one is always the same."""
    if order == "random":
        return [tasks[k] for k in np.random.default_rng(0).permutation(len(tasks))]
    if order == "file":
        return list(tasks)
    return sorted(tasks, key=lambda s: int(s.numbers.sum()), reverse=order == "largest")


def _check_settings(structures: Sequence[AnyStructure], settings: CampaignSettings) -> None:
    """Refuse settings with which every structure would fail."""
    crystals = [isinstance(s, CrystalStructure) for s in structures]
    if crystals and any(x != isinstance(settings.label, CrystalLabelSettings) for x in crystals):
        raise StructureError(
            "molecules are labelled with LabelSettings, crystals with CrystalLabelSettings, and not together"
        )
    check_label_path(settings.output)
    check_functional(settings.label.level.functional)
    store_of(settings.label).check(sorted({int(z) for s in structures for z in s.numbers}))
    if settings.model is not None:
        from helm_ase.checkpoint import resolve

        resolve(settings.model)


def _present_keys(output: Path, settings: CampaignSettings) -> set[str]:
    return set(store_of(settings.label).entries(output))


def _check_names(
    structures: Sequence[AnyStructure], output: Path, journal: Journal, settings: CampaignSettings
) -> None:
    """Refuse, before any work, a name that belongs to another structure of the file."""
    names: dict[str, str] = {}
    for structure in structures:
        if names.setdefault(structure.name, structure.key) != structure.key:
            raise StructureError(f"two different structures are named {structure.name!r}: rename one")
    names = {label.name: label.key for label in journal}
    names |= {name: key for key, name in store_of(settings.label).entries(output).items()}
    for structure in structures:
        if names.get(structure.name, structure.key) != structure.key:
            raise StructureError(
                f"{output} holds another structure named {structure.name!r}: give the new ones other names "
                "(atoms.info['name']) or use another output"
            )


def _plan(
    structures: Sequence[AnyStructure], present: set[str], failures: FailureList, settings: CampaignSettings
) -> tuple[list[AnyStructure], int, int]:
    """Structures to label, how many of those given are copies, and how many have a label already."""
    unique = {s.key: s for s in reversed(structures)}
    tried = {k for k, f in failures.entries.items() if f.settings == settings.fingerprint}
    skip = present | (set() if settings.retry_failed else tried)
    tasks = [s for s in reversed(unique.values()) if s.key not in skip]
    return tasks, len(structures) - len(unique), len(present & set(unique))


def _label_all(
    tasks: Sequence[AnyStructure], settings: CampaignSettings, journal: Journal, failures: FailureList
) -> tuple[int, int]:
    """Label what has no label; how many got one, and how many were lost with their worker."""
    if not tasks:
        return 0, 0
    labelled = failed = lost = 0
    terms = settings.cluster, settings.label, settings.limits, settings.model
    with progress_bar(total=len(tasks), unit="mol", smoothing=0.05, disable=not settings.progress) as bar:
        for outcome in distribute(tasks, *terms):
            if outcome.label is not None:
                journal.add(outcome.label)
                labelled += 1
            elif outcome.lost:
                lost += 1
            else:
                seconds, what = round(outcome.seconds, 3), settings.fingerprint
                failures.add(Failure(outcome.key, outcome.name, outcome.reason, seconds, what))
                failed += 1
            bar.set_postfix({k: v for k, v in {"failed": failed, "lost": lost}.items() if v}, refresh=False)
            bar.update()
            if journal.size > JOURNAL_LIMIT:
                _move_to_file(journal, Path(settings.output), settings)
    return labelled, lost


def _move_to_file(journal: Journal, output: Path, settings: CampaignSettings) -> None:
    """Copy the journal's labels into the file; only then is the journal emptied."""
    if len(journal) == 0:
        return
    store_of(settings.label).write(output, journal, settings.precision)
    journal.clear()
