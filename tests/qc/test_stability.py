"""Singlets whose closed-shell solution is unstable, and radicals that are no spin states."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from pyscf import dft

from helm_ase.errors import SCFError, SettingError
from helm_ase.qc.labelling import BROKEN_SYMMETRY, LabelSettings, label_structure
from helm_ase.qc.level import pyscf_level
from helm_ase.qc.molecule import build_mole
from helm_ase.representation.structure import Structure
from helm_ase.units import HARTREE_IN_EV, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM

pytestmark = pytest.mark.scf
LEVEL = pyscf_level(grid_level=1)
EXAMINED, NOT_EXAMINED = LabelSettings(LEVEL), LabelSettings(LEVEL, stability_gap=0.0)


def structure(atoms, multiplicity=1):
    return Structure("x", atoms.numbers.astype(np.int64), atoms.positions, 0, multiplicity)


def diatomic(symbols, distance):
    return structure(Atoms(symbols, [[0, 0, 0], [0, 0, distance]]))


def broken(label):
    return label.details["route"] == BROKEN_SYMMETRY


def test_stretched_hydrogen_ends_as_two_atoms():
    atom = label_structure(structure(Atoms("H"), 2), EXAMINED)
    pair = label_structure(diatomic("H2", 6.0), EXAMINED)
    assert broken(pair)
    assert pair.energy == pytest.approx(2 * atom.energy, abs=2e-3)
    np.testing.assert_allclose(pair.forces, 0, atol=2e-3)
    assert pair.details["spin_square"] == pytest.approx(1.0, abs=1e-2)  # half singlet, half triplet
    assert label_structure(diatomic("H2", 6.0), NOT_EXAMINED).energy > pair.energy + 1.0


def test_a_bond_that_holds_stays_as_it_was():
    examined, not_examined = (
        label_structure(diatomic("H2", 0.76), LabelSettings(LEVEL, stability_gap=gap)) for gap in (9.0, 0.0)
    )
    assert not broken(examined)
    assert examined.energy == not_examined.energy
    np.testing.assert_array_equal(examined.hamiltonian, not_examined.hamiltonian)


def test_forces_of_a_broken_bond_are_the_slope_of_its_energy():
    label = label_structure(diatomic("H2", 1.9), EXAMINED)
    assert broken(label)
    step = 2e-3
    low, high = (label_structure(diatomic("H2", 1.9 + x), EXAMINED).energy for x in (-step, step))
    assert label.forces[1, 2] == pytest.approx(-(high - low) / (2 * step), abs=5e-3)
    assert label.forces[1, 2] < 0  # the bond still pulls


@pytest.mark.parametrize(
    "atoms",
    [
        pytest.param(molecule("O3"), marks=pytest.mark.slow, id="O3"),
        pytest.param(Atoms("F2", [[0, 0, 0], [0, 0, 1.9]]), id="F2"),
    ],
)
def test_ozone_and_stretched_fluorine_are_a_plain_unrestricted_calculation(atoms):
    label, closed = (
        label_structure(structure(atoms), EXAMINED),
        label_structure(structure(atoms), NOT_EXAMINED),
    )
    assert broken(label)
    assert not broken(closed)
    assert label.energy < closed.energy - 0.05
    assert label.details["broken_symmetry"] is True
    assert label.details["spin_square"] > 0.3
    assert not label.determines_hamiltonian
    assert closed.determines_hamiltonian
    mole = build_mole(atoms.numbers, atoms.positions, LEVEL.basis)
    mf = dft.UKS(mole, xc="b3lyp").density_fit()
    mf.grids.level = 1
    occupations = np.asarray(label.occupations)
    assert occupations.sum(1).tolist() == [mole.nelectron / 2] * 2
    densities = densities_of(label, mf.get_ovlp())
    assert mf.energy_tot(densities) == pytest.approx(label.energy / HARTREE_IN_EV, abs=1e-5)
    mf.kernel(dm0=densities)
    assert mf.e_tot == pytest.approx(label.energy / HARTREE_IN_EV, abs=1e-6)
    forces = -mf.nuc_grad_method().kernel() * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM
    np.testing.assert_allclose(label.forces, forces, atol=2e-3)


def densities_of(label, overlap):
    from scipy.linalg import eigh

    n = int(label.occupations[0].sum())
    found = [eigh(h, overlap)[1][:, :n] for h in label.hamiltonian]
    return np.stack([c @ c.T for c in found])


def test_energies_are_continuous_where_symmetry_breaks():
    distances = np.arange(1.45, 1.75, 0.05)
    settings = LabelSettings(LEVEL, stability_gap=0.3)
    labels = [label_structure(diatomic("H2", float(r)), settings) for r in distances]
    assert {broken(label) for label in labels} == {True, False}
    energies = np.array([label.energy for label in labels])
    assert np.abs(np.diff(energies, 3)).max() < 0.03  # eV: no jump


def test_a_radical_that_mixes_with_higher_spins_is_refused_with_the_number():
    stretched = structure(Atoms("OH", [[0, 0, 0], [0, 0, 2.5]]), 2)
    loose = LabelSettings(LEVEL, max_spin_contamination=9.0)
    excess = label_structure(stretched, loose).details["spin_square"] - 0.75
    assert excess > 0.5
    with pytest.raises(SCFError, match=rf"<S\^2> is {str(excess + 0.75)[:4]}\d, exact is 0.75"):
        label_structure(stretched, EXAMINED)
    methyl = structure(molecule("CH3"), 2)
    assert label_structure(methyl, EXAMINED).details["spin_square"] == pytest.approx(0.75, abs=0.02)


def test_negative_limits_are_refused():
    with pytest.raises(SettingError, match="0 or more"):
        LabelSettings(LEVEL, stability_gap=-0.1)
