"""DeepH's folders: what is written reads back, by the layout's own words, and damage is told of."""

import json

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from helm_ase.errors import BasisError, DatasetError
from helm_ase.labels.deeph import read_deeph, write_deeph
from helm_ase.units import HARTREE_IN_EV
from shared.crystals import kinetic_and_overlap, random_crystal


@pytest.mark.parametrize("which", ["polyyne", "honeycomb", "diamond"])
def test_what_is_written_reads_back(tmp_path, which):
    atoms, h, s = kinetic_and_overlap(which)
    write_deeph(tmp_path / "0", atoms, h.reorder("pyscf"), s, fermi_level=-3.2)
    found = read_deeph(tmp_path / "0", "sto-3g")
    assert found.fermi_level == -3.2
    assert found.atoms.pbc.tolist() == atoms.pbc.tolist()
    np.testing.assert_allclose(found.atoms.positions, atoms.positions, atol=1e-12)
    np.testing.assert_allclose(found.atoms.cell.array[atoms.pbc], atoms.cell.array[atoms.pbc], atol=1e-12)
    for ours, theirs in ((h, found.hamiltonian), (s, found.overlap)):
        assert theirs.order == "e3nn"
        assert theirs.basis.shells == {z: h.basis.shells_of(z) for z in set(h.numbers.tolist())}
        for t in h.translations:
            np.testing.assert_allclose(theirs.at(t), ours.at(t), atol=2e-12)


def test_a_block_is_where_the_layout_says(tmp_path):
    """The layout: block i, j at T between two boundaries, row by row, in eV; one list of pairs."""
    atoms = Atoms("CH", [[0.1, 0.2, 0.3], [1.2, 0.1, 0]], cell=np.eye(3) * 3.0, pbc=True)
    h = random_crystal(np.random.default_rng(1), reach=(1, 0, 0))
    s = random_crystal(np.random.default_rng(2), reach=(1, 0, 0))
    write_deeph(tmp_path, atoms, h, s)
    info = json.loads((tmp_path / "info.json").read_text())
    assert (info["atoms_quantity"], info["orbits_quantity"]) == (2, 5)
    assert info["elements_orbital_map"] == {"C": [0, 1], "H": [0]}
    assert info["spinful"] is False
    pairs = {}
    for name, matrix, unit in (("hamiltonian", h, HARTREE_IN_EV), ("overlap", s, 1.0)):
        with h5py.File(tmp_path / f"{name}.h5") as file:
            rows, bounds, shapes, entries = (
                file[k][:] for k in ("atom_pairs", "chunk_boundaries", "chunk_shapes", "entries")
            )
        pairs[name] = rows
        assert len(rows) == 3 * 4
        for k, (*t, i, j) in enumerate(rows.tolist()):
            block = entries[bounds[k] : bounds[k + 1]].reshape(shapes[k])
            np.testing.assert_allclose(block, unit * matrix.block(i, j, t), atol=1e-14)
    assert np.array_equal(pairs["hamiltonian"], pairs["overlap"])
    assert read(tmp_path / "POSCAR").get_chemical_symbols() == ["C", "H"]


def test_a_folder_without_a_hamiltonian_has_none(tmp_path):
    atoms, h, s = kinetic_and_overlap("polyyne")
    write_deeph(tmp_path, atoms, h, s)
    (tmp_path / "hamiltonian.h5").unlink()
    assert read_deeph(tmp_path).hamiltonian is None


def with_spin(folder):
    info = json.loads((folder / "info.json").read_text())
    (folder / "info.json").write_text(json.dumps(info | {"spinful": True}))


def without_shells(folder):
    info = json.loads((folder / "info.json").read_text())
    (folder / "info.json").write_text(json.dumps(info | {"elements_orbital_map": {"C": [-1]}}))


def shorter(folder):
    with h5py.File(folder / "overlap.h5", "a") as file:
        entries = file["entries"][:-1]
        del file["entries"]
        file["entries"] = entries


def other_atoms(folder):
    with h5py.File(folder / "hamiltonian.h5", "a") as file:
        file["atom_pairs"][0] = [0, 0, 0, 7, 0]


def not_hermitian(folder):
    with h5py.File(folder / "hamiltonian.h5", "a") as file:
        file["entries"][1] += 1.0


def cut(folder):
    path = folder / "overlap.h5"
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize("damage", [with_spin, without_shells, shorter, other_atoms, not_hermitian, cut])
def test_what_cannot_be_read_is_told_of(tmp_path, damage):
    atoms, h, s = kinetic_and_overlap("polyyne")
    write_deeph(tmp_path, atoms, h, s)
    read_deeph(tmp_path)
    damage(tmp_path)
    with pytest.raises(DatasetError, match="no folder of DeepH"):
        read_deeph(tmp_path)


def test_matrices_of_other_atoms_are_refused(tmp_path):
    atoms, h, s = kinetic_and_overlap("polyyne")
    with pytest.raises(BasisError, match="do not belong"):
        write_deeph(tmp_path, Atoms("CN", atoms.positions, cell=atoms.cell, pbc=atoms.pbc), h, s)
