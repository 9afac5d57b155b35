"""Predictions for many structures: a list, an iterator or a trajectory, in batches of bounded size.

A window of structures is read ahead, sorted by size and cut into batches; answers come in the order in which
the structures were given.  Only one window is kept in memory, so the number of structures is not limited.
"""

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import count
from pathlib import Path
from typing import Literal

from ase import Atoms

from helm_ase.checkpoint import Checkpoint
from helm_ase.errors import SettingError
from helm_ase.prediction.batch_engine import (
    OF_ENERGY,
    OF_HAMILTONIAN,
    BatchEngine,
    StructurePrediction,
    Task,
    batches,
)  # fmt: skip
from helm_ase.system.terminal import progress_bar

WINDOW, WINDOW_OF_MATRICES, WINDOW_ATOMS = 512, 32, 20_000
"""Structures that are read ahead, the same where matrices are asked for, and atoms of a window."""


def predict_many(
    structures: Iterable[Atoms],
    properties: Sequence[str] = OF_ENERGY,
    model: str | Path | Checkpoint | None = None,
    batch: int | Literal["auto"] = "auto",
    *,
    device: str | None = None,
    dtype: str = "float32",
    charge: int | None = None,
    multiplicity: int | None = None,
    dispersion: str | None = None,
    raise_errors: bool = False,
    progress: bool = False,
) -> Iterator[StructurePrediction]:
    """Predict properties of many structures of any sizes.

    Parameters
    ----------
    structures
        List, iterator or trajectory; read a window ahead of the answers.
    properties
        Any of ``energy``, ``forces``, ``dipole``, ``charges``, ``eigenvalues``, ``gap``,
        ``hamiltonian``, ``features``.
    model
        Name, path or URL of a checkpoint, or a loaded one; None: the default.
    batch
        Limit of atoms and pairs in a batch, ``auto``: what suits the device.  A larger structure makes a
        batch of its own, and a batch that a GPU has no memory for is halved.
    device, dtype, charge, multiplicity, dispersion
        As for :class:`~helm_ase.HELMCalculator`; what ``atoms.info`` says about the state wins.
    raise_errors
        Raise the error of a structure that cannot be computed, in place of an answer that holds it.
    progress
        Show a progress bar.

    Returns
    -------
    iterator of StructurePrediction
        One for each structure, in the order given.

    Raises
    ------
    SettingError
        If a property, the batch, the device or the dispersion is not valid, or one structure is given instead
        of several.
    UntrainedError
        If the model was not trained to predict a property.
    CheckpointError
        If the model cannot be loaded.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from helm_ase import predict_many
    >>> answers = list(predict_many([molecule("H2O"), molecule("CH4")]))
    >>> [answer.forces.shape for answer in answers]
    [(3, 3), (5, 3)]
    """
    if isinstance(structures, Atoms | str | Path):
        raise SettingError(f"predict_many takes several structures, not {structures!r}: write [atoms]")
    engine = BatchEngine.of(
        model,
        properties,
        batch,
        device=device,
        dtype=dtype,
        state=(charge, multiplicity),
        dispersion=dispersion,
    )
    return _results(structures, engine, raise_errors, progress)


def _results(
    structures: Iterable[Atoms], engine: BatchEngine, raise_errors: bool, progress: bool
) -> Iterator[StructurePrediction]:
    """Answers in the order of the structures, computed a window at a time."""
    total = len(structures) if isinstance(structures, Sized) else None
    with progress_bar(total=total, desc="predicting", unit="structure", disable=not progress) as bar:
        for window in _windows(structures, engine):
            answers = {item.index: item for item in window if isinstance(item, StructurePrediction)}
            for batch in batches([item for item in window if isinstance(item, Task)], engine.max_load):
                answers |= {answer.index: answer for answer in engine.run(batch)}
                bar.update(len(batch))
            bar.update(sum(isinstance(item, StructurePrediction) for item in window))
            for item in window:
                answer = answers.pop(item.index)
                if answer.error is not None and raise_errors:
                    raise answer.error
                yield answer


def _windows(structures: Iterable[Atoms], engine: BatchEngine) -> Iterator[list[Task | StructurePrediction]]:
    """What was read ahead: structures that can be computed, and answers for those that cannot."""
    limit = WINDOW_OF_MATRICES if engine.properties & set(OF_HAMILTONIAN) else WINDOW
    window: list[Task | StructurePrediction] = []
    atoms = 0
    for index, structure in zip(count(), structures, strict=False):
        window.append(engine.prepare(index, structure))
        atoms += len(structure) if isinstance(structure, Atoms) else 0
        if len(window) == limit or atoms > WINDOW_ATOMS:
            yield window
            window, atoms = [], 0
    if window:
        yield window
