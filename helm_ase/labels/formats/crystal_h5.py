"""Recognition of files of labelled crystals, which commands for molecules cannot read."""

from pathlib import Path

import h5py

from helm_ase.errors import DatasetError
from helm_ase.labels.crystals import LAYOUT
from helm_ase.labels.source import LabelSource

DESCRIPTION = "labelled crystals (read with helm_ase.labels.crystals; no molecules)"
PATTERNS = ("*.h5", "*.hdf5")


def recognises(path: Path) -> bool:
    """Whether the file says that it holds crystals."""
    with h5py.File(path, "r") as file:
        layout = file.attrs.get("layout", "")
    return (layout.decode() if isinstance(layout, bytes) else layout) == LAYOUT


def open_source(path: Path) -> LabelSource:
    """Refuse: a label of a crystal is not a label of a molecule.

    Raises
    ------
    DatasetError
        With the way out.
    """
    raise DatasetError(
        f"{path} holds crystals, not molecules: read it with helm_ase.labels.crystals.CrystalSource, train "
        f"on it with helm_ase.training.crystals"
    )
