"""One group per structure: values, units, and damaged files."""

import h5py
import numpy as np
import pytest

from helm_ase.errors import DatasetError
from helm_ase.labels.formats import open_labels
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
from shared.sample_labels import TINY, write_labels

pytestmark = pytest.mark.scf


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    return path, write_labels(path)


def test_a_label_comes_back_in_the_units_of_the_package(labels):
    path, records = labels
    for read, record in zip(open_labels(path, level=TINY), records, strict=True):
        assert read.energy == pytest.approx(record["energy"] * HARTREE_IN_EV, abs=1e-9)
        np.testing.assert_allclose(
            read.forces, record["forces"] * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM, atol=1e-5
        )
        np.testing.assert_allclose(read.hamiltonian, record["hamiltonian"], atol=2e-6)
        assert (read.hamiltonian == read.hamiltonian.T).all()


def test_splits_are_those_of_the_file(labels):
    path, records = labels
    source = open_labels(path)
    assert [source.split_of(k) for k in range(len(source))] == [r["split"] for r in records]


def test_a_damaged_entry_is_named_with_its_file(labels, tmp_path):
    path, _ = labels
    broken = tmp_path / "broken.h5"
    broken.write_bytes(path.read_bytes())
    with h5py.File(broken, "a") as file:
        del file["000003/hamiltonian_tril"]
        file["000003/hamiltonian_tril"] = np.zeros(5)
    with pytest.raises(DatasetError, match=r"broken\.h5, entry 000003"):
        list(open_labels(broken))


@pytest.mark.parametrize("content", [b"", b"not an HDF5 file", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path, content):
    path = tmp_path / "junk.h5"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"junk\.h5"):
        open_labels(path)
