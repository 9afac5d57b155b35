"""The shipped model of carbon crystals: what symmetry says of perfect graphene, and PySCF's bands of it."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, graphene_nanoribbon, molecule, nanotube

from helm_ase import HELMCalculator
from helm_ase.cli import main
from helm_ase.errors import ElementError, StructureError, UntrainedError
from helm_ase.prediction.verdict import Trust
from helm_ase.qc.crystal import crystal_level
from helm_ase.qc.crystal_scf import CrystalSCF, forget_operators
from helm_ase.representation.lattice import Lattice
from helm_ase.units import HARTREE_IN_EV

K = np.array([1 / 3, 1 / 3, 0])
STEP = 0.01
"""1/Å, from K."""


def calculator(atoms, **keywords):
    atoms.calc = HELMCalculator(model="helm-carbon-pbe", dtype="float64", **keywords)
    return atoms.calc


def around_the_corner(atoms):
    """K and twelve points on a circle around it, fractional."""
    reciprocal = 2 * np.pi * np.linalg.inv(atoms.cell.complete().array).T
    angles = np.arange(0, 2 * np.pi, np.pi / 6)
    circle = STEP * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    return np.concatenate([K[None], K + circle @ np.linalg.inv(reciprocal)])


def test_the_two_bands_of_graphene_meet_in_a_cone():
    atoms = graphene(a=2.46)
    levels = calculator(atoms)._solve_crystal().levels(around_the_corner(atoms))[:, 3:5]
    assert levels[0, 1] - levels[0, 0] < 1e-9
    slope = (levels[1:, 1] - levels[1:, 0]).mean() / (2 * STEP)  # ħ times the velocity of electrons, eV Å
    assert slope == pytest.approx(6.217, rel=0.03)  # PBE / GTH-SZV-MOLOPT-SR by PySCF


def test_diamond_has_its_gap_and_energies_are_not_predicted():
    atoms = bulk("C", "diamond", 3.57)
    calc = calculator(atoms, kpts=(4, 4, 4))
    assert 6 < calc.get_bands().gap.fundamental * HARTREE_IN_EV < 7  # a minimal basis opens PBE's gap of 4 eV
    np.testing.assert_allclose(atoms.get_charges(), 0, atol=1e-6)
    with pytest.raises(UntrainedError, match="energy"):
        atoms.get_potential_energy()


def test_what_it_does_not_know_is_refused():
    slab = graphene(vacuum=8.0)
    slab.pbc = True
    calc = calculator(graphene())
    for _ in range(2):  # the second time nothing has changed since the first
        with pytest.raises(StructureError, match="holds 16 Å of vacuum"):
            calc.get_verdict(slab)
    with pytest.raises(ElementError, match="has not seen Si"):
        calculator(bulk("Si")).get_fermi_level()
    with pytest.raises(StructureError, match="has learnt chains, slabs, bulk, not molecules"):
        calculator(molecule("C2H2"))


def test_a_sheet_from_a_file_that_calls_its_vacuum_periodic_has_no_gap(tmp_path, capsys):
    """CIF files know no slabs.  The corner at which the bands meet is a point of the mesh by default."""
    path = str(tmp_path / "sheet.cif")
    graphene(a=2.46, vacuum=8.0).write(path)
    command = ["run", path, "--model", "helm-carbon-pbe"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "--pbc ab" in said.err
    assert "trusted" not in said.out
    assert main([*command, "--pbc", "ab"]) == 0
    assert "12×12×1 k points: no gap" in capsys.readouterr().out
    assert main([*command, "--pbc", "ab", "--kpts", "5", "5", "1", "--smearing", "0"]) == 0
    assert "5×5×1 k points: gap" in capsys.readouterr().out


def vacancy():
    atoms = graphene(a=2.46, size=(4, 4, 1))
    del atoms[5]
    return atoms


def tube():
    rolled = nanotube(5, 0, length=1, bond=1.42)
    rolled.pbc = [False, False, True]
    return rolled


def graphite():
    places = [(0, 0, 1 / 4), (1 / 3, 2 / 3, 1 / 4), (0, 0, 3 / 4), (2 / 3, 1 / 3, 3 / 4)]
    return Atoms("C4", cell=[2.46, 2.46, 6.7, 90, 90, 120], scaled_positions=places, pbc=True)


def ribbon():
    edged = graphene_nanoribbon(2, 1, type="zigzag", saturated=True, C_H=1.09, vacuum=0.5)
    edged.pbc = [False, False, True]
    return edged


def lonsdaleite():
    places = [(1 / 3, 2 / 3, 1 / 16), (1 / 3, 2 / 3, 7 / 16), (2 / 3, 1 / 3, 9 / 16), (2 / 3, 1 / 3, 15 / 16)]
    return Atoms("C4", cell=[2.52, 2.52, 4.12, 90, 90, 120], scaled_positions=places, pbc=True)


@pytest.mark.parametrize(
    "make", [graphene, lambda: bulk("C", "diamond", 3.57), lambda: graphene(a=2.46 * 0.97)]
)
def test_perfect_crystals_of_the_kinds_in_training_are_trusted(make):
    atoms = make()
    assert calculator(atoms).get_verdict(atoms).trust is Trust.TRUSTED


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (vacancy, "C with 2 neighbours bonded to C with 3 neighbours: never so in training"),
        (tube, "times as far from those of training"),
        (lonsdaleite, "times as far from those of training"),
        (graphite, "times as far from those of training"),
        (ribbon, "times as far from those of training"),
        (lambda: bulk("C", "diamond", 3.57 * 0.9), "times as far from those of training"),
        (lambda: graphene(a=2.46 * 1.1), "times as far from those of training"),
    ],
)
@pytest.mark.filterwarnings("ignore::helm_ase.ExtrapolationWarning")
def test_other_carbon_is_extrapolation(make, reason):
    atoms = make()
    verdict = calculator(atoms).get_verdict(atoms)
    assert verdict.trust is Trust.EXTRAPOLATING
    assert reason in str(verdict)


@pytest.mark.slow
@pytest.mark.scf
def test_occupied_bands_of_perfect_graphene_are_those_of_pyscf():
    atoms = graphene(a=2.46)
    crystal = CrystalSCF(atoms.numbers, atoms.positions, Lattice.of_atoms(atoms), crystal_level(), (6, 6, 1))
    mf = crystal.converge()
    forget_operators(mf)
    kpts = atoms.cell.bandpath("GMKG", npoints=12, pbc=[True, True, False]).kpts
    theirs = np.array(mf.get_bands(mf.cell.get_abs_kpts(kpts))[0])[:, :4] * HARTREE_IN_EV
    ours = calculator(atoms)._solve_crystal().levels(kpts)[:, :4]
    difference = ours - theirs
    assert np.abs(difference - difference.mean()).mean() < 0.02
