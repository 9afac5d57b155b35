"""Files of labelled crystals: what is written comes back to the last bit; what is wrong is refused."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from helm_ase.cli import main
from helm_ase.errors import DatasetError
from helm_ase.labels.crystals import QUANTITIES, CrystalSource, write_crystals
from helm_ase.labels.formats import open_labels
from helm_ase.representation.lattice import Lattice
from shared.crystal_labels import LEVEL, label


@pytest.fixture
def labels():
    full = replace(label(1, split="val"), forces=np.ones((2, 3)) * 0.3, stress=np.eye(3) * 0.01)
    return [label(0), full, replace(label(2), energy=None, free_energy=None)]


def test_what_is_written_comes_back(labels, tmp_path):
    assert write_crystals(tmp_path / "x.h5", labels, LEVEL) == 3
    source = CrystalSource(tmp_path / "x.h5")
    assert source.level == LEVEL
    assert [source.split_of(k) for k in range(3)] == ["train", "val", "train"]
    for read, written in zip(source, labels, strict=True):
        assert read.key == written.key
        assert read.lattice == written.lattice
        assert read.mesh == written.mesh
        assert read.details == written.details
        np.testing.assert_array_equal(read.fock, written.fock)
        for name in ("energy", "free_energy", "forces", "stress"):
            ours, theirs = getattr(read, name), getattr(written, name)
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e-15)
    assert [x.name for x in source[-2:]] == ["chain 1", "chain 2"]


def test_a_file_grows_and_never_holds_a_structure_twice(labels, tmp_path):
    path = tmp_path / "x.h5"
    for k, one in enumerate(labels):
        assert write_crystals(path, [one], LEVEL, append=True) == k + 1
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="chain 1 and another have the same structure"):
        write_crystals(path, [replace(labels[1], name="another")], LEVEL, append=True)
    with pytest.raises(DatasetError, match="the same name"):
        write_crystals(path, [replace(label(3), name="chain 1")], LEVEL, append=True)
    with pytest.raises(DatasetError, match="another level of theory"):
        write_crystals(path, [label(3)], replace(LEVEL, smearing=0.01), append=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_a_file_of_crystals_is_no_file_of_molecules(labels, tmp_path):
    write_crystals(tmp_path / "x.h5", labels, LEVEL)
    with pytest.raises(DatasetError, match="holds crystals, not molecules"):
        open_labels(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["z"] = 1
    with pytest.raises(DatasetError, match="not a file of labelled crystals"):
        CrystalSource(tmp_path / "y.h5")


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_has_a_unit_and_checksums(labels, tmp_path, name):
    write_crystals(tmp_path / "x.h5", labels, LEVEL)
    with h5py.File(tmp_path / "x.h5") as file:
        assert file[name].attrs["unit"].decode() == QUANTITIES[name].unit
        assert file[name]["values"].fletcher32


@pytest.mark.parametrize(("change", "message"), [
    ({"mesh": (7, 1, 1)}, r"not \(4, 8, 8\)"), ({"mesh": (1, 8, 1)}, "points along directions"),
    ({"positions": np.zeros((3, 3))}, "positions has shape"), ({"stress": np.full((3, 3), np.nan)}, "finite"),
    ({"numbers": np.zeros(0, int)}, "not a crystal"),
])  # fmt: skip
def test_labels_that_contradict_themselves_are_refused(change, message):
    with pytest.raises(DatasetError, match=message):
        replace(label(0), **change)


def test_matrices_must_be_hermitian():
    skew = label(0).fock.copy()
    skew[1, 2, 3] += 1e-3
    with pytest.raises(DatasetError, match="not Hermitian"):
        replace(label(0), fock=skew)


def test_the_key_knows_the_lattice():
    one = label(0)
    other = replace(one, lattice=Lattice(one.lattice.cell * 1.001, one.lattice.pbc))
    slab = replace(one, lattice=Lattice(one.lattice.cell + np.diag([0, 9.0, 0]), one.lattice.pbc))
    assert len({one.key, other.key}) == 2
    assert slab.key == one.key


def test_the_summary_counts_what_is_in_the_file(labels, tmp_path, capsys):
    write_crystals(tmp_path / "x.h5", labels, LEVEL)
    assert main(["data", "info", "--json", str(tmp_path / "x.h5")]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["crystals"], found["kinds"], found["elements"]) == (3, {"chains": 3}, {"C": 3})
    assert (found["atoms"], found["orbitals"], found["meshes"]) == ([2, 2], [8, 8], {"8×1×1": 3})
    assert found["answers"] == {"energy": 2, "forces": 1, "stress": 1}
    assert found["splits"] == {"train": 2, "val": 1}
    assert found["level"]["pseudopotential"] == "gth-pbe"
    assert main(["data", "info", str(tmp_path / "x.h5")]) == 0
    assert "answers              F(k): 3, energy: 2, forces: 1, stress: 1" in capsys.readouterr().out
