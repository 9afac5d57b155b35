"""Logs that survive being cut anywhere."""

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ase.errors import DatasetError
from helm_ase.labelling.failures import Failure, FailureList
from helm_ase.labelling.journal import Journal, decode, encode
from helm_ase.labels.record_log import RecordLog
from helm_ase.representation import LabelledMolecule, LevelOfTheory
from shared.sample_labels import TINY

TITLE = b'{"about": "tests"}'


def entry(k=0, **more):
    rng = np.random.default_rng(k)
    h = rng.normal(size=(4, 4))
    return LabelledMolecule(
        name=f"m{k}", numbers=np.array([1, 8]), positions=rng.normal(size=(2, 3)), hamiltonian=h + h.T,
        **more,
    )  # fmt: skip


def write_log(path, count=3):
    with RecordLog(path, TITLE, writable=True) as log:
        for k in range(count):
            log.append(f"key{k}", bytes([k]) * (50 * k))
        return log.size


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 600))
def test_a_log_cut_anywhere_keeps_every_whole_record_and_can_be_continued(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("log") / "log"
    size = write_log(path)
    content = path.read_bytes()[: min(cut, size)]
    path.write_bytes(content)
    with RecordLog(path, TITLE, writable=True) as log:
        kept = list(log.index)
        assert kept == [f"key{k}" for k in range(len(kept))]
        log.append("new", b"x")
    with RecordLog(path, TITLE) as log:
        assert list(log.index) == [*kept, "new"]
        assert all(log.read(f"key{k}") == bytes([k]) * (50 * k) for k in range(len(kept)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_noticed_not_returned(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "log"
    size = write_log(path)
    position = data.draw(st.integers(0, size - 1))
    content = bytearray(path.read_bytes())
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    with suppress(DatasetError), RecordLog(path, TITLE) as log:
        for key in log.index:
            assert log.read(key) == bytes([int(key[-1])]) * (50 * int(key[-1]))


def test_a_reader_ignores_a_torn_record_without_touching_the_file(tmp_path):
    path = tmp_path / "log"
    size = write_log(path)
    with open(path, "ab") as file:
        file.write(b"HELM torn")
    with RecordLog(path, TITLE) as log:
        assert len(log) == 3
    assert path.stat().st_size == size + 9


@pytest.mark.parametrize("place", [0, 30, 37, 50, 60])
def test_damage_in_the_middle_costs_one_record_not_all_behind_it(tmp_path, place):
    path = tmp_path / "x.journal"
    with Journal(path, TINY) as journal:
        starts = []
        for k in range(5):
            starts.append(journal.size)
            journal.add(entry(k))
    content = bytearray(path.read_bytes())
    content[starts[2] + place] ^= 4
    path.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="1 damaged record"):
        journal = Journal(path, TINY).__enter__()
    assert [label.name for label in journal] == ["m0", "m1", "m3", "m4"]
    journal.add(entry(2))
    assert len(journal) == 5
    journal.__exit__(None, None, None)


def test_a_second_writer_and_another_title_are_refused(tmp_path):
    path = tmp_path / "log"
    with RecordLog(path, TITLE, writable=True), pytest.raises(DatasetError, match="another process"):
        RecordLog(path, TITLE, writable=True).__enter__()
    write_log(path)
    with pytest.raises(DatasetError, match=r"was begun as .* and holds 3 records"):
        RecordLog(path, b"something else", writable=True).__enter__()


def test_a_log_without_records_may_be_begun_anew(tmp_path):
    path = tmp_path / "log"
    write_log(path, count=0)
    with open(path, "ab") as file:
        file.write(b"HELM torn")
    with RecordLog(path, b"something much longer than the title before", writable=True) as log:
        log.append("a", b"1")
    with RecordLog(path, b"something much longer than the title before") as log:
        assert log.read("a") == b"1"


def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"my only copy\n" * 20)
    with pytest.raises(DatasetError, match="not a log of this package"):
        RecordLog(path, TITLE, writable=True).__enter__()
    assert path.read_bytes() == b"my only copy\n" * 20


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"energy": -1.0, "smiles": "[OH-]", "charge": -1, "details": {"a": 1.5, "b": "x", "c": None}},
        {"forces": np.ones((2, 3)), "polarizability": np.eye(3), "mulliken_charges": np.zeros(2)},
    ],
)
def test_a_label_survives_the_journal(more):
    label = entry(**more)
    back = decode(encode(label))
    assert back.available() == label.available()
    assert (back.name, back.key, back.charge, dict(back.details)) == (
        label.name, label.key, label.charge, dict(label.details)
    )  # fmt: skip
    assert np.array_equal(back.hamiltonian, label.hamiltonian)


def test_a_journal_belongs_to_one_level_of_theory(tmp_path):
    path = tmp_path / "x.journal"
    with Journal(path, TINY) as journal:
        journal.add(entry())
    with Journal(path, TINY) as journal:
        assert journal.keys == {entry().key}
    with pytest.raises(DatasetError, match="was begun as"):
        Journal(path, LevelOfTheory()).__enter__()


def test_what_crystals_added_to_a_level_does_not_part_a_molecule_from_its_journal():
    first = ["functional", "variant", "basis", "density_fitting", "grid_level", "conv_tol", "code"]
    assert list(TINY.written) == [*first, "auxiliary_basis", "label_basis"]  # as before there were crystals
    assert replace(TINY, smearing=0.01).written["smearing"] == 0.01


def test_the_failure_list_survives_a_torn_line_and_forgets_what_was_resolved(tmp_path):
    path = tmp_path / "failures.jsonl"
    for k in range(3):
        FailureList(path).add(Failure(f"k{k}", f"m{k}", "no", 1.0))
    with open(path, "a") as file:
        file.write('{"key": "torn')
    failures = FailureList(path)
    failures.add(Failure("k3", "m3", "no", 1.0))
    assert list(FailureList(path).entries) == ["k0", "k1", "k2", "k3"]
    failures.rewrite(resolved={"k1"})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["k0", "k2", "k3"]
    failures.rewrite(resolved={"k0", "k2", "k3"})
    assert not path.exists()


def test_a_damaged_failure_list_is_refused(tmp_path):
    path = tmp_path / "failures.jsonl"
    path.write_text('{"no": "entry"}\n')
    with pytest.raises(DatasetError, match="line 1"):
        FailureList(path)
