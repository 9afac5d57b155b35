"""nablaDFT's SQLite layout: units, widths, the AO order found from the overlap matrices, damaged files."""

import pickle
import sqlite3
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.ao_order import matching_order
from helm_ase.labels.formats import open_labels
from helm_ase.labels.formats.nabladft import part_of
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
from shared.sample_labels import label

pytestmark = pytest.mark.scf

LEVEL = LevelOfTheory("pbe", "", "def2-svp", grid_level=0)
SHELLS = {
    1: (0, 0, 1),
    6: (0, 0, 0, 1, 1, 2),
    7: (0, 0, 0, 1, 1, 2),
    8: (0, 0, 0, 1, 1, 2),
    9: (0, 0, 0, 1, 1, 2),
}
FROM_PYSCF = {
    "pyscf": {0: [0], 1: [0, 1, 2], 2: [0, 1, 2, 3, 4]},
    "e3nn": {0: [0], 1: [1, 2, 0], 2: [0, 1, 2, 3, 4]},
    "psi4": {0: [0], 1: [2, 0, 1], 2: [2, 3, 1, 4, 0]},
    "gaussian": {0: [0], 1: [0, 1, 2], 2: [2, 3, 1, 4, 0]},
}
"""Place in PySCF's shell (x, y, z; m = −2 … 2) of each function of another order."""
TABLES = """
CREATE TABLE dataset_ids (id INTEGER NOT NULL PRIMARY KEY, MOSES_ID INT, CONFORMER_ID INT);
CREATE TABLE nuclear_charges (id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB);
CREATE TABLE basisset (Z INTEGER NOT NULL PRIMARY KEY, orbitals BLOB);
CREATE TABLE metadata (id INTEGER PRIMARY KEY, N INTEGER);
"""
DATA = (
    "CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, {}R BLOB, E FLOAT, F BLOB, H BLOB, S BLOB, C BLOB)"
)


@lru_cache(maxsize=1)
def records():
    found = []
    for seed, name in enumerate(("H2O", "NH3", "HF")):
        atoms = molecule(name)
        atoms.positions = Rotation.random(random_state=seed).apply(atoms.positions) + 0.3
        mole = build_mole(atoms.numbers, atoms.positions, "def2-svp")
        found.append(label(atoms, LEVEL) | {"overlap": mole.intor("int1e_ovlp")})
    return found


def permuted(matrix, numbers, order):
    index, start = [], 0
    for z in numbers:
        for l in SHELLS[z]:
            index += [start + k for k in FROM_PYSCF[order][l]]
            start += 2 * l + 1
    return matrix[np.ix_(index, index)]


def fields(record, order="e3nn", dtype=np.float32):
    """Columns of ``data`` after the id."""
    z = record["numbers"]
    matrices = [permuted(record[name], z, order) for name in ("hamiltonian", "overlap", "overlap")]
    arrays = [record["positions"] / BOHR_IN_ANGSTROM, record["forces"], *matrices]
    blobs = [np.ascontiguousarray(a).astype(dtype).tobytes() for a in arrays]
    return {"Z": z.astype(np.int32).tobytes(), "R": blobs[0], "E": record["energy"], "F": blobs[1],
            "H": blobs[2], "S": blobs[3], "C": blobs[4]}  # fmt: skip


def write(path, rows, ids=True, shells=SHELLS, numbers=None):
    with sqlite3.connect(path) as connection:
        connection.executescript(TABLES)
        connection.execute(DATA.format("Z BLOB, " if numbers is None else ""))
        charges = np.array([0] if numbers is None else numbers, dtype=np.int32)
        connection.execute("INSERT INTO nuclear_charges VALUES (0, ?, ?)", (len(charges), charges.tobytes()))
        for k, row in enumerate(rows):
            values = [v for name, v in row.items() if numbers is None or name != "Z"]
            connection.execute(f"INSERT INTO data VALUES ({','.join('?' * (len(values) + 1))})", (k, *values))
            if ids:
                connection.execute("INSERT INTO dataset_ids VALUES (?, ?, ?)", (k, 500 + k // 2, k % 2))
        for z, degrees in shells.items():
            blob = np.array(degrees, dtype=np.int32).tobytes()
            connection.execute("INSERT INTO basisset VALUES (?, ?)", (z, blob))
        connection.execute("INSERT INTO metadata VALUES (0, ?)", (len(rows),))
    connection.close()
    return path


def published(path, order="e3nn", dtype=np.float32, **settings):
    return write(path, [fields(r, order, dtype) for r in records()], **settings)


def check(source, exact):
    """Compare to the last digit of float64 or, relative to the largest element, of float32."""
    digits = 1e-12 if exact else 3e-7
    for read, record in zip(source, records(), strict=True):
        np.testing.assert_array_equal(read.numbers, record["numbers"])
        np.testing.assert_allclose(read.positions, record["positions"], atol=digits * 2)
        np.testing.assert_allclose(
            read.hamiltonian, record["hamiltonian"], atol=digits, rtol=0 if exact else digits
        )
        np.testing.assert_allclose(read.overlap, record["overlap"], atol=digits)
        assert read.energy == pytest.approx(record["energy"] * HARTREE_IN_EV, abs=1e-9)
        forces = record["forces"] * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
        np.testing.assert_allclose(read.forces, forces, atol=1e-11 if exact else 1e-5)


@pytest.mark.parametrize("order", FROM_PYSCF)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_order_is_found_and_undone(tmp_path, order, dtype):
    check(open_labels(published(tmp_path / "train_2k.db", order, dtype)), exact=dtype == np.float64)


def test_who_made_it_and_which_molecule_it_is(tmp_path):
    source = open_labels(published(tmp_path / "train_2k.db"))
    assert (source.level.functional, source.level.basis) == ("hyb_gga_xc_wb97x_d", "def2-svp")
    assert source.level.code == "Psi4 1.5"
    assert [source.molecule_of(k) for k in range(3)] == ["moses-500", "moses-500", "moses-501"]
    assert source[1].details == {"moses_id": 500, "conformer_id": 1}
    plain = open_labels(published(tmp_path / "x.db", ids=False))
    assert plain[0].details == {}
    assert len({plain.molecule_of(k) for k in range(3)}) == 3


def test_pyscf_knows_the_functional_by_the_name_that_is_given():
    from helm_ase.labels.formats.nabladft import LEVEL as published_level

    mole = build_mole([1, 1], np.array([[0, 0, 0], [0, 0, 0.74]]), published_level.basis)
    assert kohn_sham(mole, published_level).kernel() == pytest.approx(-1.1715, abs=1e-3)


def test_phisnets_files_have_one_molecule_for_all_entries(tmp_path):
    record = records()[0]
    rows = [fields(record, "psi4", np.float64)] * 2
    source = open_labels(write(tmp_path / "water.db", rows, ids=False, numbers=record["numbers"]))
    for read in source:
        np.testing.assert_array_equal(read.numbers, record["numbers"])
        np.testing.assert_allclose(read.hamiltonian, record["hamiltonian"], atol=1e-12)
    assert source.molecule_of(0) == source.molecule_of(1)


def test_molecules_that_decide_nothing_are_passed_over(tmp_path):
    """An atom's overlap matrix fits every order; the next molecule's does not."""
    neon_like = label(Atoms("HH", positions=[[0, 0, 0], [0.2, 0.4, 0.6]]), LEVEL)
    mole = build_mole(neon_like["numbers"], neon_like["positions"], "def2-svp")
    first = neon_like | {"overlap": mole.intor("int1e_ovlp")}
    for order in ("psi4", "gaussian"):
        rows = [fields(r, order, np.float64) for r in (first, *records())]
        source = open_labels(write(tmp_path / f"{order}.db", rows))
        for read, record in zip(source, (first, *records()), strict=True):
            np.testing.assert_allclose(read.hamiltonian, record["hamiltonian"], atol=1e-12)


def test_an_order_that_stays_open_is_an_error_and_can_be_given(tmp_path):
    numbers, positions = np.array([2]), np.zeros((1, 3))
    alone = build_mole(numbers, positions, "def2-svp").intor("int1e_ovlp")
    with pytest.raises(DatasetError, match=r"leave the AO order open \(pyscf"):
        matching_order([(numbers, positions, alone)], "def2-svp")
    with pytest.raises(DatasetError, match="leave the AO order open"):
        matching_order([], "def2-svp")
    row = fields(records()[0], "psi4", np.float64) | {"S": None}
    path = write(tmp_path / "x.db", [row])
    with pytest.raises(DatasetError, match=r"x\.db, entry 0: .*pass ao_order="):
        open_labels(path)[0]
    read = open_labels(path, ao_order="psi4")[0]
    assert read.overlap is None
    np.testing.assert_allclose(read.hamiltonian, records()[0]["hamiltonian"], atol=1e-12)
    with pytest.raises(SettingError, match="unknown ao_order 'turbomole'"):
        open_labels(path, ao_order="turbomole")


def test_an_order_known_only_for_small_shells_is_not_applied_to_larger_ones():
    mole = build_mole([1, 1], records()[0]["positions"][:2], "def2-svp")
    order, degree = matching_order(
        [(np.array([1, 1]), records()[0]["positions"][:2], mole.intor("int1e_ovlp"))], "def2-svp"
    )
    assert (order, degree) == ("pyscf", 1)


@pytest.mark.parametrize("change", [lambda s: -s, lambda s: s[::-1, ::-1], lambda s: s + 1e-3])
def test_an_overlap_matrix_that_fits_no_order_is_an_error(tmp_path, change):
    rows = [fields(r | {"overlap": change(r["overlap"])}, dtype=np.float64) for r in records()]
    with pytest.raises(DatasetError, match=r"x\.db, entry 0: no known AO order .* off by"):
        open_labels(write(tmp_path / "x.db", rows))[0]


def test_positions_in_angstrom_do_not_pass_for_bohr(tmp_path):
    rows = [fields(r | {"positions": r["positions"] * BOHR_IN_ANGSTROM}) for r in records()]
    with pytest.raises(DatasetError, match="unit differ"):
        open_labels(write(tmp_path / "x.db", rows))[0]


def nan(blob):
    values = np.frombuffer(blob, dtype=np.float32).copy()
    values[3] = np.nan
    return values.tobytes()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("H", lambda b: b[:-4], "H over def2-svp has"),
        ("H", lambda b: np.zeros((7, 7), dtype=np.float32).tobytes(), "H over def2-svp has 196 bytes"),
        ("H", nan, "not finite"),
        ("H", lambda b: None, "H over def2-svp is missing"),
        ("S", nan, "not finite"),
        ("S", lambda b: b[1:], "S over def2-svp has"),
        ("R", nan, "not finite"),
        ("R", lambda b: b"", "R has 0 bytes"),
        ("F", lambda b: b[:8], "F has 8 bytes"),
        ("Z", lambda b: b[:5], "Z has 5 bytes"),
        ("Z", lambda b: b"", "Z has 0 bytes"),
        ("Z", lambda b: None, "Z is missing"),
        ("Z", lambda b: b"\xff" * len(b), "make no molecule"),
        ("E", lambda e: "inf", "energy is inf"),
    ],
)
@pytest.mark.parametrize("entry", [0, 1])
def test_a_damaged_entry_is_named_and_leaves_the_others_alone(tmp_path, entry, name, change, message):
    rows = [fields(r) for r in records()]
    rows[entry][name] = change(rows[entry][name])
    source = open_labels(write(tmp_path / "x.db", rows))
    with pytest.raises(DatasetError, match=rf"x\.db, entry {entry}: .*{message}"):
        source[entry]
    np.testing.assert_allclose(source[2].hamiltonian, records()[2]["hamiltonian"], atol=1e-5)


def test_energy_and_forces_may_be_absent(tmp_path):
    read = open_labels(write(tmp_path / "x.db", [fields(records()[0]) | {"E": None, "F": None}]))[0]
    assert read.energy is None
    assert read.forces is None


def test_another_basis_is_refused_with_its_shells(tmp_path):
    path = published(tmp_path / "x.db", shells=SHELLS | {8: (0, 0, 0, 1, 1)})
    with pytest.raises(DatasetError, match=r"x\.db, table basisset, element 8: shells"):
        open_labels(path)


def test_tables_that_are_missing_are_named(tmp_path):
    path = published(tmp_path / "x.db")
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE data RENAME COLUMN S TO overlap")
    with pytest.raises(DatasetError, match="no known format"):
        open_labels(path)
    with pytest.raises(DatasetError, match=r"x\.db: table data has no column S"):
        open_labels(path, format="nabladft")
    charges = published(tmp_path / "y.db")
    with sqlite3.connect(charges) as connection:
        connection.executescript("ALTER TABLE data RENAME COLUMN Z TO old; DROP TABLE nuclear_charges")
    with pytest.raises(DatasetError, match="neither a column Z nor a table nuclear_charges"):
        open_labels(charges)


def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "x.db"
    row = fields(records()[0])
    with sqlite3.connect(path) as connection:
        connection.execute(DATA.format("Z BLOB, ").replace("NOT NULL PRIMARY KEY", ""))
        for _ in range(2):
            connection.execute("INSERT INTO data VALUES (?,?,?,?,?,?,?,?)", (4, *row.values()))
    with pytest.raises(DatasetError, match=r"x\.db: there are several entries with id 4"):
        open_labels(path)


READ = "import pickle, sys; s = pickle.load(sys.stdin.buffer); print(s[1].key, float(s[1].hamiltonian.sum()))"


def test_a_source_works_in_another_process(tmp_path):
    source = open_labels(published(tmp_path / "x.db"))
    expected = f"{source[1].key} {float(source[1].hamiltonian.sum())}"
    done = subprocess.run([sys.executable, "-c", READ], input=pickle.dumps(source), stdout=subprocess.PIPE)
    assert done.stdout.decode().strip() == expected


@pytest.mark.parametrize(
    ("stem", "split", "part"),
    [
        ("train_2k", "tiny", "train"), ("train_2k", "small", None), ("train_100k", "large", "train"),
        ("train_10k", "medium", "train"), ("train_full", "full", "train"),
        ("dataset_train_small", "small", "train"), ("test_2k_conformers", "tiny", "test"),
        ("test_2k_conformers", "full", None), ("test_structures", "tiny", "test"),
        ("test_scaffolds", "full", "test"), ("mine", "tiny", None),
        ("nablaDFT_hamiltonian_test_conformations_large", "large", "test"),
    ],
)  # fmt: skip
def test_a_published_file_is_one_part_of_a_split(stem, split, part):
    assert part_of(stem, split) == part


def test_the_split_of_a_file_is_the_file(tmp_path):
    source = open_labels(published(tmp_path / "train_2k.db"))
    parts = source.official_split("tiny")
    assert {k: v.tolist() for k, v in parts.items()} == {"train": [0, 1, 2]}
    with pytest.raises(DatasetError, match=r"is not a part of split 'small'.*train_5k\.db"):
        source.official_split("small")
    with pytest.raises(DatasetError, match="published for it: tiny, small"):
        source.official_split("random")
