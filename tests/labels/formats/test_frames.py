"""Energies and forces of frames, as ASE writes them, are labels without Hamiltonians."""

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from helm_ase.errors import DatasetError
from helm_ase.labels.check import check_labels
from helm_ase.labels.formats import open_labels
from helm_ase.labels.merge import convert, merge
from helm_ase.qc.level import LevelOfTheory
from helm_ase.representation.labelled import LabelledMolecule
from shared.stored_labels import invented
from shared.stored_labels import write as write_labels

LEVEL = LevelOfTheory("pbe", "", "def2-svp")


def frame(formula="H2O", energy=-2000.0, **info):
    atoms = molecule(formula)
    atoms.rattle(0.02, seed=len(formula))
    forces = np.random.default_rng(0).normal(size=(len(atoms), 3))
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize("ending", ["xyz", "extxyz", "traj"])
def test_what_ase_writes_is_read(tmp_path, ending):
    frames = [
        frame("H2O", split="train", smiles="O"),
        frame("OH", charge=-1, multiplicity=1, split="val", name="hydroxide"),
    ]
    write(tmp_path / f"x.{ending}", frames, **({} if ending == "traj" else {"format": "extxyz"}))
    with open_labels(tmp_path / f"x.{ending}", level=LEVEL) as labels:
        assert labels.level == LEVEL
        assert not labels.level_is_recorded
        for label, atoms in zip(labels, frames, strict=True):
            assert label.hamiltonian is None
            assert label.energy == atoms.get_potential_energy()
            np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-8)
            np.testing.assert_allclose(label.positions, atoms.positions, atol=1e-8)
        if ending != "traj":  # ASE's trajectories keep no comments on single frames
            assert [x.split for x in labels] == ["train", "val"]
            assert [x.name for x in labels] == ["0", "hydroxide"]
            assert [(x.charge, x.multiplicity) for x in labels] == [(0, 1), (-1, 1)]
            assert labels.molecule_of(0) == "O"


def test_what_is_named_as_reference_comes_first_and_other_keys_may_be_told(tmp_path):
    atoms = frame(energy=-1.0, REF_energy=-2.0, dft=-3.0)
    atoms.arrays["dft_forces"] = 2 * atoms.get_forces()
    write(tmp_path / "x.xyz", atoms, format="extxyz")
    assert open_labels(tmp_path / "x.xyz")[0].energy == -2.0
    told = open_labels(tmp_path / "x.xyz", energy="dft", forces="dft_forces")[0]
    assert told.energy == -3.0
    np.testing.assert_allclose(told.forces, 2 * atoms.get_forces(), atol=1e-7)
    with pytest.raises(DatasetError, match="no energy under pbe"):
        open_labels(tmp_path / "x.xyz", energy="pbe")[0]


def test_frames_without_energies_and_periodic_ones_are_refused(tmp_path):
    write(tmp_path / "bare.xyz", molecule("H2O"))
    with pytest.raises(DatasetError, match="no known format"):
        open_labels(tmp_path / "bare.xyz")
    boxed = frame()
    boxed.center(4.0)
    boxed.pbc = True
    write(tmp_path / "box.xyz", boxed, format="extxyz")
    with pytest.raises(DatasetError, match="no_pbc=true"):
        open_labels(tmp_path / "box.xyz")[0]
    assert open_labels(tmp_path / "box.xyz", no_pbc=True)[0].energy == -2000.0


def test_they_go_through_the_packages_own_file(tmp_path):
    write(tmp_path / "x.xyz", [frame("H2O"), frame("NO2", multiplicity=2)], format="extxyz")
    with open_labels(tmp_path / "x.xyz", level=LEVEL) as labels:
        convert(labels, tmp_path / "x.h5")
        with open_labels(tmp_path / "x.h5") as again:
            assert again.level == LEVEL
            for mine, theirs in zip(labels, again, strict=True):
                assert theirs.hamiltonian is None
                assert mine.energy == pytest.approx(theirs.energy, rel=1e-15)
                assert (mine.key, mine.multiplicity) == (theirs.key, theirs.multiplicity)


def test_labels_are_stripped_of_matrices_and_still_checked(tmp_path):
    whole = [invented(seed, spins=1 + seed % 2) for seed in range(4)]
    write_labels(tmp_path / "whole.h5", whole)
    with open_labels(tmp_path / "whole.h5") as labels:
        merge([labels], tmp_path / "small.h5", energies_only=True)
    with open_labels(tmp_path / "small.h5") as small:
        for mine, theirs in zip(whole, small, strict=True):
            assert theirs.available() == {
                "energy", "forces", "dipole", "mulliken_charges", "polarizability"
            }  # fmt: skip
            assert (theirs.hamiltonian, theirs.spin_channels) == (None, mine.spin_channels)
            np.testing.assert_allclose(theirs.forces, mine.forces, rtol=1e-12)
            with pytest.raises(DatasetError, match="no Hamiltonian"):
                theirs.matrices  # noqa: B018
        names = {finding.name for finding in check_labels(small).findings}
        assert {"net force", "torque", "Mulliken charges"} <= names
        assert not names & {"basis size", "spectrum", "dipole", "broken symmetry"}


def test_a_label_has_a_hamiltonian_or_an_energy():
    water = molecule("H2O")
    with pytest.raises(DatasetError, match="neither a Hamiltonian nor an energy"):
        LabelledMolecule("x", water.numbers, water.positions, None)
    with pytest.raises(DatasetError, match="orbital_energies without the Hamiltonian"):
        LabelledMolecule("x", water.numbers, water.positions, None, energy=-1.0, orbital_energies=np.zeros(3))


@pytest.mark.parametrize(
    "wrong", ["nan", "inf", '"high"', "[1, 2]"], ids=["not a number", "infinite", "text", "two numbers"]
)
def test_energies_that_are_no_finite_number_are_refused(tmp_path, wrong):
    good = "1\nenergy=-1.0 pbc=F\nH 0 0 0\n"
    (tmp_path / "x.xyz").write_text(good + good.replace("-1.0", wrong))
    labels = open_labels(tmp_path / "x.xyz")
    with pytest.raises(DatasetError, match="entry 1: "):
        labels[1]
    assert labels[0].energy == -1.0


def test_forces_that_are_not_finite_are_refused(tmp_path):
    bad = frame()
    bad.calc.results["forces"][0, 1] = np.nan
    write(tmp_path / "x.xyz", bad, format="extxyz")
    with pytest.raises(DatasetError, match="forces holds 1 values that are not finite"):
        open_labels(tmp_path / "x.xyz")[0]
