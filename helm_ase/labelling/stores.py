"""Label files that a campaign writes: one layout for molecules, another for crystals."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from helm_ase.errors import DatasetError
from helm_ase.labelling.journal import Label
from helm_ase.labels.crystal_summary import holds_crystals
from helm_ase.labels.crystals import CrystalSource, write_crystals
from helm_ase.labels.formats.helm_h5 import HelmH5Source
from helm_ase.labels.writer import IN_FILE, LabelWriter
from helm_ase.qc.crystal import crystal_basis
from helm_ase.qc.crystal_labelling import CrystalLabelSettings
from helm_ase.qc.labelling import LabelSettings
from helm_ase.qc.molecule import ao_basis, check_basis_name
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.level import LevelOfTheory, differences

AnyLabelSettings = LabelSettings | CrystalLabelSettings
Precision = Literal["float32", "float64"]


class Store(Protocol):
    """What a campaign needs to know about its label file."""

    def check(self, elements: Sequence[int]) -> None:
        """Refuse settings with which every structure of these elements would fail."""

    def entries(self, output: Path) -> dict[str, str]:
        """Key → name of the labels in the file; none if there is no file."""

    def write(self, output: Path, labels: Iterable[Label], precision: Precision) -> None:
        """Add those labels to the file that it does not have yet."""

    def lacking(self, output: Path, keys: set[str]) -> tuple[str, ...]:
        """Requested quantities that some labels of the file with these keys do not have."""


def store_of(settings: AnyLabelSettings) -> Store:
    """Store for labels of these settings."""
    return CrystalStore(settings) if isinstance(settings, CrystalLabelSettings) else MoleculeStore(settings)


def check_level(output: Path, theirs: LevelOfTheory, ours: LevelOfTheory) -> None:
    """Refuse a file of another level of theory.

    Raises
    ------
    DatasetError
        Naming the differences.
    """
    if theirs != ours:
        unlike = differences(theirs, ours, IN_FILE)
        raise DatasetError(f"{output} holds labels of another level ({unlike}): use another output")


class MoleculeStore:
    """Files of labelled molecules."""

    def __init__(self, settings: LabelSettings) -> None:
        self.settings = settings

    def check(self, elements: Sequence[int]) -> None:
        """Refuse a basis that lacks one of the elements.

        Raises
        ------
        BasisError
            If PySCF has no such basis.
        """
        level = self.settings.level
        ao_basis(level.basis, elements)
        if level.auxiliary_basis:
            check_basis_name(level.auxiliary_basis)

    def entries(self, output: Path) -> dict[str, str]:
        """Key → name of the labels in the file.

        Raises
        ------
        DatasetError
            If it belongs to another level of theory, or holds crystals.
        """
        if not output.exists():
            return {}
        if holds_crystals(output):
            raise DatasetError(f"{output} holds crystals, not molecules: use another output")
        with HelmH5Source(output) as file:
            check_level(output, file.level, self.settings.level)
            return {file.key_of(k): file.name_of(k) for k in range(len(file))}

    def write(self, output: Path, labels: Iterable[Label], precision: Precision) -> None:
        """Add what the file does not have yet."""
        with LabelWriter(output, self.settings.level, append=True, precision=precision) as file:
            for label in labels:
                assert isinstance(label, LabelledMolecule)
                if label.key in file:  # killed between writing the file and emptying the journal
                    continue
                if file.has_name(label.name):
                    label = replace(label, name=f"{label.name}-{label.key[:8]}")
                file.add(label)

    def lacking(self, output: Path, keys: set[str]) -> tuple[str, ...]:
        """Requested quantities that some of the labels do not have."""
        asked = self.settings
        wanted = {"forces": asked.forces, "density": asked.density, "polarizability": asked.polarizability}
        if not keys or not any(wanted.values()):
            return ()
        with HelmH5Source(output) as file:
            rows = np.flatnonzero(np.isin(file.keys, sorted(keys)))
            there = {name: file.has(name)[rows].all() for name, wish in wanted.items() if wish}
        return tuple(name for name, whole in there.items() if not whole)


class CrystalStore:
    """Files of labelled crystals; matrices are double precision, whatever is asked for."""

    def __init__(self, settings: CrystalLabelSettings) -> None:
        self.settings = settings

    def check(self, elements: Sequence[int]) -> None:
        """Refuse a valence basis that lacks one of the elements.

        Raises
        ------
        BasisError
            If PySCF has no such basis or pseudopotential.
        """
        crystal_basis(self.settings.level, elements)

    def entries(self, output: Path) -> dict[str, str]:
        """Key → name of the labels in the file.

        Raises
        ------
        DatasetError
            If it belongs to another level of theory.
        """
        return {label.key: label.name for label in self._labels(output)}

    def _labels(self, output: Path) -> Sequence[LabelledCrystal]:
        if not output.exists():
            return ()
        source = CrystalSource(output)
        check_level(output, source.level, self.settings.level)
        return source

    def write(self, output: Path, labels: Iterable[Label], precision: Precision) -> None:
        """Add what the file does not have yet."""
        known = self.entries(output)
        new = []
        for label in labels:
            assert isinstance(label, LabelledCrystal)
            if label.key in known:
                continue
            if label.name in known.values():
                label = replace(label, name=f"{label.name}-{label.key[:8]}")
            known[label.key] = label.name
            new.append(label)
        write_crystals(output, new, self.settings.level, append=True)

    def lacking(self, output: Path, keys: set[str]) -> tuple[str, ...]:
        """Requested quantities that some of the labels do not have."""
        labels = [x for x in self._labels(output) if x.key in keys]
        bulk = [x for x in labels if x.lattice.dimensions == 3]  # others have no stress
        missing = {
            "forces": self.settings.forces and any(x.forces is None for x in labels),
            "stress": self.settings.stress and any(x.stress is None for x in bulk),
        }
        return tuple(name for name, some in missing.items() if some)
