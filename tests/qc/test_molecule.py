"""Integrals in canonical order turn with the molecule; impossible molecules are refused."""

import numpy as np
import pytest

from helm_ase.errors import BasisError, ChargeError
from helm_ase.qc.level import LevelOfTheory, kohn_sham
from helm_ase.qc.molecule import ao_basis, atomic_numbers, build_mole, dipole_integrals, overlap
from helm_ase.representation import AOMatrix
from helm_ase.units import BOHR_IN_ANGSTROM
from shared.rotations import ao_rotation, improper, rotation

NUMBERS = [6, 1, 8, 1]
POSITIONS = np.array([[0.0, 0.1, 0], [0.9, 0.1, 0.6], [-0.1, 0.2, -1.2], [-0.9, 0.0, 0.6]])
ORDER_OF_M = {
    "s": [""],
    "p": ["y", "z", "x"],
    "d": ["xy", "yz", "z^2", "xz", "x2-y2"],
    "f": ["-3", "-2", "-1", "+0", "+1", "+2", "+3"],
}
"""PySCF's labels of m = −l … l."""


def canonical_positions(mole):
    """Index of each AO of PySCF in the canonical order, from PySCF's labels alone."""
    found, start = [], 0
    labels = [(name.lstrip("0123456789")[0], suffix) for _, _, name, suffix in mole.ao_labels(fmt=None)]
    while start < len(labels):
        degree = labels[start][0]
        names = [suffix for _, suffix in labels[start : start + len(ORDER_OF_M[degree])]]
        found += [start + names.index(m) for m in ORDER_OF_M[degree]]
        start += len(names)
    return found


def test_overlap_and_dipole_are_pyscfs_sorted_by_its_own_labels():
    basis, mole = ao_basis("cc-pvtz", NUMBERS), build_mole(NUMBERS, POSITIONS, "cc-pvtz")
    index = np.ix_(*[canonical_positions(mole)] * 2)
    s = overlap(mole, basis)
    assert s.order == "e3nn"
    np.testing.assert_allclose(s.values, mole.intor("int1e_ovlp")[index], rtol=0, atol=1e-13)
    r = mole.intor("int1e_r")
    np.testing.assert_allclose(dipole_integrals(mole, basis), [x[index] for x in r], rtol=0, atol=1e-12)
    np.testing.assert_allclose(dipole_integrals(mole, basis, "pyscf"), r, rtol=0, atol=1e-12)


@pytest.mark.parametrize("operation", [rotation(1), improper(2)])
@pytest.mark.parametrize("name", ["def2-svp", "cc-pvtz", "cc-pvqz"])
def test_overlap_and_dipole_integrals_turn_with_the_molecule(name, operation):
    basis = ao_basis(name, NUMBERS)
    d = ao_rotation(basis, NUMBERS, operation)
    here, there = (build_mole(NUMBERS, x, name) for x in (POSITIONS, POSITIONS @ operation.T))
    np.testing.assert_allclose(
        overlap(there, basis).values, d @ overlap(here, basis).values @ d.T, atol=1e-10
    )
    turned = np.einsum("kl,lab->kab", operation, d @ dipole_integrals(here, basis) @ d.T)
    np.testing.assert_allclose(dipole_integrals(there, basis), turned, atol=1e-9)


def test_moving_a_molecule_adds_the_shift_times_the_overlap_to_its_dipole_integrals():
    basis, shift = ao_basis("def2-svp", NUMBERS), np.array([1.0, -2.0, 0.5])
    here, there = (build_mole(NUMBERS, x, "def2-svp") for x in (POSITIONS, POSITIONS + shift))
    wanted = (
        dipole_integrals(here, basis) + shift[:, None, None] / BOHR_IN_ANGSTROM * overlap(here, basis).values
    )
    np.testing.assert_allclose(dipole_integrals(there, basis), wanted, atol=1e-9)


def test_dipole_integrals_forget_an_origin_set_before_and_leave_it_set():
    basis, mole = ao_basis("sto-3g", NUMBERS), build_mole(NUMBERS, POSITIONS, "sto-3g")
    wanted = dipole_integrals(mole, basis)
    mole.set_common_orig((5.0, 0.0, 0.0))
    np.testing.assert_allclose(dipole_integrals(mole, basis), wanted, atol=1e-12)
    assert abs(mole.intor("int1e_r") - dipole_integrals(mole, basis, "pyscf")).max() > 1.0


def test_atoms_charge_and_spin_arrive_in_pyscf_as_given():
    mole = build_mole(NUMBERS, POSITIONS, "def2-svp", charge=1, multiplicity=2)
    assert (mole.charge, mole.spin, mole.nelectron) == (1, 1, 15)
    assert not mole.cart
    np.testing.assert_allclose(mole.atom_coords() * BOHR_IN_ANGSTROM, POSITIONS, atol=1e-8)
    np.testing.assert_array_equal(atomic_numbers(mole), NUMBERS)


def test_a_core_potential_hides_electrons_but_not_the_atomic_number():
    mole = build_mole([53, 1], [[0.0, 0, 0], [0, 0, 1.6]], "def2-svp")
    assert mole.atom_charges().tolist() == [25, 1]
    assert atomic_numbers(mole).tolist() == [53, 1]


@pytest.mark.parametrize(("charge", "multiplicity"), [(0, 2), (1, 1), (-1, 3), (9, 4), (20, 1), (0, 13)])
def test_impossible_charges_and_multiplicities_are_refused(charge, multiplicity):
    with pytest.raises(ChargeError):
        build_mole([8, 1, 1], POSITIONS[:3], "sto-3g", charge, multiplicity)


@pytest.mark.filterwarnings("ignore:.*basis-set-exchange:UserWarning")
@pytest.mark.parametrize(
    ("numbers", "name"), [([1], "no-such-basis"), ([92], "def2-svp"), ([1, 92], "sto-3g")]
)
def test_an_unknown_basis_or_an_element_it_lacks_is_refused(numbers, name):
    positions = np.arange(3 * len(numbers)).reshape(-1, 3)
    with pytest.raises(BasisError, match=name):
        build_mole(numbers, positions, name, multiplicity=1 + sum(numbers) % 2)
    with pytest.raises(BasisError, match=name):
        ao_basis(name, numbers)


def test_the_canonical_overlap_belongs_to_its_basis():
    mole = build_mole(NUMBERS, POSITIONS, "def2-svp")
    with pytest.raises(BasisError, match="does not fit"):
        overlap(mole, ao_basis("sto-3g", NUMBERS))
    assert isinstance(overlap(mole, ao_basis("def2-svp", NUMBERS)), AOMatrix)


@pytest.mark.parametrize("suffix", ["", ".dat"])
def test_a_file_called_like_a_basis_is_never_opened(tmp_path, monkeypatch, suffix):
    """PySCF would read it and evaluate what it holds; names may come from files of labels."""
    monkeypatch.chdir(tmp_path)
    name = f"mine{suffix}"
    marker = tmp_path / "executed"
    (tmp_path / name).write_text(f"BASIS\nH S\n 1.0 open({str(marker)!r},'w').close()\nEND\n")
    for place in (name, str(tmp_path / name)):
        with pytest.raises(BasisError, match="PySCF has no basis"):
            build_mole([1], np.zeros((1, 3)), place, multiplicity=2)
        with pytest.raises(BasisError, match="PySCF has no basis"):
            ao_basis(place, [1])
        with pytest.raises(BasisError, match="PySCF has no basis"):
            kohn_sham(build_mole([2], np.zeros((1, 3)), "sto-3g"), LevelOfTheory(auxiliary_basis=place))
    assert not marker.exists()


def test_a_file_in_the_way_of_a_basis_is_refused(tmp_path, monkeypatch):
    marker = tmp_path / "executed"
    (tmp_path / "sto-3g").write_text(f"BASIS\nH S\n 1.0 open({str(marker)!r},'w').close()\nEND\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BasisError, match="rename it"):
        build_mole([2], np.zeros((1, 3)), "sto-3g")
    (tmp_path / "sto-3g").rename(tmp_path / "harmless")
    build_mole([2], np.zeros((1, 3)), "sto-3g")
    assert not marker.exists()
