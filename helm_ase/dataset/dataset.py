"""Data set of samples, which are read from a label file on demand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from helm_ase.dataset.derived import VIRTUALS, DerivationSettings
from helm_ase.dataset.derived_cache import DerivedCache, cache_path
from helm_ase.dataset.position import PositionIntegrals
from helm_ase.dataset.sample import Sample, make_sample
from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.source import LabelSource
from helm_ase.qc.level import Baseline
from helm_ase.qc.molecule import ao_basis, check_basis_name
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.level import LevelOfTheory, physical_differences
from helm_ase.system.terminal import progress_bar


class MoleculeDataset(Sequence[Sample]):
    """Some molecules of one label file, as samples.

    Nothing is kept in memory unless asked for: a sample is read from the label file and from the cache of
    derived quantities each time.  It may be sent to worker processes.

    Parameters
    ----------
    source
        Label file.
    indices
        Which of its entries; absent: all.
    baseline
        H0 to subtract.
    cutoff
        Largest pair distance in Å.
    cache
        Folder of the derived quantities; absent: beside the label file.
    virtuals
        Reference virtual orbitals kept for losses that see the spectrum.
    in_memory
        Keep every sample that was read; for sets that fit.
    observables
        Also what the losses of observables need: samples have ``targets``.
    model_basis
        Basis of the model where it is a smaller one than the labels': H0, S and integrals are in it, the
        observables to aim at are those of the labels, and there is no ``correction``.
    coupled_polarizability
        Aim at the labels' coupled polarizability, where they have one, and not at the uncoupled one of H.
    energy_baseline
        E0 to subtract; it also gives the charges for H0.
    matrices
        Whether H0, S and the Hamiltonians of the labels are wanted; without them samples have graphs,
        energies and forces, and cost little.

    Raises
    ------
    BasisError
        If PySCF has no such basis.
    """

    def __init__(
        self,
        source: LabelSource,
        indices: Sequence[int] | NDArray[np.int64] | None = None,
        baseline: Baseline | None = None,
        cutoff: float = 12.0,
        cache: str | Path | None = None,
        virtuals: int = VIRTUALS,
        in_memory: bool = False,
        observables: bool = False,
        model_basis: str | None = None,
        coupled_polarizability: bool = False,
        energy_baseline: EnergyBaseline | None = None,
        matrices: bool = True,
    ) -> None:
        self.source, self.cutoff, self.in_memory = source, cutoff, in_memory
        self.indices = np.arange(len(source)) if indices is None else np.asarray(indices, dtype=np.int64)
        self.basis = (model_basis or source.level.basis).lower()
        if model_basis is not None:
            check_basis_name(model_basis)
        smaller = self.basis if self.basis != source.level.basis.lower() else None
        e0 = energy_baseline or EnergyBaseline()
        settings = DerivationSettings(source.level, baseline or Baseline(), virtuals, smaller, e0, matrices)
        self.settings = settings
        self.derived = DerivedCache(cache_path(source.path, settings, cache), settings)
        integrals = PositionIntegrals(self.basis)
        self.position = DerivedCache(cache_path(source.path, integrals, cache), integrals)
        self.observables = matrices and (observables or smaller is not None)
        self.coupled_polarizability = coupled_polarizability
        self._shells: dict[str, dict[int, tuple[int, ...]]] = {}
        self._kept: dict[int, Sample] = {}
        self._loads: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def label(self, index: int) -> LabelledMolecule:
        """Label of one molecule, in PySCF's AO order."""
        return self.source[int(self.indices[index])]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Read one sample, or those of a slice.

        Raises
        ------
        DatasetError
            If it cannot be read or does not fit its level of theory.
        """
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if index not in self._kept:
            sample = self._read(index)
            if not self.in_memory:
                return sample
            self._kept[index] = sample
        return self._kept[index]

    def _read(self, index: int) -> Sample:
        label = self.label(index)
        size = self._size(self.source.level.basis, label)
        if label.functions not in (0, size):
            raise DatasetError(
                f"{self.source.path}, entry {label.name}: {label.functions} functions, but "
                f"{self.source.level.basis} has {size}"
            )
        self._size(self.basis, label)
        position = self.position.get(label) if self.observables else None
        shells, derived = self._shells[self.basis], self.derived.get(label)
        return make_sample(label, derived, shells, self.cutoff, position, self.coupled_polarizability)

    def _size(self, basis: str, label: LabelledMolecule) -> int:
        """Functions that a basis has for a molecule; its shells are looked up once."""
        known = self._shells.setdefault(basis.lower(), {})
        if new := set(label.numbers.tolist()) - set(known):
            known |= ao_basis(basis, sorted(new)).shells
        return sum(2 * l + 1 for z in label.numbers.tolist() for l in known[z])

    def prepare(self, processes: int = 1) -> "MoleculeDataset":
        """Compute missing H0, integrals and orbitals and store them in the cache; returns the data set
        itself."""
        if self.settings.matrices or self.settings.energy_baseline:
            self.derived.fill(self.source, self.indices.tolist(), processes)
        if self.observables:
            self.position.fill(self.source, self.indices.tolist(), processes)
        return self

    @property
    def loads(self) -> NDArray[np.int64]:
        """Atoms and pairs of every molecule, (M,); read once."""
        if self._loads is None:
            bar = progress_bar(
                self, desc=f"sizes of {self.source.path.name}", unit="mol", disable=len(self) < 10_000
            )
            self._loads = np.array([sample.load for sample in bar], dtype=np.int64)
        return self._loads

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}


def open_dataset(
    path: str | Path,
    split: str | None = None,
    level: LevelOfTheory | None = None,
    limit: int | None = None,
    **options: Any,
) -> MoleculeDataset:
    """Molecules of one split of a label file, H0 computed and cached, samples kept in memory.

    Parameters
    ----------
    path
        Label file in any known format.
    split
        ``train``, ``val``, …, as the file names it; absent: everything.
    level
        Level of theory that the labels must have; for files that do not say, the one they have.
    limit
        Only the first so many.
    options
        Options of :class:`MoleculeDataset`.

    Raises
    ------
    DatasetError
        If the file cannot be read, has another level of theory, or no molecule of that split.
    """
    source = open_labels(path)
    if level is not None and not source.level_is_recorded:
        source.level = level
    elif level is not None and (other := physical_differences(source.level, level)):
        raise DatasetError(f"{path} holds labels of another level of theory ({other})")
    indices = [k for k in range(len(source)) if split is None or source.split_of(k) == split][:limit]
    if not indices:
        raise DatasetError(f"{path} has no molecules of split {split!r}: 'helm-ase data split' makes splits")
    return MoleculeDataset(source, indices, **({"in_memory": True} | options)).prepare()
