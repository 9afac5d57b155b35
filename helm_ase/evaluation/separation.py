"""Scores of how well embeddings separate elements, and environments of one element."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helm_ase.evaluation.embedding import Embeddings
from helm_ase.evaluation.report import table, write_text

NEIGHBOURS = 15
LARGEST_SAMPLE = 4000
"""Atoms; all distances between them are computed."""
CHUNK = 500


@dataclass(frozen=True)
class Scores:
    """Scores of the separation of classes; every class has the same weight, whatever its number of atoms."""

    silhouette: float
    """Mean silhouette, −1 … 1; 1: classes far apart and tight."""
    purity: float
    """Share of an atom's class among its nearest neighbours in other molecules, 0 … 1.  Of them as many are
    looked at as there are such atoms of its class, at most 15."""
    chance: float
    """Purity of random embeddings."""


def compare(
    trained: Embeddings, random: Embeddings, seed: int = 42
) -> dict[str, dict[str, dict[str, Scores]]]:
    """Scores by class, by degree and by weights.

    Parameters
    ----------
    trained, random
        Embeddings of the same atoms by the model and by random weights.
    seed
        Seed of the choice of atoms, where there are very many.

    Returns
    -------
    dict
        ``element`` or ``environment`` → ``l=0``, ``l=1``, …, ``all`` (all degrees side by side) →
        ``trained`` or ``random`` → scores.
    """
    count = len(trained.numbers)
    chosen = np.random.default_rng(seed).permutation(count)[:LARGEST_SAMPLE]
    molecule = trained.molecule[chosen]
    classes = {"element": trained.numbers[chosen], "environment": trained.environment[chosen]}
    return {
        kind: {
            name: {
                weights: scores(_features(embeddings, chosen, name), labels, molecule)
                for weights, embeddings in (("trained", trained), ("random", random))
            }
            for name in [f"l={l}" for l in trained.degrees] + ["all"]
        }
        for kind, labels in classes.items()
    }


def _features(embeddings: Embeddings, chosen: NDArray[np.int64], name: str) -> NDArray[np.float32]:
    values = embeddings.values[chosen]
    return values.reshape(len(values), -1) if name == "all" else values[:, int(name.removeprefix("l="))]


def scores(
    features: NDArray[np.floating], labels: NDArray[Any], molecule: NDArray[np.int64], k: int = NEIGHBOURS
) -> Scores:
    """Silhouette and purity of labelled points.

    Parameters
    ----------
    features
        (N, F).
    labels
        Class of every point, (N,).
    molecule
        Points of one molecule are no neighbours of each other, (N,).
    k
        Neighbours to look at.
    """
    _, codes = np.unique(labels, return_inverse=True)
    x, c = torch.from_numpy(features).double(), torch.from_numpy(codes.reshape(-1))
    owner = torch.from_numpy(molecule)
    member = torch.nn.functional.one_hot(c).double()  # (N, classes)
    silhouettes, purities, chances = [], [], []
    for rows in torch.arange(len(x)).split(CHUNK):
        distances = torch.cdist(x[rows], x, compute_mode="donot_use_mm_for_euclid_dist")
        silhouettes.append(_silhouette(distances @ member, c[rows], member.sum(0)))
        apart = owner[rows, None] != owner[None]
        same = c[rows, None] == c[None]
        purities.append(_purity(distances.masked_fill(~apart, math.inf), same, (apart & same).sum(1), k))
        chances.append((apart & same).sum(1).double() / apart.sum(1))
    chance = torch.cat(chances)
    chance[torch.isnan(torch.cat(purities))] = math.nan
    return Scores(*(_balanced(values, c) for values in (torch.cat(silhouettes), torch.cat(purities), chance)))


def _silhouette(sums: Tensor, own: Tensor, size: Tensor) -> Tensor:
    """Silhouette of points with summed distances to every class, (n, classes); NaN in classes of one."""
    if len(size) < 2:
        return torch.full((len(own),), math.nan, dtype=torch.float64)
    at = own[:, None]
    inner = sums.gather(1, at)[:, 0] / (size[own] - 1)
    outer = (sums / size).scatter(1, at, math.inf).min(1).values
    larger = torch.maximum(inner, outer)
    value = torch.where(larger > 0, (outer - inner) / larger, torch.zeros_like(larger))
    return torch.where(size[own] > 1, value, torch.nan)


def _purity(distances: Tensor, same: Tensor, available: Tensor, k: int) -> Tensor:
    """Share of the own class among the nearest points; NaN where no other molecule has it."""
    k = min(k, distances.shape[1])
    nearest = distances.topk(k, largest=False).indices
    looked_at = torch.arange(k)[None] < available[:, None]  # (n, k)
    hits = (same.gather(1, nearest) & looked_at).sum(1)
    return hits / looked_at.sum(1).double()


def _balanced(values: Tensor, classes: Tensor) -> float:
    """Mean over classes of the mean over their known values."""
    known = ~torch.isnan(values)
    if not known.any():
        return math.nan
    count = torch.bincount(classes[known])
    means = torch.bincount(classes[known], values[known].double()) / count
    return float(means[count > 0].mean())


def as_text(scores: Mapping[str, Mapping[str, Mapping[str, Scores]]]) -> str:
    """Markdown table."""
    rows = [
        [kind, name, *(_number(getattr(s[weights], score)) for score in ("silhouette", "purity")
                       for weights in ("trained", "random")), _number(s["trained"].chance)]
        for kind, degrees in scores.items() for name, s in degrees.items()
    ]  # fmt: skip
    header = [
        "by",
        "degree",
        "silhouette",
        "random weights",
        f"purity of {NEIGHBOURS}",
        "random weights",
        "chance",
    ]
    return table(header, rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def write(
    path: Path, facts: Mapping[str, Any], separations: Mapping[str, Mapping[str, Mapping[str, Scores]]]
) -> None:
    """Write facts and scores as JSON; numbers that do not exist are null."""
    scores = {
        kind: {
            name: {
                weights: {k: None if math.isnan(v) else v for k, v in asdict(s).items()}
                for weights, s in pair.items()
            }
            for name, pair in degrees.items()
        }
        for kind, degrees in separations.items()
    }
    content = {**facts, "neighbours": NEIGHBOURS, "largest_sample": LARGEST_SAMPLE, "scores": scores}
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
