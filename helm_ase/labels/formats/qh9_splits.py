"""The published divisions of QH9, as its authors' code makes them, with the same generators and seeds."""

import random

import numpy as np
from numpy.typing import NDArray


def random_split(count: int) -> dict[str, NDArray[np.int64]]:
    """80 : 10 : 10 at random."""
    return _parts(np.random.RandomState(43).permutation(count))


def size_split(sizes: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Up to 20 atoms for training, 21 and 22 for validation, more for the test."""
    masks = {"train": sizes <= 20, "val": (sizes == 21) | (sizes == 22), "test": sizes >= 23}
    return {part: np.flatnonzero(mask) for part, mask in masks.items()}


def geometry_split(molecules: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """80 : 10 : 10 of the geometries of each molecule; its last row is the seed."""
    parts = []
    for rows in _runs(molecules):
        order = np.random.RandomState(rows[-1]).permutation(len(rows))
        parts.append(_parts(rows[order]))
    return {name: np.concatenate([part[name] for part in parts]) for name in ("train", "val", "test")}


def molecule_split(molecules: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """80 : 10 : 10 of the molecules, shuffled by Python's generator."""
    runs = _runs(molecules)
    order = list(range(len(runs)))
    random.Random(43).shuffle(order)
    parts = _parts(np.array(order, dtype=np.int64))
    return {
        k: np.concatenate([runs[m] for m in sorted(p)] or [order[:0]]).astype(np.int64)
        for k, p in parts.items()
    }


def _runs(molecules: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of every molecule, molecules in order of appearance."""
    return [
        run for run in np.split(np.arange(len(molecules)), np.flatnonzero(np.diff(molecules)) + 1) if len(run)
    ]


def _parts(order: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    train, val = int(len(order) * 0.8), int(len(order) * 0.1)
    return {"train": order[:train], "val": order[train : train + val], "test": order[train + val :]}
