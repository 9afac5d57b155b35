"""SchNOrb's ASE databases: both ways of writing arrays, ORCA's order, units, damaged files."""

import json
import pickle
import sqlite3
import subprocess
import sys
from base64 import b64encode
from functools import lru_cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.db import connect
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.formats.schnorb import decode
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
from shared.sample_labels import label

pytestmark = pytest.mark.scf

LEVEL = LevelOfTheory("pbe", "", "def2-svp", grid_level=0)
DEGREES = {1: (0, 0, 1), 8: (0, 0, 0, 1, 1, 2)}
ORCA_FROM_PYSCF = {0: [0], 1: [2, 0, 1], 2: [2, 3, 1, 4, 0]}
"""z, x, y; m = 0, +1, −1, +2, −2."""
ORCA_M = {0: [0], 1: [0, 1, -1], 2: [0, 1, -1, 2, -2]}


@lru_cache(maxsize=1)
def records():
    """Return three frames of one molecule, as a trajectory has them."""
    found = []
    for seed in range(3):
        atoms = molecule("H2O")
        atoms.positions += np.random.default_rng(seed).normal(scale=0.05, size=(3, 3))
        atoms.positions = Rotation.random(random_state=seed).apply(atoms.positions)
        mole = build_mole(atoms.numbers, atoms.positions, "def2-svp")
        found.append(label(atoms, LEVEL) | {"overlap": mole.intor("int1e_ovlp")})
    return found


def permuted(matrix, numbers):
    index, start = [], 0
    for z in numbers:
        for l in DEGREES[z]:
            index += [start + k for k in ORCA_FROM_PYSCF[l]]
            start += 2 * l + 1
    return matrix[np.ix_(index, index)]


def properties(record, dtype=np.float64):
    """Return what the authors' parser of ORCA's output makes."""
    gradient = -record["forces"]
    return {
        "hamiltonian": permuted(record["hamiltonian"], record["numbers"]).astype(dtype),
        "overlap": permuted(record["overlap"], record["numbers"]).astype(dtype),
        "energy": np.array([record["energy"]]),
        "forces": (gradient * (-1 / BOHR_IN_ANGSTROM)).astype(dtype),
    }


def as_base64(content):
    old = {}
    for name, array in content.items():
        old[name] = b64encode(array.tobytes()).decode()
        old[f"_shape_{name}"], old[f"_dtype_{name}"] = list(array.shape), str(array.dtype)
    return old


def basis_definition():
    table = np.zeros((9, 14, 5), dtype=int)
    for z, degrees in DEGREES.items():
        rows = [(n, l, m) for n, l in enumerate(degrees) for m in ORCA_M[l]]
        table[z, : len(rows), 0] = np.arange(len(rows))
        table[z, : len(rows), 2:] = rows
    return table.tolist()


def write(path, contents, metadata=None):
    with connect(path) as database:
        for record, content in zip(records(), contents, strict=False):
            database.write(Atoms(record["numbers"], record["positions"]), data=content)
        database.metadata = {"basisdef": basis_definition()} if metadata is None else metadata
    return path


def as_text(path):
    """Rewrite ``data`` as ASE did before it wrote bytes."""
    with sqlite3.connect(path) as connection:
        for k, data in connection.execute("SELECT id, data FROM systems").fetchall():
            plain = {n: {"__ndarray__": [list(v.shape), str(v.dtype), v.ravel().tolist()]}
                     for n, v in decode(data).items()}  # fmt: skip
            connection.execute("UPDATE systems SET data = ? WHERE id = ?", (json.dumps(plain), k))
    return path


def check(source, exact=True):
    digits = 1e-12 if exact else 3e-7
    for read, record in zip(source, records(), strict=True):
        np.testing.assert_array_equal(read.numbers, record["numbers"])
        np.testing.assert_allclose(read.positions, record["positions"], atol=1e-12)
        np.testing.assert_allclose(
            read.hamiltonian, record["hamiltonian"], atol=digits, rtol=0 if exact else digits
        )
        np.testing.assert_allclose(read.overlap, record["overlap"], atol=digits)
        assert read.energy == pytest.approx(record["energy"] * HARTREE_IN_EV, abs=1e-9)
        forces = record["forces"] * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
        np.testing.assert_allclose(read.forces, forces, atol=1e-11 if exact else 1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("older", [False, True])
def test_both_ways_of_writing_arrays(tmp_path, dtype, older):
    contents = [properties(r, dtype) for r in records()]
    path = write(tmp_path / "schnorb_hamiltonian_water.db", [as_base64(c) if older else c for c in contents])
    source = open_labels(path)
    check(source, exact=dtype == np.float64)
    assert [source.name_of(k) for k in range(3)] == ["1", "2", "3"]
    assert {source.molecule_of(k) for k in range(3)} == {"OHH"}


def test_data_as_text(tmp_path):
    check(open_labels(as_text(write(tmp_path / "x.db", [properties(r) for r in records()]))))


def test_the_level_is_stated_and_computable(tmp_path):
    level = open_labels(write(tmp_path / "x.db", [properties(r) for r in records()])).level
    assert (level.functional, level.basis, level.code) == ("pbe", "def2-svp", "ORCA")
    mole = build_mole([1, 1], np.array([[0, 0, 0], [0, 0, 0.74]]), level.basis)
    assert kohn_sham(mole, level).kernel() == pytest.approx(-1.16, abs=0.02)


def test_an_energy_offset_is_added_again(tmp_path):
    contents = [c | {"energy": c["energy"] + 70.0} for c in map(properties, records())]
    metadata = {"basisdef": basis_definition(), "energy_offset": -70.0}
    check(open_labels(write(tmp_path / "x.db", contents, metadata)))


def test_only_the_hamiltonian_is_needed_and_the_order_is_then_orcas(tmp_path):
    contents = [{"hamiltonian": properties(r)["hamiltonian"]} for r in records()]
    for read, record in zip(open_labels(write(tmp_path / "x.db", contents, {})), records(), strict=True):
        assert read.available() == set()
        np.testing.assert_allclose(read.hamiltonian, record["hamiltonian"], atol=1e-12)


def test_a_row_that_was_deleted_leaves_no_gap(tmp_path):
    path = write(tmp_path / "x.db", [properties(r) for r in records()])
    with connect(path) as database:
        del database[2]
    source = open_labels(path)
    assert [label.name for label in source] == ["1", "3"]
    np.testing.assert_allclose(source[1].hamiltonian, records()[2]["hamiltonian"], atol=1e-12)


def test_another_order_is_recognised_from_the_overlap(tmp_path):
    contents = [properties(r) | {n: r[n] for n in ("hamiltonian", "overlap")} for r in records()]
    check(open_labels(write(tmp_path / "x.db", contents)))


def test_matrices_of_another_program_are_refused(tmp_path):
    signs = np.where(np.arange(24) == 3, -1, 1)  # FHI-aims turns some functions round
    contents = [c | {"overlap": c["overlap"] * np.outer(signs, signs)} for c in map(properties, records())]
    with pytest.raises(DatasetError, match=r"x\.db, entry 1: no known AO order"):
        open_labels(write(tmp_path / "x.db", contents))[0]


def test_another_basis_is_refused(tmp_path):
    minimal = {"basisdef": [[[0] * 5] * 5] * 9}
    with pytest.raises(DatasetError, match=r"entry 1: basisdef lists degrees \[\] for [HO], def2-svp has"):
        open_labels(write(tmp_path / "x.db", [properties(r) for r in records()], minimal))[0]
    quambo = [c | {"hamiltonian": np.zeros((7, 7)), "overlap": np.eye(7)} for c in map(properties, records())]
    with pytest.raises(DatasetError, match="shape"):
        open_labels(write(tmp_path / "y.db", quambo, {}), ao_order="orca")[0]


def damaged(name, value):
    return lambda content: content | {name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged("hamiltonian", np.zeros((23, 23))), "hamiltonian over def2-svp has shape"),
        (damaged("hamiltonian", np.full((24, 24), np.nan)), "not finite"),
        (damaged("forces", np.zeros((2, 3))), "forces has shape"),
        (damaged("energy", np.zeros(2)), "energy has shape"),
        (damaged("hamiltonian", "AAAA"), "base64 without _shape_hamiltonian"),
        (lambda c: as_base64(c) | {"hamiltonian": "AAA"}, "padding"),
        (lambda c: as_base64(c) | {"hamiltonian": "AAAAAAAAAAA="}, "reshape"),
        (lambda c: as_base64(c) | {"_dtype_hamiltonian": "object"}, "not an array of plain numbers"),
        (damaged("cell", Atoms("H").cell), "ASE object"),
        (lambda c: {"energy": c["energy"]}, "hamiltonian is missing"),
    ],
)
def test_a_damaged_entry_is_named_and_leaves_the_others_alone(tmp_path, change, message):
    contents = [properties(r) for r in records()]
    contents[1] = change(contents[1])
    source = open_labels(write(tmp_path / "x.db", contents))
    with pytest.raises(DatasetError, match=rf"x\.db, entry 2: .*{message}"):
        source[1]
    np.testing.assert_allclose(source[2].hamiltonian, records()[2]["hamiltonian"], atol=1e-12)


@pytest.mark.parametrize(
    ("column", "change"),
    [("data", lambda b: b[:-5]), ("data", lambda b: b[:6]), ("data", lambda b: None), ("data", lambda b: "{"),
     ("positions", lambda b: b[:-8]), ("numbers", lambda b: b[:-1]), ("numbers", lambda b: None)],
)  # fmt: skip
def test_a_damaged_row_is_named(tmp_path, column, change):
    path = write(tmp_path / "x.db", [properties(r) for r in records()])
    with sqlite3.connect(path) as connection:
        (value,) = connection.execute(f"SELECT {column} FROM systems WHERE id = 2").fetchone()
        connection.execute(f"UPDATE systems SET {column} = ? WHERE id = 2", (change(value),))
    source = open_labels(path)
    with pytest.raises(DatasetError, match=r"x\.db, entry 2: "):
        source[1]
    np.testing.assert_allclose(source[2].hamiltonian, records()[2]["hamiltonian"], atol=1e-12)


def test_an_ase_database_of_other_things_is_not_taken(tmp_path):
    path = tmp_path / "plain.db"
    with connect(path) as database:
        database.write(Atoms("H"), data={"energy": 1.0})
    with pytest.raises(DatasetError, match="no known format"):
        open_labels(path)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE systems (id INTEGER)")
    with pytest.raises(DatasetError, match="no column data, numbers, positions"):
        open_labels(tmp_path / "other.db", format="schnorb")


def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE systems (id INTEGER, numbers BLOB, positions BLOB, data BLOB)")
        connection.executemany("INSERT INTO systems VALUES (?, NULL, NULL, NULL)", [(4,), (4,)])
    with pytest.raises(DatasetError, match=r"x\.db: there are several entries with id 4"):
        open_labels(tmp_path / "x.db", format="schnorb")


READ = "import pickle, sys; s = pickle.load(sys.stdin.buffer); print(s[1].key, float(s[1].hamiltonian.sum()))"


def test_a_source_works_in_another_process(tmp_path):
    source = open_labels(write(tmp_path / "x.db", [properties(r) for r in records()]))
    expected = f"{source[1].key} {float(source[1].hamiltonian.sum())}"
    done = subprocess.run([sys.executable, "-c", READ], input=pickle.dumps(source), stdout=subprocess.PIPE)
    assert done.stdout.decode().strip() == expected
