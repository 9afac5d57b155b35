"""Pictures of bands: what is drawn is what was computed, from the Fermi level on."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
import scipy.linalg
import torch
from ase.build import molecule

from helm_ase import HELMCalculator
from helm_ase.cli import main
from helm_ase.electronic.bloch import LatticeOperator
from helm_ase.errors import SettingError
from helm_ase.labels.deeph import read_deeph
from helm_ase.labels.wannier90 import read_wannier90
from helm_ase.pictures.bands import bands_figure, describe_gap, draw_bands, gap_of_both
from helm_ase.units import HARTREE_IN_EV
from shared.crystal_labels import chain


@pytest.fixture(scope="module")
def solved(crystal_model):
    atoms = chain()
    calc = HELMCalculator(model=crystal_model, kpts=(6, 1, 1), atoms=atoms)
    return calc.band_structure("GX", npoints=11), calc.get_bands()


def test_every_band_is_a_line_and_corners_have_their_names(solved):
    structure, mesh = solved
    levels = mesh.levels * HARTREE_IN_EV - structure.reference
    window = float(levels.min()) - 2, float(levels.max()) + 2
    figure = bands_figure(structure, mesh, "C2", window, 0.2)
    left, right = figure.axes
    lines = [line.get_ydata() for line in left.lines if len(line.get_ydata()) == 11]
    np.testing.assert_allclose(np.array(lines).T, structure.energies[0] - structure.reference)
    assert [t.get_text() for t in left.get_xticklabels()] == ["Γ", "X"]
    assert left.get_title() == f"C2, {describe_gap(gap_of_both(structure, mesh))}"
    curve, energies = right.lines[0].get_data()
    assert np.trapezoid(curve, energies) == pytest.approx(2 * 8, rel=0.01)


def test_projections_are_lines_that_add_to_the_whole(crystal_model):
    atoms = chain()
    calc = HELMCalculator(model=crystal_model, kpts=(6, 1, 1), atoms=atoms)
    names, shares = calc.get_band_populations("degree")
    structure, mesh = calc.band_structure("GX", npoints=5), calc.get_bands()
    figure = bands_figure(structure, mesh, "C2", None, 0.2, (names, shares))
    whole, *parts = (line.get_xdata() for line in figure.axes[1].lines if len(line.get_xdata()) > 2)
    np.testing.assert_allclose(sum(parts), whole, atol=1e-9)
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["all", "s", "p"]
    many = np.repeat(shares, 6, axis=2) / 6
    with pytest.raises(SettingError, match="cannot be told apart"):
        bands_figure(structure, mesh, "C2", None, 0.2, ([str(k) for k in range(12)], many))


def test_run_tells_and_draws_what_a_crystal_has(crystal_model, tmp_path, capsys):
    ase.io.write(tmp_path / "chain.xyz", chain(), format="extxyz")
    pictures = [str(tmp_path / name) for name in ("bands.png", "dos.png")]
    wanted = ["run", str(tmp_path / "chain.xyz"), "--model", crystal_model]
    assert main([*wanted, "--bands", pictures[0], "--dos", pictures[1]]) == 0
    printed = capsys.readouterr().out
    for words in ("Fermi level", "from the vacuum", "Mulliken charges  C ", "gap", "density of states"):
        assert words in printed
    assert all(Path(picture).stat().st_size > 10_000 for picture in pictures)
    assert main([*wanted, "--levels", pictures[0]]) != 0
    assert "--levels is for molecules" in capsys.readouterr().err
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    assert main(["run", str(tmp_path / "water.xyz"), "--dos", pictures[1]]) != 0
    assert "nothing is periodic" in capsys.readouterr().err


def test_pictures_are_written_whole_or_refused(solved, tmp_path):
    draw_bands(*solved, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000
    with pytest.raises(SettingError, match="picture format"):
        draw_bands(*solved, tmp_path / "x.dat")


def test_the_command_prints_level_and_gap_and_draws(crystal_model, tmp_path, capsys):
    chain().write(tmp_path / "chain.extxyz")
    arguments = [
        "bands",
        str(tmp_path / "chain.extxyz"),
        "--model",
        crystal_model,
        "--points",
        "9",
        "--kpts",
        "6",
        "1",
        "1",
    ]
    assert main([*arguments, "-o", str(tmp_path / "x.png"), "--project", "atom"]) == 0
    out = capsys.readouterr().out
    assert "Fermi level:" in out
    assert "6×1×1" in out
    assert (tmp_path / "x.png").exists()
    assert main([*arguments, "--wannier90", str(tmp_path / "w"), "--deeph", str(tmp_path / "d")]) == 0
    assert f"DeepH: {tmp_path / 'd'}" in capsys.readouterr().out
    calc, atoms = HELMCalculator(model=crystal_model, dtype="float64"), ase.io.read(tmp_path / "chain.extxyz")
    k = np.array([[0.21, 0, 0]])
    exact = calc.get_bloch_matrices(k, atoms)
    wannier, deeph = read_wannier90(tmp_path / "w"), read_deeph(tmp_path / "d")
    h = np.einsum("t,tmn->mn", np.exp(2j * np.pi * wannier.translations @ k[0]), wannier.values)
    levels = scipy.linalg.eigh(exact[0][0], exact[1][0], eigvals_only=True) * HARTREE_IN_EV
    np.testing.assert_allclose(np.linalg.eigvalsh(h), levels, atol=0.01)
    matrices = (m.reorder("pyscf") for m in (deeph.hamiltonian, deeph.overlap))
    again = [LatticeOperator.of(m).at(torch.tensor(k)) for m in matrices]
    np.testing.assert_allclose(again[0], exact[0], atol=1e-10)
    np.testing.assert_allclose(again[1], exact[1], atol=1e-10)
    before = {path: path.read_bytes() for path in (tmp_path / "d").iterdir()}
    assert main([*arguments, "--deeph", str(tmp_path / "d")]) == 1  # it may be another program's input
    assert "exists: remove it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "d").iterdir()} == before
    assert main([*arguments, "--project", "atom"]) == 1
    assert "name it with -o" in capsys.readouterr().err
    assert main(["bands", str(tmp_path / "chain.extxyz"), "--model", "helm-hcnof-2"]) == 1
    assert "molecule in a box" in capsys.readouterr().err
