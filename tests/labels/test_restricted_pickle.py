"""Pickles of records: what numpy writes comes back, everything else is refused before it does anything."""

import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from helm_ase.errors import DatasetError
from helm_ase.labels import restricted_pickle
from helm_ase.labels.restricted_pickle import load_record

HEAD, END = b"\x80\x04", b"."


def entry(value: bytes) -> bytes:
    """Pickle of ``{"x": value}`` with the instructions that make the value."""
    return HEAD + b"}" + b"\x8c\x01x" + value + b"s" + END


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_numpy_writes_comes_back_with_its_type(protocol, rng):
    matrix = rng.normal(size=(5, 5))
    record = {
        "id": 3, "large": 2**70, "scalar": np.int64(4), "float": 1.5, "flag": True, "none": None, "raw": b"a",
        "atoms": np.arange(4, dtype=np.int32), "fortran": np.asfortranarray(rng.normal(size=(4, 3))),
        "Ham": matrix, "Ham_init": matrix, "transposed": matrix.T, "strided": matrix[::2, ::2],
        "big_endian": matrix.astype(">f8"), "zero_dimensional": np.array(3.0),
    }  # fmt: skip
    read = load_record(pickle.dumps(record, protocol=protocol))
    assert list(read) == list(record)
    for name, value in record.items():
        assert type(read[name]) is type(value), name
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize(("new", "old"), [(b"numpy._core", b"numpy.core")])
def test_files_written_by_older_numpy_are_read(new, old, rng):
    matrix = rng.normal(size=(3, 3))
    written = pickle.dumps({"Ham": matrix}, protocol=3)  # names end in a newline, hence no lengths to correct
    np.testing.assert_array_equal(load_record(written.replace(new, old))["Ham"], matrix)


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_executed(protocol, tmp_path):
    marker = tmp_path / "executed"
    with pytest.raises(DatasetError, match="refused"):
        load_record(pickle.dumps({"id": Command(marker)}, protocol=protocol))
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [b"builtins eval", b"os system", b"numpy.testing._private.utils runstring", b"numpy loadtxt",
     b"numpy dtype.__class__", b"numpy._core.multiarray fromfile"],
)  # fmt: skip
def test_other_names_than_the_constructors_are_refused(name):
    module, attribute = name.split()
    named = b"\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(attribute)]) + attribute + b"\x93"
    with pytest.raises(DatasetError, match="refused"):
        load_record(entry(named + b"\x8c\x01a\x85R"))


def test_references_to_outside_are_refused():
    with pytest.raises(DatasetError, match="BINPERSID refused"):
        load_record(entry(b"K\x01Q"))
    with pytest.raises(DatasetError, match="outside"):
        restricted_pickle._Unpickler(__import__("io").BytesIO(b"\x80\x04K\x01Q.")).load()


@pytest.mark.parametrize("value", [[1], (1,), {"a": 1}, {1}, object(), 1j, np.array([None]), np.array(["a"]),
                                   np.zeros(2, dtype=[("a", "f8")]), np.datetime64("2020")])  # fmt: skip
def test_only_numbers_strings_and_arrays_of_numbers_are_values(value):
    with pytest.raises(DatasetError):
        load_record(pickle.dumps({"x": value}))


def test_only_a_dictionary_with_names_is_a_record():
    for whole in (3, np.zeros(3), {1: 2}):
        with pytest.raises(DatasetError):
            load_record(pickle.dumps(whole))


def memo_bomb() -> bytes:
    """Tuples of twice the same tuple, 40 levels: a key whose hash takes 2^40 steps."""
    levels = b"".join(b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(40))
    return HEAD + b"}" + b")q\x00" + levels + b"K\x01s" + END


def hidden_memo_bomb() -> bytes:
    """The same with every tuple stored twice, so that the second store follows no tuple."""
    levels = b"".join(b"h" + bytes([2 * k + 1]) * 1 + b"h" + bytes([2 * k + 1]) + b"\x86q"
                      + bytes([2 * k + 2]) + b"q" + bytes([2 * k + 3]) for k in range(40))  # fmt: skip
    return HEAD + b"}" + b")q\x00q\x01" + levels + b"K\x01s" + END


def array_of_a_terabyte() -> bytes:
    ok = pickle.dumps({"x": np.zeros(3)}, protocol=4)
    return ok.replace(b"K\x03\x85", b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85")


BOMBS = {
    "memo": memo_bomb(),
    "hidden memo": hidden_memo_bomb(),
    "memo slot": entry(b"K\x01r" + struct.pack("<I", 2**31 - 1)),
    "long list": HEAD + b"](" + b"K\x01" * 10 + b"e.",
    "many instructions": HEAD + b"}" + b"\x8c\x01xK\x01s" * 5000 + END,
    "claimed bytes": entry(b"\x8e" + struct.pack("<Q", 2**40)),
    "claimed bytearray": entry(b"\x96" + struct.pack("<Q", 2**40)),
    "claimed frame": HEAD + b"\x95" + struct.pack("<Q", 2**40) + b"}.",
    "claimed shape": array_of_a_terabyte(),
    "claimed integer": entry(b"\x8b" + struct.pack("<i", 2**30)),
    "no contents": entry(b"\x8c\x05numpy\x8c\x07ndarray\x93\x8a\x06" + b"\xff" * 5 + b"\0\x85R"),
    "duplicates": entry(b")2\x86"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_without_growing(bomb):
    tracemalloc.start()
    with pytest.raises(DatasetError):
        load_record(BOMBS[bomb])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_a_constructor_cannot_be_changed():
    target = b"\x8c\x15numpy.core.multiarray\x8c\x06scalar\x93"
    with pytest.raises(DatasetError, match="changes a function"):
        load_record(entry(target + b"N}\x8c\x0c__defaults__)s\x86b"))


def test_a_pickle_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(restricted_pickle, "MAX_BYTES", 100)
    with pytest.raises(DatasetError, match="the limit is 100"):
        load_record(pickle.dumps({"x": b"a" * 200}))


def test_a_damaged_pickle_is_one_of_our_errors(rng):
    whole = pickle.dumps({"Ham": rng.normal(size=(4, 4)), "id": 3})
    for end in range(len(whole)):
        with pytest.raises(DatasetError):
            load_record(whole[:end])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_random_damage_is_survived(rng):
    whole = pickle.dumps({"Ham": rng.normal(size=(4, 4)), "id": np.int64(3)})
    for _ in range(2000):
        damaged = bytearray(whole)
        for position in rng.integers(len(whole), size=3):
            damaged[position] = rng.integers(256)
        try:
            load_record(bytes(damaged))
        except DatasetError:
            continue
