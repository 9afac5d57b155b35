"""OMol_CSH_58k: a file written as it was published, AO-order trap included, gives back PySCF's matrices."""

import json
import pickle
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.data import atomic_numbers, chemical_symbols
from pyscf import gto, scf
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels

ORCA_SHELLS = {  # as ORCA's basis files list def2-TZVPD: valence, then diffuse
    "H He": "sssp p", "Li": "sssssppp p", "Be": "ssssspppd p", "B C N": "ssssspppddf sd",
    "O F Ne": "ssssspppddf spd", "Na Mg": "sssssppppddd p", "Al Si P": "ssssspppppddf sd",
    "S Cl Ar": "ssssspppppddf spd", "K Ca": "sssssspppppddd", "Ga Ge As": "sssssspppppddddf sd",
    "Se Br Kr": "sssssspppppddddf spd", "Rb Sr": "ssssssppppddd",
    "Y Zr Nb Mo Tc Ru Rh Pd Ag Cd Ba": "ssssssppppdddf", "In Sn Sb Tl Pb Bi": "sssssspppppdddff sd",
    "Te I Xe": "sssssspppppdddff spd", "Cs": "sssssppppddd", "Hf Ta W Re Os Ir Pt Au": "ssssssppppdddf p",
    "Hg": "sssssspppppdddf p",
}  # fmt: skip
SHELLS = {
    atomic_numbers[e]: ["spdf".index(c) for c in text.replace(" ", "")]
    for elements, text in ORCA_SHELLS.items()
    for e in elements.split()
}
TO_E3NN = {0: [0], 1: [2, 0, 1], 2: [4, 2, 0, 1, 3], 3: [6, 4, 2, 0, 1, 3, 5]}
PHASES = {0: [1], 1: [1] * 3, 2: [1] * 5, 3: [-1, 1, 1, 1, 1, 1, -1]}
PYSCF_M = {0: [0], 1: [1, -1, 0], 2: [-2, -1, 0, 1, 2], 3: [-3, -2, -1, 0, 1, 2, 3]}
ORCA_M = {0: [0], 1: [0, 1, -1], 2: [0, 1, -1, 2, -2], 3: [0, 1, -1, 2, -2, 3, -3]}


def orca_functions(numbers):
    """Every AO as ORCA lists it: (atom, l, which of this l, m)."""
    functions = []
    for atom, z in enumerate(numbers):
        seen = [0] * 4
        for l in SHELLS[z]:
            functions += [(atom, l, seen[l], m) for m in ORCA_M[l]]
            seen[l] += 1
    return functions


def pyscf_functions(numbers):
    return [
        (atom, l, k, m)
        for atom, z in enumerate(numbers)
        for l in range(4)
        for k in range(SHELLS[z].count(l))
        for m in PYSCF_M[l]
    ]


def published(matrix, numbers):
    """What the publishers did: ORCA's matrix, converted with shells sorted by degree; dense, step by step."""
    theirs = pyscf_functions(numbers)
    to_orca = np.zeros((len(theirs), len(theirs)))
    for row, (atom, l, k, m) in enumerate(orca_functions(numbers)):
        sign = -1 if abs(m) == 3 else 1
        if numbers[atom] == 4 and l == 1 and k < 2:  # ORCA begins with the single primitive, negative
            k, sign = (1, -1) if k == 0 else (0, 1)
        to_orca[row, theirs.index((atom, l, k, m))] = sign
    orca = to_orca @ matrix @ to_orca.T
    wrong = np.zeros_like(orca)
    start = 0
    for l in [l for z in numbers for l in sorted(SHELLS[z])]:
        for row, (source, phase) in enumerate(zip(TO_E3NN[l], PHASES[l], strict=True)):
            wrong[start + row, start + source] = phase
        start += 2 * l + 1
    stored = wrong @ orca @ wrong.T
    return stored[np.triu_indices(len(stored))]


def molecule(symbols, charge=0):
    rng = np.random.default_rng(7)
    chain = np.array([[1.6 * i, 0.4 * (i % 2), 0.0] for i in range(len(symbols))])
    positions = Rotation.random(random_state=3).apply(chain) + rng.normal(size=3)
    mole = gto.M(
        atom=list(zip(symbols, positions, strict=True)), basis="def2-tzvpd", charge=charge, verbose=0,
        ecp={s: "def2-tzvpd" for s in symbols if atomic_numbers[s] > 36},
    )  # fmt: skip
    return [atomic_numbers[s] for s in symbols], positions, scf.hf.get_hcore(mole)


CASES = {
    "ani1xbb/water_0_1": (("H", "O", "H"), 0),
    "ani1xbb/anion_-1_1": (("C", "N"), -1),
    "elytes/hi_0_1": (("I", "H"), 0),
    "elytes/beryllium_0_1": (("Be", "S"), 0),
    "elytes/mix_1_1": (("Na", "Cl", "K"), 1),
    "metals/gold_0_1": (("Au", "Br"), 0),
}


@pytest.fixture(scope="module")
def reference():
    return {name: molecule(symbols, charge) for name, (symbols, charge) in CASES.items()}


@pytest.fixture
def path(tmp_path, reference):
    file_path = tmp_path / "omol_csh_test.h5"
    with h5py.File(file_path, "w") as file:
        for name, (numbers, positions, matrix) in reference.items():
            group = file.create_group(name)
            group["elements"] = np.array(numbers)
            group["coords"] = positions
            group["fock"] = published(matrix, numbers)
    return file_path


def edit(path, name="ani1xbb/water_0_1"):
    return h5py.File(path, "r+")[name]


def test_every_published_matrix_comes_back_in_pyscf_order(path, reference):
    with open_labels(path) as labels:
        assert len(labels) == len(CASES)
        for label in labels:
            numbers, positions, matrix = reference[label.name]
            assert label.numbers.tolist() == numbers
            assert np.abs(label.positions - positions).max() == 0
            assert np.abs(label.hamiltonian - matrix).max() < 1e-12
            assert label.charge == CASES[label.name][1]
            assert label.energy is None
        assert labels.level.basis == "def2-tzvpd"


def test_reading_the_rows_as_they_stand_would_be_wrong(path, reference):
    _, _, matrix = reference["ani1xbb/water_0_1"]
    with h5py.File(path) as file:
        stored = np.zeros_like(matrix)
        stored[np.triu_indices(len(matrix))] = file["ani1xbb/water_0_1/fock"][()]
    assert np.abs(np.triu(matrix) - stored).max() > 1


@pytest.mark.parametrize("z", SHELLS)
def test_every_one_of_the_58_elements_has_its_order(z):
    from helm_ase.labels.formats.omol_csh import to_pyscf

    size = sum(2 * l + 1 for l in SHELLS[z])
    matrix = np.random.default_rng(z).normal(size=(size, size))
    matrix += matrix.T
    stored = np.zeros_like(matrix)
    stored[np.triu_indices(size)] = published(matrix, [z])
    stored += np.triu(stored, 1).T
    index, sign = to_pyscf([z])
    assert np.abs(stored[np.ix_(index, index)] * np.outer(sign, sign) - matrix).max() < 1e-14


def test_there_are_58_elements():
    assert len(SHELLS) == 58


def test_a_list_of_names_is_written_once_and_then_trusted(path, tmp_path):
    sidecar = tmp_path / "omol_csh_test.h5.keys.json"
    open_labels(path)
    assert sorted(json.loads(sidecar.read_text())) == sorted(CASES)
    sidecar.write_text(json.dumps(["elytes/hi_0_1"]))
    assert [label.name for label in open_labels(path)] == ["elytes/hi_0_1"]
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    "text", ["{", '"name"', "[1, 2]", '["a/b_0_1"]', '["elytes/hi_0_1", "elytes/hi_0_1"]']
)
def test_a_list_of_names_that_does_not_fit_is_refused(path, tmp_path, text):
    (tmp_path / "omol_csh_test.h5.keys.json").write_text(text)
    with pytest.raises(DatasetError, match=r"keys\.json.*delete it"):
        open_labels(path)


def test_without_leave_to_write_the_names_stay_in_memory(path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert len(open_labels(path)) == len(CASES)
    assert not path.with_name(path.name + ".keys.json").exists()


@pytest.mark.parametrize("kind", ["json", "csv", "npz"])
def test_energies_are_joined_by_name(path, tmp_path, kind):
    table = {"ani1xbb/water_0_1": -2081.25, "hi_0_1": -8100.5}
    file = tmp_path / f"energies.{kind}"
    match kind:
        case "json":
            file.write_text(json.dumps(table))
        case "csv":
            file.write_text("name,energy\n" + "".join(f"{k},{v}\n" for k, v in table.items()))
        case "npz":
            np.savez(file, **table)
    energies = {label.name: label.energy for label in open_labels(path, energies=file)}
    assert energies["ani1xbb/water_0_1"] == -2081.25
    assert energies["elytes/hi_0_1"] == -8100.5
    assert energies["ani1xbb/anion_-1_1"] is None


def test_a_damaged_file_of_energies_is_named(path, tmp_path):
    (tmp_path / "e.json").write_text('{"a": "many"}')
    with pytest.raises(DatasetError, match=r"e\.json"):
        open_labels(path, energies=tmp_path / "e.json")


def test_a_source_travels_to_other_processes(path):
    labels = open_labels(path)
    copy = pickle.loads(pickle.dumps(labels))
    assert np.array_equal(copy[2].hamiltonian, labels[2].hamiltonian)
    assert copy.molecule_of(0) == labels.molecule_of(0) != labels.molecule_of(1)


def refused(path, entry, match):
    with pytest.raises(DatasetError, match=match) as error, open_labels(path) as labels:
        list(labels)
    assert str(path) in str(error.value)
    assert entry in str(error.value)


def test_attributes_that_contradict_the_name_are_refused(path):
    for key, value in (("charge", 1), ("spin", 3)):
        group = edit(path)
        group.attrs[key] = value
        group.file.close()
        refused(path, "ani1xbb/water_0_1", f"{key}.*contradicts")
        group = edit(path)
        del group.attrs[key]
        group.file.close()


def test_attributes_that_agree_are_accepted(path):
    group = edit(path, "ani1xbb/anion_-1_1")
    group.attrs["charge"], group.attrs["spin"] = -1, 1
    group.file.close()
    assert sum(label.charge for label in open_labels(path)) == 0


@pytest.mark.parametrize(
    ("dataset", "change", "match"),
    [
        ("fock", lambda x: x[:-1], "fock has shape"),
        ("fock", lambda x: np.where(np.arange(len(x)) == 5, np.nan, x), "not finite"),
        ("coords", lambda x: x[:-1], "positions has shape"),
        ("coords", lambda x: None, "missing"),
        ("elements", lambda x: np.full_like(x, 26), "not among the 58"),
    ],
)
def test_damaged_entries_are_named(path, dataset, change, match):
    group = edit(path)
    values = change(group[dataset][()])
    del group[dataset]
    if values is not None:
        group[dataset] = values
    group.file.close()
    refused(path, "ani1xbb/water_0_1", match)


def test_a_name_without_charge_is_refused(path):
    with h5py.File(path, "r+") as file:
        file.move("metals/gold_0_1", "metals/gold")
    refused(path, "metals/gold", "does not end in")


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match=re.escape(str(path))):
        open_labels(path)


def test_symbols_of_the_table_are_all_different():
    assert len({chemical_symbols[z] for z in SHELLS}) == 58
