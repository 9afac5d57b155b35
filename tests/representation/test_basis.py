"""AOBasis: which shells an element carries must be what PySCF puts there."""

import numpy as np
import pytest
from pyscf import gto

from helm_ase.errors import BasisError, ElementError
from helm_ase.qc.molecule import ao_basis, basis_of, build_mole
from helm_ase.representation import AOBasis

COVERED = [
    ("sto-3g", (1, 6, 8)),
    ("def2-svp", (1, 6, 7, 8, 9, 53)),
    ("def2-tzvpd", (1, 8, 53)),
    ("cc-pvdz", (1, 6, 17)),
    ("cc-pvqz", (1, 6)),
]


@pytest.mark.parametrize(("name", "elements"), COVERED)
def test_number_and_degrees_of_functions_are_those_of_pyscf(name, elements):
    basis = ao_basis(name, elements)
    assert basis.elements == elements
    numbers = np.array(elements + elements[:1])
    positions = np.arange(len(numbers))[:, None] * [3.0, 0.0, 0.0]
    odd = basis.electrons(numbers) % 2
    mole = build_mole(numbers, positions, name, multiplicity=1 + odd)
    assert basis.size(numbers) == mole.nao
    assert basis.electrons(numbers) == mole.nelectron
    np.testing.assert_array_equal(basis.offsets(numbers)[:-1], mole.aoslice_by_atom()[:, 2])
    labels = [label[2].lstrip("0123456789")[0] for label in mole.ao_labels(fmt=None)]
    assert labels == ["spdfg"[l] for l in basis.degrees(numbers) for _ in range(2 * l + 1)]


def test_quadruple_zeta_carbon_has_a_g_shell():
    basis = ao_basis("cc-pvqz", [6])
    assert basis.lmax == 4
    assert basis.shells_of(6) == (0,) * 5 + (1,) * 4 + (2,) * 3 + (3,) * 2 + (4,)


@pytest.mark.parametrize("name", ["def2-svp", "def2-tzvpd"])
def test_iodine_hides_28_electrons_in_its_core_potential(name):
    basis = ao_basis(name, [1, 53])
    assert basis.core_electrons == {53: 28}
    assert basis.electrons([53, 1]) == 53 - 28 + 1
    assert basis.electrons([53, 1], charge=-1) == 53 - 28 + 2
    mole = build_mole([53, 1], np.array([[0.0, 0, 0], [0, 0, 1.6]]), name)
    assert mole.has_ecp()
    assert mole.nelectron == 26
    assert basis_of(mole).core_electrons == basis.core_electrons


def test_the_basis_read_from_a_molecule_is_the_one_it_was_built_with():
    mole = build_mole([8, 1, 1], np.array([[0.0, 0, 0], [0, 0.8, 0.5], [0, -0.8, 0.5]]), "def2-svp")
    assert basis_of(mole).shells == ao_basis("def2-svp", [1, 8]).shells


def test_two_atoms_of_one_element_with_different_shells_are_refused():
    mole = gto.M(atom="H1 0 0 0; H2 0 0 1", basis={"H1": "sto-3g", "H2": "6-31g"}, verbose=0)
    with pytest.raises(BasisError, match="H carry different shells"):
        basis_of(mole)


def test_slots_count_shells_of_each_degree_separately():
    basis = AOBasis("b", {6: (0, 1, 0, 2, 1)})
    assert basis.slots[6] == ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1))


def test_a_restricted_basis_keeps_shells_and_core_electrons():
    basis = ao_basis("def2-svp", [1, 6, 53])
    small = basis.restricted_to([53, 1])
    assert small.elements == (1, 53)
    assert all(small.shells_of(z) == basis.shells_of(z) for z in small.elements)
    assert small.core_electrons == {53: 28}
    with pytest.raises(ElementError):
        basis.restricted_to([1, 8])


def test_an_element_without_functions_is_named_in_the_error():
    basis = ao_basis("sto-3g", [1, 8])
    with pytest.raises(ElementError, match=r"no functions for C; it covers H, O"):
        basis.size([8, 6])


@pytest.mark.parametrize("shells", [{0: (0,)}, {-1: (0,)}, {500: (0,)}, {1: ()}, {1: (0, -1)}])
def test_senseless_shells_are_refused(shells):
    with pytest.raises(BasisError, match="makes no sense"):
        AOBasis("wrong", shells)
