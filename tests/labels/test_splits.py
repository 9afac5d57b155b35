"""Laws of dividing a data set."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.splits import divide, heavy_atoms, split_by_frame, split_by_hash, split_by_molecule
from helm_ase.representation.bond_graph import parts_of_smiles
from shared.stored_labels import invented, write

SHARES = {"val": 0.1, "test": 0.2}
UNHURRIED = settings(deadline=None)
IDS = st.lists(st.sampled_from([f"M{k}" for k in range(12)]), min_size=20, max_size=120)
ALKANES = ["C" * n for n in range(1, 120)]


def covers(parts, count):
    everything = np.concatenate(list(parts.values()))
    assert sorted(everything.tolist()) == list(range(count))
    assert all((np.diff(indices) > 0).all() for indices in parts.values())


def molecules(parts, ids):
    return {name: {ids[k] for k in indices} for name, indices in parts.items()}


@UNHURRIED
@given(ids=IDS, seed=st.integers(0, 5))
def test_molecules_are_in_one_part_each_and_every_entry_in_one(ids, seed):
    if len(set(ids)) < 3:
        return
    parts = split_by_molecule(ids, SHARES, seed)
    covers(parts, len(ids))
    found = molecules(parts, ids)
    assert sum(map(len, found.values())) == len(set(ids))
    assert all(found.values())


@UNHURRIED
@given(ids=IDS, data=st.data())
def test_the_order_of_the_entries_does_not_matter(ids, data):
    if len(set(ids)) < 3:
        return
    shuffled = data.draw(st.permutations(ids))
    first = molecules(split_by_molecule(ids, SHARES), ids)
    assert molecules(split_by_molecule(shuffled, SHARES), shuffled) == first


def test_shares_are_kept_where_molecules_are_many():
    ids = [f"M{k // 3}" for k in range(3000)]
    parts = split_by_molecule(ids, SHARES)
    assert len(parts["val"]) == pytest.approx(300, abs=3)
    assert len(parts["test"]) == pytest.approx(600, abs=3)


def test_a_molecule_of_most_frames_stays_in_training():
    ids = ["big"] * 900 + [f"M{k}" for k in range(100)]
    for seed in range(5):
        assert 0 in split_by_molecule(ids, {"val": 0.05}, seed)["train"]


def test_seeds_repeat_and_differ():
    ids = [f"M{k}" for k in range(100)]
    for split in (lambda s: split_by_molecule(ids, SHARES, s), lambda s: split_by_frame(100, SHARES, s)):
        assert all((a == b).all() for a, b in zip(split(1).values(), split(1).values(), strict=True))
        assert set(split(1)["test"]) != set(split(2)["test"])


@UNHURRIED
@given(count=st.integers(1, 500), seed=st.integers(0, 3))
def test_frames_are_covered_in_the_wanted_shares(count, seed):
    parts = split_by_frame(count, SHARES, seed)
    covers(parts, count)
    assert len(parts["val"]) == round(0.1 * count)


@pytest.mark.parametrize("shares", [{"val": -0.1}, {"val": 0.6, "test": 0.4}, {"val": 1.0}, {"train": 0.5}])
def test_impossible_shares_are_refused(shares):
    for split in (lambda: split_by_molecule(["a", "b", "c"], shares), lambda: split_by_frame(3, shares)):
        with pytest.raises(SettingError, match="shar"):
            split()


def test_one_molecule_cannot_be_divided_by_molecule():
    with pytest.raises(SettingError, match=r"1 molecules.*by frame"):
        split_by_molecule(["C"] * 10, SHARES)


# --- by hash ------------------------------------------------------------------------------------------


def rule(smiles, spelling=False):
    (name,) = (smiles,) if spelling else parts_of_smiles(smiles)
    h = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    return "test" if h < 6 else "val" if h < 10 else "train"


def part_of(parts, index):
    return next(name for name, indices in parts.items() if index in indices)


@pytest.mark.parametrize("spelling", [False, True])
def test_the_hash_follows_the_written_rule(spelling):
    parts = split_by_hash(ALKANES, spelling=spelling)
    covers(parts, len(ALKANES))
    assert all(part_of(parts, k) == rule(s, spelling) for k, s in enumerate(ALKANES) if len(s) > 2)
    assert {part_of(parts, k) for k in range(2)} == {"train"}
    assert all(len(indices) for indices in parts.values())


def test_each_entry_has_its_part_whatever_stands_beside_it():
    whole = split_by_hash(ALKANES)
    for k in range(0, len(ALKANES), 7):
        assert part_of(split_by_hash([ALKANES[k]]), 0) == part_of(whole, k)


def test_the_order_of_a_dimer_does_not_matter():
    pairs = [(a, b) for a in ALKANES[:30] for b in ("O", "CC=O")]
    forward, backward = (split_by_hash([".".join(p[::step]) for p in pairs]) for step in (1, -1))
    assert all((forward[name] == backward[name]).all() for name in forward)


@pytest.mark.parametrize(("one", "other"), [("CS(C)=O", "C[S+](C)[O-]"), ("CC=S", "C[CH][S]")])
def test_spellings_of_one_molecule_are_in_one_part(one, other):
    longer = [s.replace("C", "C" * n, 1) for n in range(1, 40) for s in (one, other)]
    parts = split_by_hash(longer)
    assert all(part_of(parts, k) == part_of(parts, k + 1) for k in range(0, len(longer), 2))
    assert len({part_of(parts, k) for k in range(len(longer))}) > 1


def rank(part):
    return ("train", "val", "test").index(part)


def test_a_dimer_is_where_the_strictest_of_its_molecules_is():
    pairs = [f"{a}.{b}" for a in ALKANES[2:60] for b in ("O", "CC=O", "CCCC")]
    parts = split_by_hash(pairs)
    for k, pair in enumerate(pairs):
        known = [rank(rule(s)) for s in pair.split(".") if heavy_atoms(s) > 2]
        assert rank(part_of(parts, k)) == max(known)


@UNHURRIED
@given(pairs=st.lists(st.tuples(st.sampled_from("ABCDEFGHIJ"), st.sampled_from("ABCDEFGHIJ")), min_size=30,
                      max_size=90), seed=st.integers(0, 3))  # fmt: skip
def test_training_never_sees_a_molecule_of_the_test(pairs, seed):
    if len({name for pair in pairs for name in pair}) < 4:
        return
    parts = split_by_molecule(pairs, SHARES, seed)
    covers(parts, len(pairs))
    alone = {name: {x for k in indices for x in pairs[k]} for name, indices in parts.items()}
    for k in parts["test"]:  # what sent the entry there is in no other part
        assert set(pairs[k]) - alone["train"] - alone["val"]
    for k in parts["val"]:
        assert set(pairs[k]) - alone["train"]


def test_other_shares_move_the_bounds():
    parts = split_by_hash(ALKANES, test_percent=0, val_percent=50)
    assert len(parts["test"]) == 0
    assert 0.4 < len(parts["val"]) / len(ALKANES) < 0.6
    with pytest.raises(SettingError, match="nothing to train"):
        split_by_hash(ALKANES, 60, 40)


def test_without_smiles_there_is_no_hash():
    with pytest.raises(SettingError, match=r"1 entries.*index 1"):
        split_by_hash(["CCC", ""])


@pytest.mark.parametrize(
    ("smiles", "count"),
    [("O", 1), ("[H][H]", 0), ("[2H]C", 1), ("C[O-]", 2), ("c1cc[nH]c1", 5), ("ClCCBr", 4), ("[13CH4]", 1),
     ("F[Si](F)(F)F", 5), ("[NH4+].[Cl-]", 2), ("c1cc[se]c1", 5), ("[C@@H](F)(Cl)Br", 4), ("[Na+]", 1)],
)  # fmt: skip
def test_heavy_atoms_of_smiles(smiles, count):
    assert heavy_atoms(smiles) == count


# --- of files -----------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    kinds = ["O", "C", "CO", "[H][H]"]
    labels = [invented(k, kinds[k % 4], everything=False) for k in range(16)]
    with open_labels(write(tmp_path / "labels.h5", labels)) as opened:
        yield opened


@pytest.mark.parametrize("rule", ["molecule", "frame", "hash", "smiles"])
def test_a_file_is_divided_by_each_rule(source, rule):
    shares = {"val": 0.25, "test": 0.25}
    covers(divide(source, rule, shares), 16)


def test_what_the_file_records_is_a_split(tmp_path):
    names = ["train", "val", "train", "large"]
    labels = [invented(k, "O", split=name) for k, name in enumerate(names)]
    with open_labels(write(tmp_path / "labels.h5", labels)) as source:
        found = {name: indices.tolist() for name, indices in divide(source, "recorded").items()}
        assert found == {"train": [0, 2], "val": [1], "large": [3]}
        with pytest.raises(SettingError, match="leave them out"):
            divide(source, "recorded", {"val": 0.1})
    nameless = write(tmp_path / "none.h5", [invented(0, "O", split="")])
    with open_labels(nameless) as source, pytest.raises(SettingError, match="record no split"):
        divide(source, "recorded")


def test_spellings_and_parts_of_a_file_are_divided_by_what_is_bonded(tmp_path):
    smiles = ["CS(C)=O", "C[S+](C)[O-]", "CS(C)=O.O", "CCO", "CCC", "CCN", "CCF", "CC=O"]
    labels = [invented(k, "O", smiles=s) for k, s in enumerate(smiles)]
    with open_labels(write(tmp_path / "labels.h5", labels)) as source:
        for seed in range(8):
            parts = divide(source, "molecule", {"val": 0.2, "test": 0.3}, seed)
            assert part_of(parts, 0) == part_of(parts, 1)
            assert rank(part_of(parts, 2)) >= rank(part_of(parts, 0))


def test_unknown_rules_are_refused(source):
    with pytest.raises(
        SettingError, match=r"'random'.*molecule, hash, smiles, frame, recorded, official:NAME"
    ):
        divide(source, "random")
    with pytest.raises(DatasetError, match=r"labels\.h5 has no split 'ood'"):
        divide(source, "official:ood")
    with pytest.raises(SettingError, match="whole number of percent"):
        divide(source, "hash", {"val": 0.015})


def test_files_without_smiles_are_not_divided_by_hash(tmp_path):
    nameless = [replace(invented(k, "C", everything=False), smiles="") for k in range(2)]
    source = open_labels(write(tmp_path / "x.h5", nameless))
    with pytest.raises(SettingError, match=r"x\.h5: 2 entries have no SMILES.*by molecule"):
        divide(source, "hash")
