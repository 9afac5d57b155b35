"""Files of Wannier90: what is written reads back, and by the rules by which PythTB reads it."""

import numpy as np
import pytest
import torch
from ase import Atoms

from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import BasisError, DatasetError
from helm_ase.labels.wannier90 import read_wannier90, write_wannier90
from helm_ase.units import HARTREE_IN_EV
from shared.crystals import graphene_pi, random_crystal


def crystal():
    atoms = Atoms("CH", [[0.1, 0.2, 0.3], [1.2, 0.1, 0]], cell=np.eye(3) * 3.0, pbc=True)
    return atoms, random_crystal(np.random.default_rng(4), reach=(1, 1, 0))


def bloch(values, translations, k):
    return np.einsum("t,tmn->mn", np.exp(2j * np.pi * translations @ k), values)


def test_what_is_written_reads_back(tmp_path):
    atoms, h = crystal()
    files = write_wannier90(tmp_path / "ch", h, atoms)
    assert [f.name for f in files] == ["ch_hr.dat", "ch_centres.xyz", "ch.win"]
    found = read_wannier90(tmp_path / "ch")
    np.testing.assert_allclose(found.cell, atoms.cell.array)
    np.testing.assert_allclose(found.atoms.positions, atoms.positions)
    assert found.atoms.get_chemical_symbols() == ["C", "H"]
    np.testing.assert_allclose(found.centres, atoms.positions[[0, 0, 0, 0, 1]])
    k = np.array([0.13, -0.4, 0.2])
    exact = LatticeOperator.of(h).at(torch.tensor(k)[None]).numpy()[0] * HARTREE_IN_EV
    np.testing.assert_allclose(bloch(found.values, found.translations, k), exact, atol=1e-9)


def test_the_zero_of_energy_may_be_the_fermi_level(tmp_path):
    atoms, h = crystal()
    write_wannier90(tmp_path / "a", h, atoms)
    write_wannier90(tmp_path / "b", h, atoms, zero=-3.5)
    a, b = (read_wannier90(tmp_path / name) for name in "ab")
    home = ~a.translations.any(1)
    np.testing.assert_allclose(b.values[~home], a.values[~home])
    np.testing.assert_allclose(b.values[home][0], a.values[home][0] + 3.5 * np.eye(5), atol=1e-9)


def test_the_layout_is_that_of_wannier90(tmp_path):
    """First index fastest, one element a line, fifteen degeneracies a line."""
    atoms, h = crystal()
    write_wannier90(tmp_path / "ch", h, atoms)
    lines = [line.split() for line in (tmp_path / "ch_hr.dat").read_text().splitlines()]
    functions, count = int(lines[1][0]), int(lines[2][0])
    assert (functions, count) == (5, len(h.translations))
    head = -(-count // 15)
    assert [len(x) for x in lines[3 : 3 + head]][:-1] == [15] * (head - 1)
    assert sum(len(x) for x in lines[3 : 3 + head]) == count
    rows = lines[3 + head :]
    assert [row[3:5] for row in rows[:6]] == [
        ["1", "1"],
        ["2", "1"],
        ["3", "1"],
        ["4", "1"],
        ["5", "1"],
        ["1", "2"],
    ]
    for row in rows[::7]:
        value = h.at([int(x) for x in row[:3]])[int(row[3]) - 1, int(row[4]) - 1]
        assert float(row[5]) == pytest.approx(value * HARTREE_IN_EV, abs=1e-9)
        assert float(row[6]) == 0


def test_directions_without_periodicity_get_a_cell_vector(tmp_path):
    h = graphene_pi()
    atoms = Atoms(
        "C2", [[0, 0, 0], [0, 1.42, 0]], cell=[[2.46, 0, 0], [1.23, 2.13, 0], [0, 0, 0]], pbc=[1, 1, 0]
    )
    write_wannier90(tmp_path / "pi", h, atoms)
    cell = read_wannier90(tmp_path / "pi").cell
    np.testing.assert_allclose(cell[:2], atoms.cell.array[:2])
    np.testing.assert_allclose(np.abs(cell[2]), [0, 0, 15])


def test_pythtb_makes_a_model_of_them(tmp_path):
    pythtb = pytest.importorskip("pythtb")
    atoms, h = crystal()
    write_wannier90(tmp_path / "ch", h, atoms)
    model = pythtb.w90(str(tmp_path), "ch").model()
    k = np.array([0.13, -0.4, 0.2])
    exact = np.linalg.eigvalsh(LatticeOperator.of(h).at(torch.tensor(k)[None]).numpy()[0]) * HARTREE_IN_EV
    np.testing.assert_allclose(np.ravel(model.solve_one(k)), exact, atol=1e-8)


def test_other_atoms_and_damaged_files_are_refused(tmp_path):
    atoms, h = crystal()
    with pytest.raises(BasisError, match="other atoms"):
        write_wannier90(tmp_path / "x", h, atoms[::-1])
    with pytest.raises(DatasetError, match="no files of Wannier90"):
        read_wannier90(tmp_path / "x")
    write_wannier90(tmp_path / "x", h, atoms)
    whole = {f: f.read_text() for f in tmp_path.iterdir()}
    for path, text in whole.items():
        for damaged in (text[: len(text) // 2], text.replace("0.1", "zero", 1), ""):
            path.write_text(damaged)
            with pytest.raises(DatasetError):
                read_wannier90(tmp_path / "x")
        path.write_text(text)
    read_wannier90(tmp_path / "x")
