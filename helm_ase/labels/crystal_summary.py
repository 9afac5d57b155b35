"""Summary of a file of labelled crystals, for ``helm-ase data info``."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from helm_ase.labels.crystals import CrystalSource
from helm_ase.labels.formats import crystal_h5
from helm_ase.representation.level import LevelOfTheory

KINDS = {0: "molecules", 1: "chains", 2: "slabs", 3: "bulk"}
ANSWERS = ("energy", "forces", "stress")


@dataclass(frozen=True)
class CrystalSummary:
    """Contents of one file."""

    path: str
    bytes: int
    crystals: int
    level: LevelOfTheory
    kinds: dict[str, int]
    """Chains, slabs, bulk → crystals."""
    atoms: tuple[int, int]
    """Smallest and largest number of atoms in a cell."""
    orbitals: tuple[int, int]
    """Smallest and largest number of AOs of a cell."""
    elements: dict[str, int]
    """Symbol → crystals that have it."""
    meshes: dict[str, int]
    """Mesh of k points → crystals."""
    answers: dict[str, int]
    """Name of the answer → crystals that have it, besides F(k), which all have."""
    splits: dict[str, int]
    """Name of the part → crystals; ``-`` where the file names none."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)

    @property
    def text(self) -> str:
        """Everything, for people."""
        rows = {
            "crystals": f"{self.crystals}: {_counts(self.kinds)}",
            "level": ", ".join(f"{k} {v}" for k, v in asdict(self.level).items() if v != ""),
            "atoms": "{} to {}".format(*self.atoms),
            "AOs": "{} to {}".format(*self.orbitals),
            "elements": _counts(self.elements),
            "k points": _counts(self.meshes),
            "answers": _counts({"F(k)": self.crystals, **self.answers}),
            "splits": _counts(self.splits),
        }
        lines = [f"  {key:<20} {value}" for key, value in rows.items()]
        return "\n".join([f"{self.path}  (crystals, {self.bytes / 1e6:.1f} MB)", *lines])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in counts.items())


def holds_crystals(path: str | Path) -> bool:
    """Whether this is a file of labelled crystals."""
    try:
        return Path(path).suffix.lower() in (".h5", ".hdf5") and crystal_h5.recognises(Path(path))
    except OSError:  # no HDF5, or not there
        return False


def summarise_crystals(path: str | Path) -> CrystalSummary:
    """Summarise a file.

    Raises
    ------
    DatasetError
        If it cannot be read.
    """
    source = CrystalSource(path)
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("kinds", "elements", "meshes", "answers", "splits")
    }
    atoms: list[int] = []
    orbitals: list[int] = []
    for k in range(len(source)):
        label = source[k]
        counts["kinds"][KINDS[label.lattice.dimensions]] += 1
        counts["elements"].update(chemical_symbols[z] for z in np.unique(label.numbers))
        counts["meshes"]["×".join(map(str, label.mesh))] += 1
        counts["answers"].update(name for name in ANSWERS if getattr(label, name) is not None)
        counts["splits"][label.split or "-"] += 1
        atoms.append(len(label.numbers))
        orbitals.append(label.fock.shape[-1])
    plain = {name: dict(sorted(counter.items())) for name, counter in counts.items()}
    return CrystalSummary(
        str(path), Path(path).stat().st_size, len(source), source.level,
        atoms=_range(atoms), orbitals=_range(orbitals), **plain,
    )  # fmt: skip


def _range(values: list[int]) -> tuple[int, int]:
    """Smallest and largest; zeros if there is none."""
    return min(values, default=0), max(values, default=0)
