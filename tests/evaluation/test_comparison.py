"""One Hamiltonian against another: laws, and PySCF's numbers."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from helm_ase.evaluation.comparison import compare
from helm_ase.qc.baseline import sap_hamiltonian
from helm_ase.qc.molecule import ao_basis, build_mole
from helm_ase.representation import AOMatrix, LabelledMolecule
from helm_ase.units import ATOMIC_DIPOLE_IN_E_ANGSTROM
from shared.evaluated_models import made
from shared.rotations import ao_rotation, rotation

pytestmark = pytest.mark.scf
BASIS = ao_basis("def2-svp", [1, 6, 8])
QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
"""By 90° about z, under which every AO turns into plus or minus another."""
SIMILARITIES = {"wavefunction", "cosine", "subspace"}
ORIENTED = {"hamiltonian", "density"}
"""Sums of absolute elements depend on the axes."""


def blank(numbers, positions, charge=0, multiplicity=1):
    """A label whose matrix does not matter."""
    size = BASIS.size(numbers)
    shape = (size, size) if multiplicity == 1 else (2, size, size)
    return LabelledMolecule(
        "x", np.array(numbers), np.array(positions, float), np.zeros(shape), charge, multiplicity
    )


def core_hamiltonian(label, spins=1):
    mole = build_mole(label.numbers, label.positions, BASIS.name, label.charge, label.multiplicity)
    h = AOMatrix(sap_hamiltonian(mole), label.numbers, BASIS, "pyscf").reorder("e3nn").values
    return np.stack([h] * spins)


WATER = ([8, 1, 1], [[0.0, 0.02, 0.12], [0.05, 0.76, -0.47], [-0.03, -0.75, -0.48]])


def noise(h, rng, size=0.02):
    x = rng.normal(scale=size, size=h.shape)
    return h + x + x.swapaxes(1, 2)


@pytest.mark.parametrize(("charge", "multiplicity"), [(0, 1), (1, 2), (0, 3)])
def test_the_reference_itself_has_no_error_and_is_wholly_similar(charge, multiplicity):
    label = blank(*WATER, charge, multiplicity)
    molecule = made(label, BASIS)
    h = core_hamiltonian(label, 1 if multiplicity == 1 else 2)
    solution = molecule.solve(h)
    for name, value in asdict(compare(solution, solution)).items():
        assert value == pytest.approx(1.0 if name in SIMILARITIES else 0.0, abs=1e-12), name


@pytest.mark.parametrize("multiplicity", [1, 3])
@pytest.mark.parametrize("turn", [QUARTER, rotation(3)], ids=["quarter", "any"])
def test_rotating_the_molecule_changes_nothing(turn, multiplicity, rng):
    label = blank(*WATER, multiplicity=multiplicity)
    spins = 1 if multiplicity == 1 else 2
    reference = noise(core_hamiltonian(label, spins), rng)
    predicted = noise(reference, rng)
    d = ao_rotation(BASIS, label.numbers, turn)
    turned = replace(label, positions=label.positions @ turn.T)
    before = asdict(compare(*(made(label, BASIS).solve(h) for h in (predicted, reference))))
    after = asdict(compare(*(made(turned, BASIS).solve(d @ h @ d.T) for h in (predicted, reference))))
    for name in before:
        if turn is QUARTER or name not in ORIENTED:
            assert after[name] == pytest.approx(before[name], rel=1e-7, abs=1e-9), name
    assert before["hamiltonian"] > 1e3
    assert before["wavefunction"] < 0.9999


def test_orbitals_that_mix_among_the_occupied_are_unlike_but_span_the_same_space(rng):
    label = blank(*WATER)
    molecule = made(label, BASIS)
    reference = molecule.solve(core_hamiltonian(label))
    c, s = reference.structure.orbitals[0].numpy(), molecule.overlap.numpy()
    levels = reference.structure.orbital_energies[0].numpy().copy()
    levels[[2, 3]] = levels[[3, 2]]
    errors = compare(molecule.solve((s @ c * levels @ c.T @ s)[None]), reference)
    assert errors.wavefunction == pytest.approx(3 / 5, abs=1e-9)
    assert errors.subspace == pytest.approx(1.0, abs=1e-12)
    for value in (errors.density, errors.misplaced, errors.dipole, errors.charges, errors.gap):
        assert value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("multiplicity", "moved"), [(1, 2.0), (3, 1.0)])
def test_an_electron_pair_in_the_wrong_orbital_is_misplaced(multiplicity, moved):
    label = blank(*WATER, multiplicity=multiplicity)
    molecule = made(label, BASIS)
    h = core_hamiltonian(label, 1 if multiplicity == 1 else 2)
    reference = molecule.solve(h)
    c, s = reference.structure.orbitals[0].numpy(), molecule.overlap.numpy()
    n = reference.structure.occupied[0]
    levels = reference.structure.orbital_energies[0].numpy().copy()
    levels[[n - 1, n]] = levels[[n, n - 1]]
    h[0] = s @ c * levels @ c.T @ s
    errors = compare(molecule.solve(h), reference)
    assert errors.misplaced == pytest.approx(moved, abs=1e-9)
    assert errors.subspace < 1


def test_shifting_all_levels_moves_homo_and_lumo_but_not_the_gap():
    label = blank(*WATER)
    molecule = made(label, BASIS)
    h = core_hamiltonian(label)
    shifted = molecule.solve(h - 0.06 * molecule.overlap.numpy())
    errors = compare(shifted, molecule.solve(h))
    assert errors.homo == pytest.approx(-0.06 * 27.2114, rel=1e-5)
    assert errors.lumo == pytest.approx(errors.homo, rel=1e-9)
    assert errors.occupied == pytest.approx(-errors.homo, rel=1e-9)
    assert errors.gap == pytest.approx(0, abs=1e-9)
    assert errors.wavefunction == pytest.approx(1, abs=1e-9)
    assert errors.ghost
    assert not compare(molecule.solve(h), shifted).ghost


def test_dipole_and_charges_of_a_converged_matrix_are_those_of_pyscf(closed, opened):
    for subject in (closed, opened):
        for label in subject.labels:
            basis = subject.checkpoint.basis
            molecule = made(label, basis)
            reference = molecule.reference()
            dipole = label.dipole * ATOMIC_DIPOLE_IN_E_ANGSTROM
            np.testing.assert_allclose(reference.dipole, dipole, atol=2e-4)
            np.testing.assert_allclose(reference.charges, label.mulliken_charges, atol=2e-4)
            levels = reference.structure.orbital_energies.numpy()
            np.testing.assert_allclose(levels, np.atleast_2d(label.orbital_energies), atol=1e-6)
            assert compare(reference, reference, molecule.label_dipole).dipole < 3e-4


@pytest.mark.parametrize(
    ("numbers", "charge", "multiplicity", "homo", "lumo"),
    [([1], 1, 1, False, True), ([1], 0, 2, True, True), ([6], 0, 3, True, True)],
)
def test_lone_atoms_and_bare_nuclei_have_the_levels_that_they_have(numbers, charge, multiplicity, homo, lumo):
    label = blank(numbers, [[0.0, 0, 0]], charge, multiplicity)
    molecule = made(label, BASIS)
    solution = molecule.solve(core_hamiltonian(label, 1 if multiplicity == 1 else 2))
    assert np.isfinite(solution.frontier).tolist() == [homo, lumo]
    errors = compare(solution, solution)
    assert np.isnan(errors.homo) == (not homo)
    assert np.isnan(errors.wavefunction) == (not homo)
    assert errors.hamiltonian == 0
    assert not errors.ghost
