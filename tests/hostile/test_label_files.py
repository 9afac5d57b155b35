"""Label files that reach outside, claim more than they hold, or say what cannot be: refused in words."""

import json
import sqlite3
import zipfile
from functools import partial

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ase.errors import DatasetError
from helm_ase.labels.npz import load_npz
from helm_ase.qc.molecule import ao_basis
from helm_ase.system.plain_database import connect
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
from shared.bounded_process import readable, refused_in_words
from shared.sample_labels import write_entry
from shared.stored_labels import invented, write

SECRET = b"root:x:0:0:root:/root:/bin/sh\n" * 4000
ENTRY = "sub/h2_0_1"


# --- good files, to be spoiled ----------------------------------------------------------------------


def own_file(path):
    write(path, [invented(k, kind) for k, kind in enumerate(("O", "C", "[H][H]"))])


def group_file(path):
    with h5py.File(path, "w") as file:
        for k, kind in enumerate(("O", "C")):
            label = invented(k, kind)
            names = ("numbers", "positions", "hamiltonian", "dipole", "smiles")
            record = {name: getattr(label, name) for name in names}
            record |= {"energy": label.energy / HARTREE_IN_EV, "split": "train"}
            record |= {"forces": label.forces / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM}
            write_entry(file, f"{k:06d}", record)


def omol_file(path):
    size = ao_basis("def2-tzvpd", [1]).size([1, 1])
    with h5py.File(path, "w") as file:
        file[f"{ENTRY}/coords"] = np.array([[0, 0, 0], [0, 0, 0.74]])
        file[f"{ENTRY}/elements"] = np.array([1, 1])
        file[f"{ENTRY}/fock"] = np.random.default_rng(1).normal(size=size * (size + 1) // 2)


LAYOUTS = {"own": own_file, "group": group_file, "omol": omol_file}


@pytest.fixture
def spoiled(tmp_path):
    """A file of a layout, changed by a function of the open file."""

    def make(layout, change):
        path = tmp_path / "labels.h5"
        LAYOUTS[layout](path)
        (tmp_path / "secret").write_bytes(SECRET)
        with h5py.File(path, "r+") as file:
            change(file, tmp_path)
        return path

    return make


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_are_good_before_they_are_spoiled(layout, spoiled, bounded):
    outcome = bounded.ask("read_labels", spoiled(layout, lambda *_: None))
    assert outcome.kind == "answer", outcome
    assert outcome.value[1][0] == ([1, 1] if layout == "omol" else [8, 1, 1])


# --- what lies elsewhere, needs foreign code, or is not there -----------------------------------------


def taken(file, where):
    """Remove a data set; its shape, type and numbers."""
    found = file[where]
    shape, kind, numbers = found.shape, found.dtype, found[...]
    del file[where]
    return shape, kind, numbers


def external_storage(where, file, folder):
    shape, kind, _ = taken(file, where)
    file.create_dataset(where, shape, kind, external=[(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)])


def external_link(where, file, folder):
    _, _, numbers = taken(file, where)
    with h5py.File(folder / "other.hdf", "w") as other:
        other["x"] = numbers
    file[where] = h5py.ExternalLink(str(folder / "other.hdf"), "/x")


def virtual(where, file, folder):
    shape, kind, numbers = taken(file, where)
    with h5py.File(folder / "other.hdf", "w") as other:
        other["x"] = numbers
    layout = h5py.VirtualLayout(shape, kind)
    layout[...] = h5py.VirtualSource(str(folder / "other.hdf"), "x", shape)
    file.create_virtual_dataset(where, layout)


def soft_link(where, file, folder):
    _, _, numbers = taken(file, where)
    file["elsewhere_0_1/fock"] = numbers
    file[where] = h5py.SoftLink("/elsewhere_0_1/fock")


def soft_loop(where, file, folder):
    taken(file, where)
    file[where] = h5py.SoftLink(f"/{where}")


def plugin(where, file, folder):
    shape, kind, _ = taken(file, where)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(tuple(max(n, 1) for n in shape))
    plan.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, where.encode(), h5py.h5t.py_create(kind), space, plan)


def sparse(where, file, folder):
    shape, kind, _ = taken(file, where)
    file.create_dataset(where, (10**11, *shape[1:]), kind, chunks=(1000, *shape[1:]))


ATTACKS = (external_storage, external_link, virtual, soft_link, soft_loop, plugin, sparse)
PLACES = {
    "own": ("key", "energy", "numbers/values", "hamiltonian/values", "name/values", "forces/offsets"),
    "group": ("000000/numbers", "000000/positions", "000000/hamiltonian_tril"),
    "omol": (f"{ENTRY}/elements", f"{ENTRY}/coords", f"{ENTRY}/fock"),
}
REACHES = {
    f"{layout}: {attack.__name__} of {place}": (layout, partial(attack, place))
    for layout, places in PLACES.items()
    for place in places
    for attack in ATTACKS
}
WORDS = "link|lie in another file|plugin|claims|has shape|no known format"


@pytest.mark.parametrize("name", REACHES)
def test_nothing_outside_the_file_is_read_and_nothing_that_is_not_there(name, spoiled, bounded):
    layout, change = REACHES[name]
    text = refused_in_words(bounded.ask("read_labels", spoiled(layout, change)))
    assert any(word in text for word in WORDS.split("|")), text
    assert "root:x" not in text


# --- contents that contradict themselves or mean something else ---------------------------------------


def attribute(where, name, value):
    return lambda file, folder: file[where].attrs.__setitem__(name, value)


def data(where, values):
    def change(file, folder):
        taken(file, where)
        file[where] = np.asarray(values)

    return change


def as_type(where, kind, offset=0.0):
    def change(file, folder):
        _, _, numbers = taken(file, where)
        file[where] = numbers.astype(kind) + offset

    return change


def keys_of_varying_length(file, folder):
    taken(file, "key")
    file.create_dataset("key", data=["a", "b", "c"], dtype=h5py.string_dtype())


def long_name(file, folder):
    """640 MB of one letter in half a megabyte."""
    del file["name/values"]
    plan = {"chunks": (2**24,), "compression": "gzip", "compression_opts": 9}
    data = file["name"].create_dataset("values", (40 * 2**24,), "u1", **plan)
    data[: 2**24] = 65
    _, chunk = data.id.read_direct_chunk((0,))
    for k in range(1, 40):
        data.id.write_direct_chunk((k * 2**24,), chunk)
    file["name/offsets"][-1] = 40 * 2**24


def nested_groups(file, folder):
    del file["sub"]
    file.create_group("a/b/c/d/e/f/g/h_0_1")["fock"] = np.zeros(3)


def group_in_itself(file, folder):
    file["sub/deep/again"] = file["sub"]


CONTENTS = {
    "own: energy in eV": ("own", attribute("energy", "unit", np.bytes_(b"eV")), "this layout has hartree"),
    "own: positions in bohr": ("own", attribute("positions", "unit", np.bytes_(b"bohr")), "angstrom"),
    "own: H in eV": ("own", attribute("hamiltonian", "unit", np.bytes_(b"eV")), "hartree"),
    "own: forces in eV/Å": ("own", attribute("forces", "unit", np.bytes_(b"ev/ang")), "hartree/bohr"),
    "own: atomic number 1.5": ("own", as_type("numbers/values", "f8", 0.5), "numbers/values has"),
    "own: charge 0.5": ("own", as_type("charge", "f8", 0.5), "charge has"),
    "own: multiplicity 1.5": ("own", as_type("multiplicity", "f8", 0.5), "multiplicity has"),
    "own: real offsets": ("own", as_type("forces/offsets", "f8"), "forces/offsets has"),
    "own: keys of varying length": ("own", keys_of_varying_length, "holds object"),
    "own: keys are numbers": ("own", data("key", [1, 2, 3]), "key has type"),
    "own: level is no JSON": ("own", attribute("/", "level", np.bytes_(b"{")), "labels.h5"),
    "own: level is nested": ("own", attribute("/", "level", np.bytes_(b"[" * 20000)), "labels.h5"),
    "own: level has an unknown field": ("own", attribute("/", "level", np.bytes_(b'{"a": 1}')), "unexpected"),
    "own: level is a number": ("own", attribute("/", "level", 7), "not a text"),
    "own: shells are a list": ("own", attribute("/", "shells", np.bytes_(b"[1]")), "labels.h5"),
    "own: schema of tomorrow": ("own", attribute("/", "schema_version", 10**9), "update it"),
    "own: a name of 640 MB": ("own", long_name, "claims 640 MiB"),
    "group: H in eV": ("group", attribute("000000/hamiltonian_tril", "unit", "eV"), "'eV'"),
    "group: positions in bohr": ("group", attribute("000000/positions", "units", "bohr"), "'bohr'"),
    "group: atomic number 8.5": ("group", data("000000/numbers", [8.5, 1, 1]), "whole numbers"),
    "group: energy is a text": ("group", attribute("000000", "energy", "-75"), "no number"),
    "group: energy is an array": ("group", attribute("000000", "energy", np.ones(9)), "no number"),
    "group: SMILES is a number": ("group", attribute("000000", "smiles", 7), "not a text"),
    "group: numbers are a group": ("group", lambda f, _: (taken(f, "000000/numbers"),
                                   f.create_group("000000/numbers")), "is a group"),
    "omol: element 1.5": ("omol", data(f"{ENTRY}/elements", [1.5, 1]), "whole numbers"),
    "omol: coordinates in bohr": ("omol", attribute(f"{ENTRY}/coords", "unit", "bohr"), "'bohr'"),
    "omol: charge contradicts the name": ("omol", attribute(ENTRY, "charge", 1), "contradicts"),
    "omol: charge is a text": ("omol", attribute(ENTRY, "charge", "0"), "no number"),
    "omol: groups without end": ("omol", nested_groups, "deeper|no known format"),
    "omol: a group in itself": ("omol", group_in_itself, "deeper|no known format"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_what_cannot_be_is_refused_with_its_name(name, spoiled, bounded):
    layout, change, words = CONTENTS[name]
    text = refused_in_words(bounded.ask("read_labels", spoiled(layout, change)))
    assert any(word in text for word in words.split("|")), text


# --- SQLite -----------------------------------------------------------------------------------------

COLUMNS = {
    "qh9": "id INTEGER, N INTEGER, Z BLOB, pos BLOB, Ham BLOB",
    "nablaDFT": "id INTEGER, Z BLOB, R BLOB, E FLOAT, F BLOB, H BLOB, S BLOB",
    "schnorb": "id INTEGER, numbers BLOB, positions BLOB, data TEXT",
}
TABLE = {"qh9": "data", "nablaDFT": "data", "schnorb": "systems"}


def statements(layout, kind):
    columns, table = COLUMNS[layout], TABLE[layout]
    names = [c.split()[0] for c in columns.split(", ")]
    made = f"CREATE TABLE {table} ({columns})"
    row = f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})"
    some = [b"\x01\0\0\0"] * (len(names) - 1)
    rest = ", ".join(f"x'01000000' AS {n}" for n in names[1:])
    endless = (
        f"CREATE VIEW {table} AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) "
        f"SELECT id, {rest} FROM c"
    )
    return {
        "a view": [(f"CREATE VIEW {table} AS SELECT 1 AS id, {rest}", ())],
        "an endless view": [(endless, ())],
        "an endless view beside the table": [(made, ()), (endless.replace(f"VIEW {table}", "VIEW v"), ())],
        "a trigger": [(made, ()), (f"CREATE TRIGGER t AFTER INSERT ON {table} BEGIN SELECT 1; END", ())],
        "a virtual table": [(f"CREATE VIRTUAL TABLE {table} USING fts5({', '.join(names)})", ())],
        "an id that is a text": [(made.replace("id INTEGER", "id TEXT"), ()), (row, ("x", *some))],
        "one id twice": [(made, ()), (row, (1, *some)), (row, (1, *some))],
        "no id": [(made, ()), (row, (None, *some))],
        "blobs too short": [(made, ()), (row, (1, *some))],
        "numbers where blobs belong": [(made, ()), (row, (1, *[10**15] * len(some)))],
        "nothing in its cells": [(made, ()), (row, (1, *[None] * len(some)))],
    }[kind]


KINDS = ("a view", "an endless view", "an endless view beside the table", "a trigger", "a virtual table",
         "an id that is a text", "one id twice", "no id", "blobs too short", "numbers where blobs belong",
         "nothing in its cells")  # fmt: skip
DATABASES = {f"{layout}: {kind}": (layout, kind) for layout in COLUMNS for kind in KINDS}


@pytest.mark.parametrize("name", DATABASES)
def test_databases_are_tables_of_numbers_or_refused(name, tmp_path, bounded):
    layout, kind = DATABASES[name]
    path = tmp_path / "labels.db"
    with sqlite3.connect(path) as file:
        for statement, values in statements(layout, kind):
            file.execute(statement, values)
    file.close()
    text = refused_in_words(bounded.ask("read_labels", path, layout.lower()))
    if kind in KINDS[:5]:
        assert "only plain tables are read" in text


def test_every_query_ends(tmp_path):
    sqlite3.connect(tmp_path / "x.db").execute("CREATE TABLE t (id INTEGER)")
    file = connect(tmp_path / "x.db")
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) FROM c"
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        file.execute(endless).fetchone()
    assert file.execute("SELECT 1").fetchone() == (1,)  # the next one begins anew


# --- archives of arrays and texts ---------------------------------------------------------------------

HEADER = "{{'descr': '<f8', 'fortran_order': False, 'shape': {}, }}"


def npy(shape, body=b""):
    text = HEADER.format(shape).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + body


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


ARCHIVES = {
    "npz: unpacks a thousandfold": (lambda p: archive(p, {"a.npy": npy((12 * 2**20,), bytes(96 * 2**20))}),
                                    "far more than it is"),
    "npz: a shape of 10^12": (lambda p: archive(p, {"a.npy": npy((10**12,), bytes(80))}), "claims shape"),
    "npz: a shape of 10^6 cubed": (lambda p: archive(p, {"a.npy": npy((10**6,) * 3)}), "claims shape"),
    "npz: a negative shape": (lambda p: archive(p, {"a.npy": npy((-5,), bytes(80))}), "fock.npz"),
    "npz: a text": (lambda p: archive(p, {"a.npy": "hello"}), "fock.npz"),
    "npz: no archive": (lambda p: p.write_bytes(b"PK\3\4" + bytes(50)), "fock.npz"),
    "npz: empty": (lambda p: p.write_bytes(b""), "fock.npz"),
    "npz: nested header": (lambda p: archive(p, {"a.npy": npy("(" * 5000)}), "fock.npz"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_hold_what_they_claim_or_are_refused(name, tmp_path, bounded):
    make, words = ARCHIVES[name]
    (tmp_path / "m.xyz").write_text("1\n\nH 0 0 0\n")
    make(tmp_path / "fock.npz")
    text = refused_in_words(bounded.ask("read_labels", tmp_path, basis="sto-3g"))
    assert words in text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.lists(st.integers(0, 10**9), max_size=4), stored=st.integers(0, 300))
def test_an_array_has_the_shape_of_its_bytes_or_is_refused(shape, stored, tmp_path):
    archive(tmp_path / "x.npz", {"a.npy": npy(tuple(shape), bytes(8 * stored))})
    try:
        found = load_npz(tmp_path / "x.npz")["a"]
    except (DatasetError, ValueError):
        return
    assert found.shape == tuple(shape)
    assert found.nbytes <= 8 * stored


ATOM = """[Molden Format]
[Atoms] {unit}
H 1 1 0.0 0.0 0.0
[GTO]
1 0
s {count} 1.0
3.4 0.1
0.6 0.5
0.1 0.4

[5D]
"""
ORBITAL = "[MO]\nEne= -0.5\nSpin= Alpha\nOccup= 1.0\n1 1.0\n"


def molden(unit="AU", count="3", tail=ORBITAL):
    return ATOM.format(unit=unit, count=count) + tail


def fchk(count, number):
    head = "t\nSP RB3LYP def2SVP\n" + "Number of atoms".ljust(43) + "I" + "1".rjust(17) + "\n"
    return head + "Atomic numbers".ljust(43) + "I   N=" + count.rjust(12) + f"\n {number}\n"


TEXTS = {
    "molden: 10^9 primitives": ("m.molden", molden(count=str(10**9)), "no such number of rows"),
    "molden: 10^30 primitives": ("m.molden", molden(count=str(10**30)), "no such number of rows"),
    "molden: no primitive": ("m.molden", molden(count="0"), "no such number of rows"),
    "molden: -3 primitives": ("m.molden", molden(count="-3"), "no such number of rows"),
    "molden: primitives in words": ("m.molden", molden(count="three"), "no such number of rows"),
    "molden: furlongs": ("m.molden", molden(unit="Furlong"), "known units"),
    "molden: nanometres": ("m.molden", molden(unit="nm"), "known units"),
    "molden: atom 10^9": ("m.molden", molden().replace("1 0\ns", "1000000000 0\ns"), "m.molden"),
    "molden: too many orbitals": ("m.molden", molden(tail=ORBITAL + "Ene= 1\n1 1.0\n" * 5), "orbitals"),
    "molden: no orbitals": ("m.molden", molden(tail="[MO]\n"), "orbitals"),
    "molden: function 10^9": ("m.molden", molden(tail=ORBITAL.replace("1 1.0", "1000000000 1")), "damaged"),
    "molden: NaN": ("m.molden", molden(tail=ORBITAL.replace("-0.5", "nan")), "m.molden"),
    "molden: wide basis": ("m.molden", molden().replace("s 3", "i 1 1.0\n1 1\n" * 4000 + "s 3"), "m.molden"),
    "orca: nested": ("m.json", '{"Molecule": {"Atoms": ' + "[" * 100000, "cut short|no JSON"),
    "orca: a bomb of digits": ("m.json", '{"Molecule": {"Atoms": ' + "9" * 10000 + "}}", "m.json"),
    "orca: NaN": ("m.json", '{"Molecule": {"Atoms": NaN}}', "m.json"),
    "orca: nothing": ("m.json", '{"Molecule": {"Atoms": []}}', "missing"),
    "orca: a list": ("m.json", '["Molecule", "Atoms"]'.replace('"Molecule"', '"Molecule": 1'), "m.json"),
    "fchk: 10^9 numbers": ("m.fchk", fchk(str(10**9), "1"), "cut short"),
    "fchk: atomic number 1.5": ("m.fchk", fchk("1", "1.5"), "whole numbers"),
    "fchk: letters": ("m.fchk", fchk("1", "x"), "no number"),
    "a list of names that are bombs": ("m.h5.keys.json", "[" * 50000, "m.h5"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_programs_are_read_within_bounds_or_refused(name, tmp_path, bounded):
    file, content, words = TEXTS[name]
    (tmp_path / file).write_text(content)
    if file.endswith("keys.json"):
        omol_file(tmp_path / "m.h5")
        file = "m.h5"
    text = refused_in_words(bounded.ask("read_labels", tmp_path / file))
    assert any(word in text for word in words.split("|")), text


# --- the terminal -----------------------------------------------------------------------------------

PRINTED = {
    "info of a file named with escapes": ["data", "info", "evil\x1b[2J.h5"],
    "check of entries named with escapes": ["data", "check", "labels.h5"],
    "split by what is recorded with escapes": ["data", "split", "labels.h5", "-o", "x", "--by", "recorded"],
    "info of a split with escapes": ["data", "info", "labels.h5"],
    "info as JSON": ["data", "info", "labels.h5", "--json"],
    "an unknown format with escapes": ["data", "info", "labels.h5", "--format", "\x1b]0;x\x07"],
    "an unknown rule with escapes": ["data", "split", "labels.h5", "-o", "x", "--by", "\x1b[31mred"],
    "an option with escapes": ["data", "info", "labels.h5", "--option", "\x1b[31m=1"],
}


@pytest.mark.parametrize("name", PRINTED)
def test_control_characters_of_files_never_reach_the_terminal(name, tmp_path, bounded):
    labels = [invented(k, "O", name=f"n{k}\x1b[2J\x07\r", split="\x1b[31mtrain") for k in range(3)]
    for file in ("labels.h5", "evil\x1b[2J.h5"):
        write(tmp_path / file, labels)
    outcome = bounded.ask("command", PRINTED[name], tmp_path)
    assert outcome.kind == "answer", outcome
    _, out, err = outcome.value
    assert out + err
    readable((out + err)[:1500])
    assert "\x1b" not in out + err


def test_names_that_are_JSON_stay_what_they_are(tmp_path, bounded):
    write(tmp_path / "labels.h5", [invented(0, "O", split="\x1b[31mtrain")])
    _, out, _ = bounded.ask("command", ["data", "info", "labels.h5", "--json"], tmp_path).value
    assert json.loads(out)[0]["splits"] == {"\x1b[31mtrain": 1}


CASES = [*REACHES, *CONTENTS, *DATABASES, *ARCHIVES, *TEXTS, *PRINTED]
