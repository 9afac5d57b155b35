"""Whatever happens to the bytes of a file: labels or a DatasetError, never anything else, never silence.

HDF5 is C: files are read in a process of their own, so that a crash or an endless loop is one failed example.
"""

import struct
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels, readers
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
from shared.sample_labels import write_entry
from shared.stored_labels import assert_same, invented, write

KINDS = ["O", "C", "[H][H]"]
FEW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A file of the package's own, and its labels."""
    labels = [invented(k, kind) for k, kind in enumerate(KINDS)]
    labels.append(invented(7, "O", spins=2, everything=False))
    return write(tmp_path_factory.mktemp("own") / "good.h5", labels).read_bytes(), labels


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    path = tmp_path_factory.mktemp("groups") / "good.h5"
    with h5py.File(path, "w") as file:
        for k, kind in enumerate(KINDS):
            label = invented(k, kind)
            record = {
                f: getattr(label, f) for f in ("numbers", "positions", "hamiltonian", "dipole", "smiles")
            }
            record |= {"energy": label.energy / HARTREE_IN_EV, "split": "train"}
            record |= {"forces": label.forces / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM}
            write_entry(file, f"{k:06d}", record)
    return path.read_bytes()


BYTES = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.sampled_from([1, 2, 4, 8, 64, 512]).flatmap(lambda n: st.sampled_from([bytes(n), b"\xff" * n])),
)
PLACE = st.floats(0, 1, exclude_max=True)
DAMAGES = st.one_of(
    st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("overwrite"), PLACE, BYTES),
    st.tuples(st.just("overwrite"), st.floats(0, 0.2), BYTES),  # where the bookkeeping is
    st.tuples(st.just("truncate"), PLACE, st.none()),
    st.tuples(st.just("insert"), PLACE, BYTES),
)


def spoil(data, damages):
    spoiled = bytearray(data)
    for kind, place, what in damages:
        at = int(place * len(spoiled))
        match kind:
            case "flip" if spoiled:
                spoiled[at] ^= 1 << what
            case "overwrite":
                spoiled[at : at + len(what)] = what[: len(spoiled) - at]
            case "truncate":
                del spoiled[at:]
            case "insert":
                spoiled[at:at] = what
    return bytes(spoiled)


def read_spoiled(bounded, path, data):
    """Kind of the outcome, and labels or the message of the refusal."""
    path.write_bytes(data)
    kind, text, labels = bounded.ask("whole_labels", path)
    assert kind in ("answer", "refused"), (kind, text)
    assert kind == "answer" or path.name in text
    return kind, labels if kind == "answer" else text


@FEW
@given(damages=st.lists(DAMAGES, min_size=1, max_size=3))
def test_the_packages_own_files_are_read_right_or_refused(bounded, own, tmp_path, damages):
    data, labels = own
    kind, found = read_spoiled(bounded, tmp_path / "spoiled.h5", spoil(data, damages))
    if kind == "answer":  # the damage hit nothing that is read: every number and every letter is right
        assert len(found) == len(labels)
        for read, label in zip(found, labels, strict=True):
            assert_same(label, read)


@FEW
@given(damages=st.lists(DAMAGES, min_size=1, max_size=3))
def test_files_without_checksums_give_valid_labels_or_are_refused(bounded, groups, tmp_path, damages):
    read_spoiled(bounded, tmp_path / "spoiled.h5", spoil(groups, damages))


def names():
    """A file name for every pattern of every format."""
    patterns = {p for module in readers().values() for p in module.PATTERNS if not p.endswith("/")}
    return sorted(p.replace("*", "x") for p in patterns)


STARTS = [b"", b"\x89HDF\r\n\x1a\n", b"SQLite format 3\0", b"PK\x03\x04", b"{", b"\x93NUMPY\x01\0"]


@FEW
@given(name=st.sampled_from(names()), start=st.sampled_from(STARTS), rest=st.binary(max_size=2000))
def test_random_bytes_are_refused_under_every_known_name(bounded, tmp_path, name, start, rest):
    kind, _ = read_spoiled(bounded, tmp_path / name, start + rest)
    assert kind == "refused"


def test_a_string_heap_that_hdf5_would_read_forever_is_refused(bounded, groups, tmp_path):
    begin = groups.index(b"GCOL")
    size = struct.unpack_from("<Q", groups, begin + 8)[0]
    zeroed = groups[: begin + 16] + bytes(size - 16) + groups[begin + size :]
    kind, found = read_spoiled(bounded, tmp_path / "heap.h5", zeroed)
    assert kind == "refused"
    assert "string heap" in found


@pytest.mark.parametrize("format", ["helm_h5", "group_h5"])
def test_naming_the_format_does_not_help_a_file_of_another(tmp_path, format):
    path = tmp_path / "text.h5"
    path.write_text("not HDF5")
    with pytest.raises(DatasetError, match=rf"text\.h5 is no readable {format}"):
        open_labels(path, format=format)


def test_an_entry_after_a_damaged_one_can_still_be_read(own, tmp_path):
    data, labels = own
    path = tmp_path / "partly.h5"
    path.write_bytes(data)
    with h5py.File(path, "a") as file:
        end = file["forces"]["offsets"][1]
        file["forces"]["values"][end - 1] = np.nan
    source = open_labels(path)
    with pytest.raises(DatasetError, match="entry 0 µ"):
        source[0]
    assert_same(labels[1], source[1])
    rest = open_labels(path, fields=labels[0].available() - {"forces"})
    assert_same(replace(labels[0], forces=None), rest[0])
