"""mlelec-style folders: xyz, stacked or separate matrices; pickles never run."""

import json
import pickle

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Debye
from pyscf import gto, scf
from scipy.spatial.transform import Rotation

from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.formats import open_labels

pytestmark = pytest.mark.scf

ORCA_COLUMNS = {0: [0], 1: [2, 0, 1], 2: [2, 3, 1, 4, 0]}  # of PySCF's functions
BASES = ("sto-3g", "def2-svp")


def frames(count=3):
    water = Atoms("OHH", [[0.02, 0.1, 0.0], [0.98, 0.1, 0.03], [-0.2, 0.94, 0.0]])
    return [
        Atoms(water.numbers, Rotation.random(random_state=k).apply(water.positions) * (1 + 0.01 * k))
        for k in range(count)
    ]


def solve(atoms, basis):
    mole = gto.M(atom=list(zip(atoms.symbols, atoms.positions, strict=True)), basis=basis, verbose=0)
    mf = scf.RHF(mole).run()
    return mf.get_fock(), mf.get_ovlp(), mf.dip_moment(unit="AU", verbose=0), mole


@pytest.fixture(scope="module", params=BASES)
def solved(request):
    return request.param, [solve(a, request.param) for a in frames()]


@pytest.fixture
def folder(tmp_path, solved):
    _basis, results = solved
    ase.io.write(tmp_path / "water.xyz", frames(), format="extxyz")
    exact(tmp_path / "water.xyz")
    for name, k in (("fock", 0), ("overlap", 1)):
        np.save(tmp_path / f"{name}.npy", np.stack([r[k] for r in results]))
    return tmp_path


def exact(path):
    """Positions in all digits: the default eight would show in the overlap."""
    lines = []
    for atoms in frames():
        lines += [str(len(atoms)), "Properties=species:S:1:pos:R:3"]
        for symbol, position in zip(atoms.symbols, atoms.positions, strict=True):
            lines.append(" ".join([symbol, *(repr(float(x)) for x in position)]))
    path.write_text("\n".join(lines) + "\n")


def test_stacked_arrays_come_back_unchanged(folder, solved):
    basis, results = solved
    with open_labels(folder, basis=basis, functional="hf") as labels:
        assert (labels.level.functional, len(labels)) == ("hf", 3)
        for label, (fock, overlap, _, _) in zip(labels, results, strict=True):
            assert np.abs(label.hamiltonian - fock).max() < 1e-12
            assert np.abs(label.overlap - overlap).max() < 1e-12
        copy = pickle.loads(pickle.dumps(labels))
        assert np.array_equal(copy[1].hamiltonian, labels[1].hamiltonian)


def test_one_array_a_frame_is_read_in_the_sequence_of_the_numbers(folder, solved):
    basis, results = solved
    (folder / "fock.npy").unlink()
    np.savez(folder / "fock.npz", *(r[0] for r in results))
    for label, (fock, _, _, _) in zip(open_labels(folder, basis=basis), results, strict=True):
        assert np.abs(label.hamiltonian - fock).max() < 1e-12


def test_eleven_frames_do_not_sort_as_text(tmp_path):
    atoms = Atoms("H", [[0.0, 0, 0]])
    ase.io.write(tmp_path / "a.xyz", [atoms] * 11, format="extxyz")
    np.savez(tmp_path / "fock.npz", *(np.full((1, 1), float(k)) for k in range(11)))
    labels = open_labels(tmp_path, basis="sto-3g", charge=-1)
    assert [label.hamiltonian[0, 0] for label in labels] == list(range(11))


def test_other_orders_are_converted(folder, solved):
    basis, results = solved
    stored = []
    for fock, overlap, _, mole in results:
        index, start = [], 0
        for shell in range(mole.nbas):
            l = mole.bas_angular(shell)
            for _ in range(mole.bas_nctr(shell)):
                index += [start + k for k in ORCA_COLUMNS[l]]
                start += 2 * l + 1
        stored.append((fock[np.ix_(index, index)], overlap[np.ix_(index, index)]))
    np.save(folder / "fock.npy", np.stack([s[0] for s in stored]))
    np.save(folder / "overlap.npy", np.stack([s[1] for s in stored]))
    label = open_labels(folder, basis=basis, order="orca")[1]
    assert np.abs(label.hamiltonian - results[1][0]).max() < 1e-12
    with pytest.raises(DatasetError, match="order"):
        open_labels(folder, basis=basis)


def test_a_wrong_basis_is_refused_by_its_overlap(folder, solved):
    with pytest.raises(DatasetError, match=r"deviates|does not fit"):
        open_labels(folder, basis="6-31g" if solved[0] == "sto-3g" else "sto-3g")
    if solved[0] == "def2-svp":
        with pytest.raises(DatasetError, match=r"overlap\.npy, entry 0: S deviates"):
            open_labels(folder, basis="cc-pvdz")


def test_another_geometry_is_refused_by_its_overlap(folder, solved):
    text = (folder / "water.xyz").read_text().splitlines()
    text[2], text[3] = "O 0.0 0.0 0.0", "H 0.0 0.0 1.3"
    (folder / "water.xyz").write_text("\n".join(text) + "\n")
    with pytest.raises(DatasetError, match="entry 0: S deviates"):
        open_labels(folder, basis=solved[0])


def test_dipoles_need_their_unit(folder, solved):
    basis, results = solved
    np.save(folder / "dipole_moment.npy", np.stack([r[2] for r in results]) * Bohr / Debye)
    with pytest.raises(SettingError, match="dipole_unit"):
        open_labels(folder, basis=basis)
    label = open_labels(folder, basis=basis, dipole_unit="debye")[2]
    assert np.abs(label.dipole - results[2][2]).max() < 1e-12
    assert np.abs(open_labels(folder, basis=basis, dipole_unit="au")[2].dipole - label.dipole).max() > 0.1


def test_the_list_of_orbitals_is_checked(folder, solved):
    minimal = {"H": [[1, 0, 0]], "O": [[1, 0, 0], [2, 0, 0], [2, 1, 1], [2, 1, -1], [2, 1, 0]]}
    (folder / "orbs.json").write_text(json.dumps(minimal))
    if solved[0] == "sto-3g":
        assert len(open_labels(folder, basis="sto-3g")) == 3
        minimal["O"][2:] = [[2, 1, -1], [2, 1, 0], [2, 1, 1]]
        (folder / "orbs.json").write_text(json.dumps(minimal))
    with pytest.raises(DatasetError, match=r"orbs\.json: the orbitals of [OH]"):
        open_labels(folder, basis=solved[0])


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_object_arrays_are_refused_and_do_not_run(folder, solved, kind):
    (folder / "fock.npy").unlink()
    payload = np.array([Payload(folder / "ran"), None, None], dtype=object)
    if kind == "npy":
        np.save(folder / "fock.npy", payload, allow_pickle=True)
    else:
        np.savez(folder / "fock.npz", a=payload)
    with pytest.raises(DatasetError, match=r"fock\.np.*pickle.*savez"):
        open_labels(folder, basis=solved[0])
    assert not (folder / "ran").exists()


def test_hickle_files_must_be_converted(folder, solved):
    (folder / "fock.npy").rename(folder / "fock.hickle")
    with pytest.raises(DatasetError, match="converted"):
        open_labels(folder, basis=solved[0])


def test_the_basis_must_be_named(folder):
    with pytest.raises(SettingError, match="basis="):
        open_labels(folder)


def test_several_fock_files_need_a_choice(folder, solved):
    np.save(folder / "fock_tzvp.npy", np.zeros((3, 2, 2)))
    with pytest.raises(DatasetError, match="fock="):
        open_labels(folder, basis=solved[0])
    assert len(open_labels(folder, basis=solved[0], fock="fock.npy")) == 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 8, np.nan, x), "not finite"),
        (lambda x: x[:, :-1, :-1], "does not fit"),
        (lambda x: x.astype(complex), "k points"),
        (lambda x: np.stack([x] * 4, axis=1), "k points"),
        (lambda x: x + np.triu(np.ones(x.shape[1:]), 1), "symmetric"),
    ],
)
def test_damaged_matrices_are_named(folder, solved, change, match):
    np.save(folder / "fock.npy", change(np.load(folder / "fock.npy")))
    with pytest.raises(DatasetError, match=rf"entry 0: .*{match}"):
        list(open_labels(folder, basis=solved[0]))


def test_too_few_matrices_are_refused(folder, solved):
    np.save(folder / "fock.npy", np.load(folder / "fock.npy")[:2])
    with pytest.raises(DatasetError, match="2 arrays for 3 frames"):
        open_labels(folder, basis=solved[0])


def test_a_truncated_file_is_refused(folder, solved):
    (folder / "fock.npy").write_bytes((folder / "fock.npy").read_bytes()[:300])
    with pytest.raises(DatasetError, match="fock"):
        open_labels(folder, basis=solved[0])


def test_an_impossible_charge_is_refused(folder, solved):
    with pytest.raises(DatasetError, match=r"multiplicity|electrons"):
        open_labels(folder, basis=solved[0], charge=1)
