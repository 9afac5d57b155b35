"""Splitting a data set into training, validation and test sets.

What counts is what is bonded: spellings of one molecule are one, and an entry of several molecules (a dimer)
goes where the strictest of them does, so that no molecule of the test is part of anything in training.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from helm_ase.errors import SettingError, StructureError
from helm_ase.labels.source import LabelSource
from helm_ase.representation.bond_graph import parts_of_geometry, parts_of_smiles
from helm_ase.system.terminal import progress_bar

Parts = dict[str, NDArray[np.int64]]
"""Name of every part → ascending indices; ``train`` is always there."""

RULES = ("molecule", "hash", "smiles", "frame", "recorded")
DEFAULT_SHARES = {"val": 0.05, "test": 0.05}
HASH_SHARES = {"val": 0.04, "test": 0.06}
"""Default shares when splitting by hash, which is how the labels of the shipped models were split."""
ALWAYS_TRAIN_HEAVY_ATOMS = 2
"""Molecules with at most this many heavy atoms always belong to the training set, as there are few of
them."""
_SMILES_ATOM = re.compile(r"\[\d*([A-Z][a-z]?|[a-z]{1,2})[^\]]*\]|(Br|Cl|[BCNOPSFIbcnops])")


def divide(
    source: LabelSource,
    by: str = "molecule",
    shares: Mapping[str, float | None] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Parts:
    """Divide the entries of a file.

    Parameters
    ----------
    source
        Open file.
    by
        ``molecule``, ``hash`` (of what is bonded), ``smiles`` (hash of the spelling), ``frame``, ``recorded``
        for the split that the file names, or ``official:NAME`` for a published one.
    shares
        Shares of ``val`` and ``test``; absent or None: 0.05 each, by hash 0.04 and 0.06.
    seed
        For ``molecule`` and ``frame``.
    progress
        Show a bar while the molecules are told apart.

    Raises
    ------
    SettingError
        If the rule is unknown, or the shares do not suit it.
    DatasetError
        If there is no such published split, or an entry cannot be read.
    """
    given = {name: share for name, share in (shares or {}).items() if share is not None}
    rule, _, name = by.partition(":")
    if rule == "official":
        return {k: np.asarray(v, dtype=np.int64) for k, v in source.official_split(name).items()}
    if rule not in RULES or name:
        raise SettingError(f"unknown rule {by!r}; allowed: {', '.join(RULES)}, official:NAME")
    if rule == "frame":
        return split_by_frame(len(source), DEFAULT_SHARES | given, seed)
    entries = progress_bar(range(len(source)), desc="molecules", unit="mol", disable=not progress)
    if rule == "recorded":
        return split_as_recorded(source, entries, given)
    if rule == "molecule":
        return split_by_molecule(_molecules(source, entries), DEFAULT_SHARES | given, seed)
    smiles = [source.smiles_of(k) for k in entries]
    if nameless := [k for k, s in enumerate(smiles) if not s]:
        raise SettingError(
            f"{source.path}: {len(nameless)} entries have no SMILES (first: {source.name_of(nameless[0])}): "
            f"divide by molecule instead"
        )
    val, test = (given.get(part, default) for part, default in HASH_SHARES.items())
    return split_by_hash(smiles, _percent(test), _percent(val), rule == "smiles")


def split_as_recorded(source: LabelSource, entries: Iterable[int], shares: Mapping[str, float]) -> Parts:
    """Split the entries as they state it themselves.

    Raises
    ------
    SettingError
        If entries state no split, or shares are given.
    """
    if shares:
        raise SettingError("--val and --test are shares; a recorded split has its own: leave them out")
    names = [source.split_of(k) for k in entries]
    if nameless := names.count(""):
        raise SettingError(
            f"{source.path}: {nameless} of {len(names)} entries record no split: divide by molecule or hash"
        )
    recorded = np.asarray(names)
    return {name: np.flatnonzero(recorded == name).astype(np.int64) for name in sorted(set(names))}


def _molecules(source: LabelSource, entries: Iterable[int]) -> list[tuple[str, ...]]:
    """Molecules of every entry; one that is named in some entries only, or in several ways, is still one."""
    smiles = [source.smiles_of(k) for k in entries]
    if not any(smiles) and type(source).molecule_of is not LabelSource.molecule_of:
        return [(source.molecule_of(k),) for k in range(len(smiles))]
    graphs = []
    spelled: dict[str, str] = {}
    for k, text in enumerate(smiles):
        parts = _parts_of(text) or parts_of_geometry(source[k].numbers, source[k].positions)
        graphs.append(parts)
        for part, spelling in zip(parts, text.split(".") if text else (), strict=False):
            spelled[part] = min(spelled.get(part, spelling), spelling)
    return [tuple(spelled.get(part, part) for part in parts) for parts in graphs]


def _parts_of(smiles: str) -> tuple[str, ...]:
    try:
        return parts_of_smiles(smiles) if smiles else ()
    except StructureError:  # the text may not be a valid SMILES
        return ()


def _percent(share: float) -> int:
    percent = round(100 * share)
    if abs(100 * share - percent) > 1e-9:
        raise SettingError(
            f"a share of {share} is not a whole number of percent, which dividing by hash needs"
        )
    return percent


def split_by_molecule(
    ids: Sequence[str | tuple[str, ...]], fractions: Mapping[str, float], seed: int = 0
) -> Parts:
    """Divide so that all frames of one molecule stay together.

    Molecules are ranked by a hash of their name and the seed and handed out until each part has its share
    of the frames; the order of the entries does not matter.  An entry of several molecules goes to the last
    part that one of them is in, so that training never sees a molecule of the others; their shares grow by
    that.

    Parameters
    ----------
    ids
        Molecule of every entry, or its molecules.
    fractions
        Share of the entries for each part besides ``train``, which gets the rest.
    seed
        Another seed, another division.

    Raises
    ------
    SettingError
        If the fractions make no sense or there are fewer molecules than parts.
    """
    _check_fractions(fractions)
    molecules = [(x,) if isinstance(x, str) else tuple(sorted(set(x))) for x in ids]
    counts = Counter(name for names in molecules for name in names)
    names = sorted(counts)
    frames = np.array([counts[name] for name in names], dtype=np.int64)
    wanted = [part for part, share in fractions.items() if share > 0]
    if len(names) <= len(wanted):
        raise SettingError(
            f"{len(names)} molecules cannot be divided into {len(wanted) + 1} parts without sharing one; "
            f"divide by frame, or ask for fewer parts"
        )
    ranked = sorted(range(len(names)), key=lambda k: _digest(f"{seed}:{names[k]}"))
    owner = np.full(len(names), -1)
    for part, share in enumerate(fractions.values()):
        if share > 0:
            reserved = sum(f > 0 for f in list(fractions.values())[part + 1 :]) + 1  # training needs one, too
            taken = _fill(ranked, frames, share * len(ids), len(ranked) - reserved)
            owner[taken] = part
            ranked = [k for k in ranked if owner[k] == -1]
    of = dict(zip(names, owner.tolist(), strict=True))
    return _collect(np.array([max(of[name] for name in entry) for entry in molecules], dtype=int), fractions)


def _fill(ranked: Sequence[int], frames: NDArray[np.int64], room: float, most: int) -> list[int]:
    """Take molecules in turn as long as each brings the number of frames closer to ``room``."""
    taken: list[int] = []
    for k in ranked:
        if len(taken) < most and frames[k] <= 2 * room:
            taken.append(k)
            room -= frames[k]
    return taken or [min(ranked, key=lambda k: int(frames[k]))]


def split_by_frame(count: int, fractions: Mapping[str, float], seed: int = 0) -> Parts:
    """Divide the entries at random, wherever their molecules end up.

    Frames of one trajectory are nearly copies of one another: an error measured this way says how well a
    model interpolates, not how it does on a new molecule.

    Parameters
    ----------
    count
        Number of entries.
    fractions
        Share of each part besides ``train``.
    seed
        Seed of the shuffle.

    Raises
    ------
    SettingError
        If the fractions make no sense.
    """
    _check_fractions(fractions)
    owner = np.full(count, -1)
    order = np.random.default_rng(seed).permutation(count)
    begin = 0
    for part, share in enumerate(fractions.values()):
        end = begin + round(share * count)
        owner[order[begin:end]] = part
        begin = end
    return _collect(owner, fractions)


def split_by_hash(
    smiles: Sequence[str], test_percent: int = 6, val_percent: int = 4, spelling: bool = False
) -> Parts:
    """Divide by a rule that needs no list: what is test today is test in every file ever made.

    h = sha256(name of the bond graph) mod 100 for each molecule of an entry; h < ``test_percent``: test; of
    the rest, h < ``test_percent`` + ``val_percent``: val; else train.  Molecules of one or two heavy atoms
    always train.  The name is that of :func:`helm_ase.representation.bond_graph.parts_of_smiles`; an entry
    of several molecules is test if one of them is, else val if one of them is.

    Parameters
    ----------
    smiles
        Canonical SMILES of every entry, as RDKit writes them.
    test_percent, val_percent
        Shares in whole percent.
    spelling
        Hash the SMILES themselves, of a dimer also the whole, its parts sorted and joined by '.': the rule by
        which the labels of the published models were divided.  Two spellings of one molecule may part.

    Raises
    ------
    SettingError
        If an entry has no SMILES, or the shares make no sense.
    """
    if test_percent < 0 or val_percent < 0 or test_percent + val_percent >= 100:
        raise SettingError(f"{test_percent} % test and {val_percent} % validation leave nothing to train on")
    if empty := [k for k, s in enumerate(smiles) if not s]:
        raise SettingError(
            f"{len(empty)} entries have no SMILES (first: index {empty[0]}): divide by molecule instead"
        )
    parts = {s: _strictest(_hashed_names(s, spelling), test_percent, val_percent) for s in set(smiles)}
    return _collect(np.array([parts[s] for s in smiles], dtype=int), ("val", "test"))


def _hashed_names(smiles: str, spelling: bool) -> list[str]:
    """What is hashed of an entry: its molecules that are not too small."""
    fragments = sorted(smiles.split("."))
    large = [f for f in fragments if heavy_atoms(f) > ALWAYS_TRAIN_HEAVY_ATOMS]
    if not spelling:
        return [(_parts_of(f) or (f,))[0] for f in large]
    return large if len(fragments) == 1 else [".".join(fragments), *large]


def _strictest(names: Sequence[str], test_percent: int, val_percent: int) -> int:
    """0 for validation, 1 for test, −1 for training."""
    lowest = min((int(_digest(name), 16) % 100 for name in names), default=100)
    return 1 if lowest < test_percent else 0 if lowest < test_percent + val_percent else -1


def heavy_atoms(smiles: str) -> int:
    """Count the atoms of a SMILES that are not hydrogen.

    Examples
    --------
    >>> heavy_atoms("[2H]C([2H])([2H])[O-]"), heavy_atoms("c1cc[nH]c1Cl"), heavy_atoms("[H][H]")
    (2, 6, 0)
    """
    return sum((bracket or plain) != "H" for bracket, plain in _SMILES_ATOM.findall(smiles))


def _check_fractions(fractions: Mapping[str, float]) -> None:
    if any(not 0 <= f < 1 for f in fractions.values()) or sum(fractions.values()) >= 1:
        given = ", ".join(f"{k} {v:g}" for k, v in fractions.items())
        raise SettingError(
            f"shares {given}: each must lie in [0, 1), and their sum must leave some to train on"
        )
    if "train" in fractions:
        raise SettingError("the training part gets the rest; give the shares of the others only")


def _collect(owner: NDArray[np.integer], parts: Iterable[str]) -> Parts:
    """Indices of each part from the part of each entry, −1 for training."""
    indices = {name: np.flatnonzero(owner == k).astype(np.int64) for k, name in enumerate(parts)}
    return {"train": np.flatnonzero(owner == -1).astype(np.int64)} | indices


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
