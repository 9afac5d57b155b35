"""The package's own label files: what goes in comes out, and what is damaged is refused."""

import json
import multiprocessing
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest

from helm_ase.errors import BasisError, DatasetError, SettingError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.formats.helm_h5 import OPTIONAL, HelmH5Source
from helm_ase.labels.writer import LabelWriter
from shared.sample_labels import TINY
from shared.stored_labels import assert_same, invented, write


@pytest.fixture
def labels():
    return [
        invented(1),
        invented(2, "C", spins=2),
        invented(3, "[H][H]", everything=False, charge=0, smiles="", split="", details={}),
        invented(4, "CO", charge=-1, multiplicity=1),
        invented(5, "O", spins=2, multiplicity=1),
    ]


@pytest.fixture
def path(tmp_path, labels):
    return write(tmp_path / "labels.h5", labels)


def damaged(path, change):
    with h5py.File(path, "a") as file:
        change(file)
    return path


def put(file, name, values):
    """Replace a dataset by one of any shape."""
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


# --- round trip ---------------------------------------------------------------------------------------


def test_every_field_comes_back(path, labels):
    with open_labels(path) as source:
        assert source.level == TINY
        assert len(source) == len(labels)
        for read, label in zip(source, labels, strict=True):
            assert_same(label, read)


def test_what_was_absent_stays_absent(path, labels):
    with open_labels(path) as source:
        assert [x.available() for x in source] == [x.available() for x in labels]
        assert source[2].available() == set()


@pytest.mark.parametrize("field", OPTIONAL)
def test_one_field_may_be_present_alone(tmp_path, field):
    full = invented(1)
    alone = invented(1, everything=False, **{field: getattr(full, field)})
    with open_labels(write(tmp_path / "one.h5", [alone, invented(2, everything=False)])) as source:
        assert source[0].available() == {field}
        assert source[1].available() == set()
        assert_same(alone, source[0])


def test_single_precision_rounds_the_matrices_only(tmp_path, labels):
    with open_labels(write(tmp_path / "f32.h5", labels, precision="float32")) as source:
        for read, label in zip(source, labels, strict=True):
            assert read.hamiltonian.dtype == np.float64
            rounded = label.hamiltonian.astype(np.float32).astype(np.float64)
            density = None if label.density is None else label.density.astype(np.float32).astype(np.float64)
            assert_same(replace(label, hamiltonian=rounded, density=density), read)


def test_only_the_fields_asked_for_are_read(path):
    with open_labels(path, fields=["energy"]) as source:
        assert source[0].available() == {"energy"}
    with pytest.raises(SettingError, match=r"enrgy.*allowed: energy"):
        open_labels(path, fields=["enrgy"])


def test_random_access_equals_reading_in_order(path, rng):
    with open_labels(path) as source:
        ordered = list(source)
        for index in rng.integers(-len(source), len(source), 30):
            assert_same(ordered[index], source[index])
        with pytest.raises(IndexError, match="holds 5"):
            source[5]


def test_columns_agree_with_the_entries(path, labels):
    with HelmH5Source(path) as source:
        assert source.column("name").tolist() == [x.name for x in labels]
        assert source.column("charge").tolist() == [x.charge for x in labels]
        assert source.lengths("numbers").tolist() == [len(x.numbers) for x in labels]
        assert source.atomic_numbers().tolist() == [z for x in labels for z in x.numbers]
        assert [source.smiles_of(k) for k in range(5)] == [x.smiles for x in labels]
        assert [source.name_of(k) for k in range(5)] == [x.name for x in labels]


def test_molecules_without_smiles_are_named_by_their_bonds(tmp_path, path):
    moved = invented(3, "[H][H]", smiles="", positions=np.array([[0, 0, 0], [0.0, 0, 0.7]]))
    turned = replace(moved, name="turned", positions=moved.positions[:, ::-1] + 1.0)
    with open_labels(write(tmp_path / "nameless.h5", [moved, turned])) as source:
        assert source.molecule_of(0) == source.molecule_of(1)
    with open_labels(path) as source:
        assert source.molecule_of(0) == "O"


def test_an_empty_file_is_a_file(tmp_path):
    with open_labels(write(tmp_path / "empty.h5", [])) as source:
        assert len(source) == 0
        assert list(source) == []


# --- writing ------------------------------------------------------------------------------------------


def test_appending_adds_to_what_is_there(path, labels):
    write(path, [invented(9)], append=True)
    with open_labels(path) as source:
        assert len(source) == len(labels) + 1
        for read, label in zip(source, [*labels, invented(9)], strict=True):
            assert_same(label, read)


def test_many_small_appends_equal_one_writing(tmp_path, labels):
    path = tmp_path / "steps.h5"
    for label in labels:
        write(path, [label], append=True)
    with open_labels(path) as source:
        for read, label in zip(source, labels, strict=True):
            assert_same(label, read)


def test_appending_another_level_is_refused(path):
    before = path.read_bytes()
    with pytest.raises(DatasetError, match=r"labels\.h5 holds labels of .*pbe"):
        LabelWriter(path, replace(TINY, functional="b3lyp"), append=True).__enter__()
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", [{"name": "other"}, {"positions": None}])
def test_writing_a_structure_or_a_name_twice_is_refused(path, labels, change):
    if "positions" in change:
        change = {"positions": labels[0].positions + 1.0}
    with pytest.raises(DatasetError, match=r"labels\.h5.* there (is|already)"):
        write(path, [replace(labels[0], **change)], append=True)


def test_a_matrix_of_another_basis_is_refused(tmp_path):
    wide = invented(1, numbers=np.array([8, 1, 8]))
    with pytest.raises(BasisError, match=r"entry 1.*7 functions.*sto-3g.*11"):
        write(tmp_path / "wide.h5", [wide])
    assert list(tmp_path.iterdir()) == []


class Stopped(BaseException):
    """As KeyboardInterrupt, but pytest would stop at that."""


def interrupt(path, append, error):
    with LabelWriter(path, TINY, append=append) as writer:
        writer.add(invented(9))
        raise error


@pytest.mark.parametrize("append", [True, False])
@pytest.mark.parametrize("error", [Stopped, ValueError])
def test_an_interrupted_writer_leaves_the_old_file_and_nothing_else(path, append, error):
    before = path.read_bytes()
    with pytest.raises(error):
        interrupt(path, append, error)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_seen_of_a_new_file_before_it_is_complete(tmp_path):
    path = tmp_path / "new.h5"
    with LabelWriter(path, TINY) as writer:
        writer.add(invented(1))
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


# --- many processes -----------------------------------------------------------------------------------


def read_some(source, indices):
    return [float(source[k].hamiltonian.sum()) for k in indices]


def test_processes_read_one_pickled_source_at_once(path):
    with open_labels(path) as source:
        wanted = read_some(source, range(5))
        assert read_some(pickle.loads(pickle.dumps(source)), range(5)) == wanted
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            orders = [np.random.default_rng(k).permutation(5).tolist() for k in range(6)]
            done = pool.starmap(read_some, [(source, order) for order in orders])
    for order, sums in zip(orders, done, strict=True):
        assert sums == [wanted[k] for k in order]


# --- damage -------------------------------------------------------------------------------------------


def refused(path, match):
    with pytest.raises(DatasetError, match=match) as caught, open_labels(path) as source:
        list(source)
    assert path.name in str(caught.value)


def test_a_newer_schema_is_refused(path):
    refused(damaged(path, lambda f: f.attrs.modify("schema_version", 99)), r"99.*up to 1: update")


def test_another_ao_order_is_refused(path):
    refused(damaged(path, lambda f: f.attrs.modify("ao_order", "orca")), "orca")


def test_a_structure_that_is_there_twice_is_found_on_opening(path):
    def copy(file):
        file["key"][3] = file["key"][0]

    refused(damaged(path, copy), r"entries 0, 3 have the same key")


CHANGES = {
    "energy": ((4,), "energy has shape"),
    "polarizability": ((5, 3), "polarizability has shape"),
    "charge": ((6,), "charge has shape"),
    "hamiltonian/values": ((7,), "offsets of hamiltonian"),
    "forces/offsets": ((6,), "offsets of forces"),
    "numbers/values": ((19, 2), "numbers/values has shape"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrong_shape_is_refused(path, name):
    shape, message = CHANGES[name]
    refused(damaged(path, lambda f: put(f, name, np.arange(np.prod(shape)).reshape(shape))), message)


@pytest.mark.parametrize("name", ["hamiltonian", "positions", "forces", "density", "orbital_energies"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_name_the_entry(path, name, value):
    def spoil(file):
        end = file[name]["offsets"][2]
        file[name]["values"][end - 1] = value

    refused(damaged(path, spoil), rf"entry entry 2 µ: {name} holds \d+ values that are not finite")


@pytest.mark.parametrize("name", ["name", "hamiltonian", "key", "multiplicity", "positions"])
def test_a_missing_quantity_is_named(path, name):
    refused(damaged(path, lambda f: f.__delitem__(name)), name)


def test_a_level_of_theory_with_unknown_fields_is_refused(path):
    refused(damaged(path, lambda f: f.attrs.modify("level", json.dumps({"flavour": 1}))), "flavour")


def test_a_flipped_bit_in_a_matrix_is_noticed(path):
    with h5py.File(path) as file:
        place = file["hamiltonian/values"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[place.byte_offset + place.size // 2] ^= 4
    path.write_bytes(data)
    refused(path, "entry")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "labels")


def test_hdf5_of_another_kind_is_refused_with_the_known_formats(tmp_path):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file["temperature"] = np.arange(5)
    refused(path, r"no known format.*helm_h5")
