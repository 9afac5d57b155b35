"""Journal of a campaign: a file to which every label is written as soon as it is finished."""

import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from helm_ase.labels.record_log import RecordLog
from helm_ase.representation.labelled import LabelledMolecule
from helm_ase.representation.labelled_crystal import LabelledCrystal
from helm_ase.representation.lattice import Lattice
from helm_ase.representation.level import LevelOfTheory

Label = LabelledMolecule | LabelledCrystal


class Journal:
    """Finished labels of one campaign, in the order in which they came; use it as a context.

    Parameters
    ----------
    path
        File; created if absent.
    level
        Level of theory of the campaign.

    Raises
    ------
    DatasetError
        If another process is writing to it, or it belongs to another level of theory.
    """

    def __init__(self, path: str | Path, level: LevelOfTheory) -> None:
        self._log = RecordLog(path, json.dumps({"labels of": level.written}).encode(), writable=True)

    def __enter__(self) -> "Journal":
        self._log.__enter__()
        damaged = len(self._log.verify()) + self._log.damaged
        if damaged:
            text = f"{self._log.path}: {damaged} damaged records, whose molecules are labelled again"
            warnings.warn(text, stacklevel=2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if len(self) == 0 and not self._log.damaged:  # everything is in the label file, or nothing was done
            self._log.path.unlink(missing_ok=True)
        self._log.close()

    def __len__(self) -> int:
        return len(self._log)

    def __iter__(self) -> Iterator[Label]:
        """Read the labels, one at a time."""
        for key in self._log.index:
            yield decode(self._log.read(key))

    @property
    def keys(self) -> set[str]:
        """Fingerprints of the structures labelled."""
        return set(self._log.index)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self._log.size

    def add(self, label: Label) -> None:
        """Append one label; it is on the disk when this returns."""
        self._log.append(label.key, encode(label))

    def clear(self) -> None:
        """Remove all labels, once they are in the label file."""
        self._log.clear()


def encode(label: Label) -> bytes:
    """Record → bytes: arrays as npz, the rest as JSON inside it."""
    values = {f.name: getattr(label, f.name) for f in fields(label)}
    if isinstance(lattice := values.pop("lattice", None), Lattice):
        values |= {"cell": lattice.cell, "pbc": lattice.pbc}
    arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
    rest = {k: v for k, v in values.items() if k not in arrays and v is not None}
    rest["details"] = dict(rest["details"])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays, rest=np.frombuffer(json.dumps(rest).encode(), np.uint8))
    return buffer.getvalue()


def decode(payload: bytes) -> Label:
    """Bytes → record; nothing is unpickled."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
        arrays: dict[str, Any] = {k: archive[k] for k in archive.files if k != "rest"}
        rest = json.loads(archive["rest"].tobytes())
    if "cell" in arrays:
        lattice = Lattice(arrays.pop("cell"), arrays.pop("pbc"))
        return LabelledCrystal(lattice=lattice, mesh=tuple(rest.pop("mesh")), **arrays, **rest)
    return LabelledMolecule(**arrays, **rest)
