"""The report of a crystal says what the calculator says."""

import pytest
from ase import Atoms
from ase.io import write

from helm_ase import HELMCalculator
from helm_ase.cli import main
from helm_ase.electronic.bands import Gap
from helm_ase.pictures.bands import describe_gap
from helm_ase.pictures.crystal_page import write_crystal_page
from helm_ase.units import HARTREE_IN_EV
from shared.crystal_labels import chain

pytestmark = pytest.mark.filterwarnings("ignore::helm_ase.ExtrapolationWarning")


def test_the_command_writes_the_page_of_a_crystal(crystal_model, tmp_path, capsys):
    write(tmp_path / "chain.extxyz", chain())
    arguments = [
        "report",
        str(tmp_path / "chain.extxyz"),
        "--model",
        crystal_model,
        "-o",
        str(tmp_path / "x.html"),
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("verdict  ")
    text = (tmp_path / "x.html").read_text(encoding="utf8")
    calc, atoms = HELMCalculator(model=crystal_model), chain()
    atoms.calc = calc
    assert f"{calc.get_fermi_level():.3f} eV" in text
    assert f"{atoms.get_potential_energy():.4f} eV" in text
    assert "from the vacuum" in text
    assert "chain.extxyz · chain of 2 atoms a cell, predicted by test crystals" in text
    assert "<h1>C<sub>2</sub></h1>" in text
    assert text.count("<svg") == 1
    assert main([*arguments, "--orbitals", "homo"]) == 1
    assert "for molecules only" in capsys.readouterr().err
    assert "Content-Security-Policy" in text.split("<style>")[0]


def test_charges_stand_in_the_table_and_bulk_has_no_vacuum(crystal_model, tmp_path):
    atoms = Atoms(
        "C3", [[0, 0, 0], [0.9, 0.9, 0.9], [2.0, 0.7, 0.1]], cell=[[0, 2, 2], [2, 0, 2], [2, 2, 0]], pbc=True
    )
    atoms.calc = HELMCalculator(model=crystal_model, kpts=(2, 2, 2))
    atoms.calc.get_bands(atoms)
    write_crystal_page(tmp_path / "x.html", atoms.calc)
    text = (tmp_path / "x.html").read_text(encoding="utf8")
    assert "from the mean potential" in text
    for k, charge in enumerate(atoms.get_charges()):
        assert f"<td>C{k}</td><td class=number>{charge:+.3f}</td>" in text


@pytest.mark.parametrize(("fundamental", "direct", "words"), [
    (0.0, 0.0, "no gap"), (0.004, 0.004, "no gap"), (1.234, 1.234, "gap 1.23 eV (direct)"),
    (1.234, 1.236, "gap 1.23 eV (direct)"), (1.234, 1.334, "gap 1.23 eV (indirect)"),
])  # fmt: skip
def test_gaps_in_words(fundamental, direct, words):
    assert describe_gap(Gap(fundamental / HARTREE_IN_EV, direct / HARTREE_IN_EV, 0, 1)) == words
