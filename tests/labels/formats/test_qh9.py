"""QH9 in SQLite and LMDB, written as its authors' code writes it."""

import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.formats import open_labels, readers
from helm_ase.labels.formats.qh9_splits import geometry_split, molecule_split, random_split, size_split
from helm_ase.qc.level import LevelOfTheory
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from shared.sample_labels import label

lmdb = pytest.importorskip("lmdb")
pytestmark = pytest.mark.scf

LEVEL = LevelOfTheory("pbe", "", "def2-svp", grid_level=0)
"""Any functional will do for a reader."""
STABLE = "CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB, pos BLOB, Ham BLOB)"
DYNAMIC = (
    "CREATE TABLE data (id INTEGER NOT NULL, geo_id INTEGER NOT NULL, N INTEGER, Z BLOB, pos BLOB, "
    "ekin FLOAT, epot FLOAT, etot FLOAT, time FLOAT, Ham BLOB, converged INT)"
)


@lru_cache(maxsize=1)
def records():
    found = []
    for seed, name in enumerate(("H2O", "NH3", "CH4")):
        atoms = molecule(name)
        atoms.positions = Rotation.random(random_state=seed).apply(atoms.positions) + 0.3
        found.append(label(atoms, LEVEL))
    return found


def stable_row(k, record):
    return (k, len(record["numbers"]), record["numbers"].astype(np.int32).tobytes(),
            record["positions"].tobytes(), record["hamiltonian"].tobytes())  # fmt: skip


def dynamic_row(molecule_id, frame, record):
    return (np.int64(molecule_id).tobytes(), frame, len(record["numbers"]),
            record["numbers"].astype(np.int32).tobytes(), (record["positions"] / BOHR_IN_ANGSTROM).tobytes(),
            0.01, record["energy"], record["energy"] + 0.01, 50.0 * frame, record["hamiltonian"].tobytes(),
            1)  # fmt: skip


def write_table(path, create, rows):
    with sqlite3.connect(path) as connection:
        connection.execute(create)
        connection.executemany(f"INSERT INTO data VALUES ({','.join('?' * len(rows[0]))})", rows)
    connection.close()
    return path


def stable(path, edit=lambda k, row: row, create=STABLE):
    rows = [edit(k, list(stable_row(3 * k, record))) for k, record in enumerate(records())]
    return write_table(path, create, rows)


def dynamic(path, molecules=2, frames=10):
    rows = [dynamic_row(100 - m, f, records()[m]) for m in range(molecules) for f in range(frames)]
    return write_table(path, DYNAMIC, rows)


def value(record, arrays=False, bohr=False, **more):
    scale = 1 / BOHR_IN_ANGSTROM if bohr else 1.0
    content = {
        "id": 7, "num_nodes": len(record["numbers"]), "atoms": record["numbers"].astype(np.int32),
        "pos": record["positions"] * scale, "Ham": record["hamiltonian"],
    }  # fmt: skip
    if not arrays:
        content = {k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in content.items()}
    return content | more


def write_lmdb(path, values, subdir=True, keys=None):
    with (
        lmdb.open(str(path), map_size=2**26, subdir=subdir) as environment,
        environment.begin(write=True) as txn,
    ):
        for key, content in enumerate(values):
            raw = content if isinstance(content, bytes) else pickle.dumps(content)
            txn.put((keys[key] if keys else key).to_bytes(4, "big"), raw)
    return path


def check(source, energies=False):
    for read, record in zip(source, records(), strict=True):
        np.testing.assert_array_equal(read.numbers, record["numbers"])
        np.testing.assert_allclose(read.positions, record["positions"], atol=1e-12)
        np.testing.assert_allclose(read.hamiltonian, record["hamiltonian"], atol=1e-12)
        assert read.forces is None
        if energies:
            assert read.energy == pytest.approx(record["energy"] * HARTREE_IN_EV, abs=1e-9)
        else:
            assert read.energy is None


def test_stable_in_sqlite(tmp_path):
    source = open_labels(stable(tmp_path / "QH9Stable.db"))
    check(source)
    assert [source.name_of(k) for k in range(3)] == ["0", "3", "6"]
    assert source.molecule_of(1) == "qm9-3"
    assert source[-1].name == "6"
    level = source.level
    assert (level.functional, level.basis, level.density_fitting) == ("b3lyp5", "def2-svp", False)
    assert "VWN5" in level.variant
    assert level.code == "PySCF 2.2.1"
    assert source.official_splits == ("random", "size_ood")


def test_dynamic_in_sqlite_is_in_bohr_and_has_energies(tmp_path):
    source = open_labels(dynamic(tmp_path / "part.db", molecules=3, frames=1), version="300k")
    check(source, energies=True)
    assert [source.name_of(k) for k in range(3)] == ["100/0", "99/0", "98/0"]
    assert source.molecule_of(2) == "qm9-98"
    assert source[0].details == {"qm9_index": 100, "geo_id": 0, "converged": True}
    assert source.official_splits == ("geometry", "mol")


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("name", ["QH9Stable.lmdb", "data.mdb", "folder"])
def test_stable_in_lmdb(tmp_path, arrays, name):
    values = [value(r, arrays, id=k) for k, r in enumerate(records())]
    path = write_lmdb(tmp_path / name, values, subdir=name == "folder")
    source = open_labels(path)
    check(source)
    assert source.level.functional == "b3lyp5"
    assert [source.molecule_of(k) for k in range(3)] == ["qm9-0", "qm9-1", "qm9-2"]


def test_dynamic_in_lmdb(tmp_path):
    values = [value(r, bohr=True, id=9 - k, geo_id=0) for k, r in enumerate(records())]
    source = open_labels(write_lmdb(tmp_path / "QH9Dynamic.lmdb", values), version="100k")
    check(source)
    assert source.level.functional == "b3lyp"
    assert source.level.code == "PySCF 2.3.0"
    assert source.molecule_of(1) == "qm9-8"


def test_sphnets_copy_has_a_guess_that_is_not_the_label(tmp_path):
    values = [value(r, arrays=True, Ham_init=r["hamiltonian"] + 1) for r in records()]
    check(open_labels(write_lmdb(tmp_path / "data.mdb", values, subdir=False)))


def test_keys_are_big_endian_numbers_and_need_no_sequence(tmp_path):
    values = [value(r) for r in records()]
    source = open_labels(write_lmdb(tmp_path / "QH9Stable.lmdb", values, keys=[2, 255, 256]))
    check(source)
    assert [source.name_of(k) for k in range(3)] == ["2", "255", "256"]


@pytest.mark.parametrize("bohr", [False, True])
@pytest.mark.parametrize("frames", [{}, {"geo_id": 0}])
def test_the_length_unit_follows_from_the_geometry(tmp_path, bohr, frames):
    values = [value(r, bohr=bohr, **frames) for r in records()]
    path = write_lmdb(tmp_path / "QH9_300k.lmdb", values)
    check(open_labels(path))
    forced = open_labels(path, length_unit="angstrom")[0].positions
    np.testing.assert_allclose(forced * (BOHR_IN_ANGSTROM if bohr else 1), records()[0]["positions"])


def test_which_dynamic_set_it_is_follows_from_the_name_or_the_option(tmp_path):
    (tmp_path / "QH9Dynamic_100k").mkdir()
    assert open_labels(dynamic(tmp_path / "QH9Dynamic_100k/x.db")).level.functional == "b3lyp"
    assert open_labels(dynamic(tmp_path / "QH9Dynamic_300k.db")).level.functional == "b3lyp5"
    plain = dynamic(tmp_path / "plain.db")
    with pytest.raises(SettingError, match=r"plain\.db.*version='100k'"):
        open_labels(plain)
    assert open_labels(plain, version="100k").level.functional == "b3lyp"


def test_wrong_options_are_named(tmp_path):
    path = stable(tmp_path / "QH9Stable.db")
    with pytest.raises(SettingError, match="no version"):
        open_labels(path, version="300k")
    with pytest.raises(SettingError, match="allowed: 100k, 300k"):
        open_labels(path, version="400k")
    with pytest.raises(SettingError, match="allowed: angstrom, bohr"):
        open_labels(path, length_unit="nm")
    with pytest.raises(SettingError, match="no option"):
        open_labels(path, unit="bohr")


def set_field(number, change):
    return lambda k, row: [*row[:number], change(row[number]), *row[number + 1 :]] if k == 1 else row


def nan(blob):
    values = np.frombuffer(blob).copy()
    values[0] = np.nan
    return values.tobytes()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_field(4, lambda blob: blob[:-8]), "Ham over def2-svp has"),
        (set_field(4, lambda blob: np.zeros((25, 25)).tobytes()), "Ham over def2-svp has 5000 bytes"),
        (set_field(4, lambda blob: None), "Ham over def2-svp is missing"),
        (set_field(4, nan), "not finite"),
        (set_field(3, nan), "not finite"),
        (set_field(3, lambda blob: blob[:-3]), "pos has"),
        (set_field(2, lambda blob: b"\xff" * len(blob)), "make no molecule"),
        (set_field(1, lambda n: 10**12), "Z has"),
        (set_field(1, lambda n: -1), "Z has"),
    ],
)
def test_a_damaged_entry_is_named_and_leaves_the_others_alone(tmp_path, edit, message):
    source = open_labels(stable(tmp_path / "QH9Stable.db", edit))
    with pytest.raises(DatasetError, match=rf"QH9Stable\.db, entry 3: .*{message}"):
        source[1]
    np.testing.assert_allclose(source[2].hamiltonian, records()[2]["hamiltonian"], atol=1e-12)


@pytest.mark.parametrize("content", [b"", b"junk", b"SQLite format 3\0" + b"\0" * 100])
@pytest.mark.parametrize("name", ["QH9Stable.db", "QH9Stable.lmdb"])
def test_a_file_that_is_nothing_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=name):
        open_labels(path)
    with pytest.raises(DatasetError, match=name):
        open_labels(path, format="qh9")


def test_columns_that_are_missing_are_named(tmp_path):
    path = write_table(tmp_path / "x.db", "CREATE TABLE data (id INTEGER, N INTEGER)", [(1, 1)])
    with pytest.raises(DatasetError, match="no known format"):
        open_labels(path)
    with pytest.raises(DatasetError, match=r"x\.db.* no column Ham, Z, pos"):
        open_labels(path, format="qh9")


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "QH9Stable.db"
    with sqlite3.connect(path) as connection:
        connection.execute(STABLE)
    with pytest.raises(DatasetError, match="holds no molecules"):
        open_labels(path)


def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    twice = stable(tmp_path / "twice.db", set_field(0, lambda _: 0), STABLE.replace("PRIMARY KEY", ""))
    with pytest.raises(DatasetError, match=r"twice\.db: there are 2 entries with id 0"):
        open_labels(twice)
    rows = [dynamic_row(4, 0, records()[0])] * 2
    with pytest.raises(DatasetError, match="2 entries with id 4/0"):
        open_labels(write_table(tmp_path / "QH9Dynamic_300k.db", DYNAMIC, rows))


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_with_a_command_runs_nothing(tmp_path):
    marker = tmp_path / "executed"
    bad = value(records()[0]) | {"Ham": Command(marker)}
    path = write_lmdb(tmp_path / "later.lmdb", [value(records()[0]), bad])
    with pytest.raises(DatasetError, match=r"later\.lmdb, entry 1: .*refused"):
        open_labels(path)[1]
    with pytest.raises(DatasetError, match=r"first\.lmdb"):
        open_labels(write_lmdb(tmp_path / "first.lmdb", [bad]))
    assert not marker.exists()


def test_a_record_without_its_parts_is_named(tmp_path):
    values = [value(records()[0]), {"id": 1, "atoms": b"", "pos": b""}]
    source = open_labels(write_lmdb(tmp_path / "QH9Stable.lmdb", values))
    with pytest.raises(DatasetError, match=r"entry 1: Ham, num_nodes is missing"):
        source[1]


def test_without_lmdb_the_way_out_is_named(tmp_path, monkeypatch):
    path = write_lmdb(tmp_path / "QH9Stable.lmdb", [value(records()[0])])
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DatasetError, match=r"pip install 'helm-ase\[data\]'"):
        open_labels(path)


READ = """
import pickle, sys
import numpy as np
for source in pickle.load(sys.stdin.buffer):
    print(source[0].key, float(source[0].hamiltonian.sum()))
"""


def test_a_source_works_in_another_process(tmp_path):
    table = open_labels(stable(tmp_path / "QH9Stable.db"))
    values = open_labels(write_lmdb(tmp_path / "QH9Stable.lmdb", [value(r) for r in records()]))
    sources = [table, values]
    expected = [f"{s[0].key} {float(s[0].hamiltonian.sum())}" for s in sources]
    done = subprocess.run([sys.executable, "-c", READ], input=pickle.dumps(sources), stdout=subprocess.PIPE)
    assert done.stdout.decode().splitlines() == expected


def first_matrix(source):
    return source[0].hamiltonian


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_source_that_was_used_works_in_a_fork(tmp_path):
    table = open_labels(stable(tmp_path / "QH9Stable.db"))
    values = open_labels(write_lmdb(tmp_path / "QH9Stable.lmdb", [value(r) for r in records()]))
    for source in (table, values):
        source[1]
        with multiprocessing.get_context("fork").Pool(1) as pool:
            read = pool.apply(first_matrix, (source,))
        np.testing.assert_allclose(read, records()[0]["hamiltonian"], atol=1e-12)
        np.testing.assert_allclose(source[0].hamiltonian, read, atol=1e-12)


def test_two_sources_read_one_lmdb(tmp_path):
    path = write_lmdb(tmp_path / "QH9Stable.lmdb", [value(r) for r in records()])
    one, two = open_labels(path), open_labels(path)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.hamiltonian, b.hamiltonian)


def test_the_file_is_not_changed(tmp_path):
    path = stable(tmp_path / "QH9#Stable?.db")
    path.chmod(0o444)
    before = path.read_bytes()
    check(open_labels(path))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# --- splits -------------------------------------------------------------------------------------------


def assert_division(parts, count, sizes=None):
    assert list(parts) == ["train", "val", "test"]
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(count))
    if sizes:
        assert [len(p) for p in parts.values()] == sizes


def test_the_published_sizes_come_out():
    assert_division(random_split(130_831), 130_831, [104_664, 13_083, 13_084])
    for molecules, geometry, mol in (
        (2998, [239_840, 29_980, 29_980], [239_800, 29_900, 30_100]),
        (999, [79_920, 9_990, 9_990], [79_900, 9_900, 10_100]),
    ):
        rows = np.repeat(np.arange(molecules), 100)
        assert_division(geometry_split(rows), len(rows), geometry)
        assert_division(molecule_split(rows), len(rows), mol)


def test_the_random_split_is_the_published_one():
    """First indices of ``np.random.RandomState(43).permutation(130831)``."""
    expected = np.random.RandomState(43).permutation(130_831)
    np.testing.assert_array_equal(np.concatenate(list(random_split(130_831).values())), expected)


def test_geometries_of_a_molecule_are_shuffled_with_its_last_row_as_seed():
    parts = geometry_split(np.repeat([7, 3], 100))
    second = 100 + np.random.RandomState(199).permutation(100)
    np.testing.assert_array_equal(parts["train"][80:], second[:80])
    np.testing.assert_array_equal(parts["test"][10:], second[90:])


def test_molecules_stay_together():
    rows = np.repeat(np.arange(30), 7)
    parts = molecule_split(rows)
    assert_division(parts, 210, [24 * 7, 3 * 7, 3 * 7])
    assert not set(rows[parts["train"]]) & set(rows[parts["test"]])


def test_sizes_out_of_distribution():
    parts = size_split(np.array([20, 21, 3, 23, 22, 29]))
    assert {k: v.tolist() for k, v in parts.items()} == {"train": [0, 2], "val": [1, 4], "test": [3, 5]}


def test_sources_divide_themselves(tmp_path):
    table = open_labels(stable(tmp_path / "QH9Stable.db"))
    values = open_labels(write_lmdb(tmp_path / "QH9Stable.lmdb", [value(r) for r in records()]))
    for source in (table, values):
        assert_division(source.official_split("random"), 3)
        assert len(source.official_split("size_ood")["train"]) == 3
        with pytest.raises(DatasetError, match="published for it: random, size_ood"):
            source.official_split("geometry")
    frames = [value(r, bohr=True, id=k, geo_id=f) for k, r in enumerate(records()) for f in range(10)]
    moving = open_labels(write_lmdb(tmp_path / "d.lmdb", frames), version="300k")
    same = open_labels(dynamic(tmp_path / "d.db", molecules=3), version="300k")
    for source in (moving, same):
        assert_division(source.official_split("geometry"), 30, [24, 3, 3])
        assert_division(source.official_split("mol"), 30, [20, 0, 10])


def test_the_reader_is_listed():
    assert {"qh9", "nabladft", "schnorb"} <= set(readers())
