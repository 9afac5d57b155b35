"""What a calculator gives beyond ASE's properties: guesses, refinement, error bar, files."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io.cube import read_cube_data
from scipy.linalg import eigh
from scipy.sparse import issparse

import helm_ase.electronic.orbitals as orbitals
from helm_ase import HELMCalculator
from helm_ase.electronic import ElectronicStructure
from helm_ase.errors import ChargeError, SCFError, SettingError, StructureError
from helm_ase.prediction.electronic import ElectronicPrediction
from helm_ase.prediction.refinement import refine
from helm_ase.qc import response
from helm_ase.qc.integrals import MoleIntegrals
from helm_ase.qc.level import kohn_sham
from helm_ase.qc.molecule import build_mole
from helm_ase.qc.response import coupled_polarizability
from helm_ase.representation.level import LevelOfTheory
from helm_ase.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

pytestmark = pytest.mark.scf


@pytest.fixture(scope="module", params=["CH4", pytest.param("CH3CHO", marks=pytest.mark.slow)])
def compound(request):
    """Every law at methane, and at a molecule with two kinds of bonds where there is time."""
    atoms = molecule(request.param)
    atoms.calc = HELMCalculator()
    return atoms


@pytest.fixture(scope="module")
def converged(compound):
    mole = build_mole(compound.numbers, compound.positions, "def2-svp")
    return kohn_sham(mole, compound.calc.checkpoint.level).run()


def gap_of(mf):
    return (mf.mo_energy[mf.mo_occ == 0].min() - mf.mo_energy[mf.mo_occ > 0].max()) * HARTREE_IN_EV


def test_one_step_brings_the_energy_nearer_and_two_the_gap(compound, converged):
    calc = compound.calc
    exact = converged.e_tot * HARTREE_IN_EV
    one, two = calc.refine(1), calc.refine(2)
    assert (one.iterations, two.iterations) == (1, 2)
    assert abs(one.energy - exact) < 2e-3
    assert abs(two.energy - exact) < max(0.1 * abs(one.energy - exact), 1e-5)
    predicted = calc.get_electronic_structure().gap * HARTREE_IN_EV
    assert abs(two.gap - gap_of(converged)) < 0.5 * abs(predicted - gap_of(converged))
    assert 0 < one.functional_energy - exact < 2e-2
    assert one.functional_energy == calc.get_functional_energy()
    assert abs(one.gap - gap_of(converged)) < 0.04
    assert one.homo_lumo[1] - one.homo_lumo[0] == pytest.approx(one.gap)
    assert one.forces is None


def test_both_polarizabilities_are_near_those_of_the_converged_orbitals(compound, converged):
    unit = BOHR_IN_ANGSTROM**2 / HARTREE_IN_EV
    coupled = compound.calc.get_coupled_polarizability()
    np.testing.assert_allclose(coupled, unit * coupled_polarizability(converged), rtol=0.02, atol=0.1 * unit)
    c, filled = converged.mo_coeff, int(converged.mo_occ.sum()) // 2
    with converged.mol.with_common_orig((0.0, 0.0, 0.0)):
        position = converged.mol.intor("int1e_r")
    moments = c[:, :filled].T @ position @ c[:, filled:]
    amplitudes = moments / (converged.mo_energy[filled:] - converged.mo_energy[:filled, None])
    wanted = unit * 4 * np.einsum("xia,yia->xy", amplitudes, moments)
    found = compound.calc.get_uncoupled_polarizability()
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.1 * unit)
    assert 1.05 < np.trace(found) / np.trace(coupled) < 1.5


def test_more_steps_bring_everything_closer(compound, converged):
    found = [compound.calc.refine(n, forces=True) for n in (1, 4)]
    exact = converged.e_tot * HARTREE_IN_EV
    forces = -converged.nuc_grad_method().kernel() * HARTREE_IN_EV / BOHR_IN_ANGSTROM
    functional, energy, force = zip(
        *(
            (abs(f.functional_energy - exact), abs(f.energy - exact), np.abs(f.forces - forces).max())
            for f in found
        ),
        strict=True,
    )
    assert functional[1] < 0.1 * functional[0]
    assert energy[1] < 0.1 * energy[0]
    assert force[0] < 0.1
    assert force[1] < 0.2 * force[0]
    assert abs(found[1].gap - gap_of(converged)) < 5e-3
    with pytest.raises(SettingError, match="n_iterations is 0"):
        compound.calc.refine(0)


def test_levels_after_a_step_keep_functions_that_a_prediction_must_drop():
    """PySCF's Fock matrix has no errors that small overlaps would blow up: all its orbitals count."""
    numbers, positions = np.array([1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.4]])
    level = LevelOfTheory(functional="b3lyp", basis="aug-cc-pvtz", grid_level=0, density_fitting=False)
    mole = build_mole(numbers, positions, level.basis)
    mf = kohn_sham(mole, level).run()
    fock, overlap = torch.from_numpy(np.asarray(mf.get_fock())[None]), torch.from_numpy(mf.get_ovlp())
    assert 1e-10 < torch.linalg.eigvalsh(overlap)[0] < 1e-5
    structure = ElectronicStructure.solve(fock, overlap, 2, 1, integrals=MoleIntegrals(mole))
    assert structure.orbitals.shape[-1] < mole.nao
    refined = refine(ElectronicPrediction(mole, numbers, structure, level), 1, forces=True)
    levels = refined.structure.orbital_energies[0].numpy()
    assert len(levels) == mole.nao
    fock = np.asarray(mf.get_fock(dm=structure.spin_densities.numpy()[0]))
    np.testing.assert_allclose(levels, mf.eig(fock, mf.get_ovlp())[0], atol=1e-8)
    assert refined.energy == pytest.approx(mf.e_tot * HARTREE_IN_EV, abs=1e-4)
    forces = -mf.nuc_grad_method().kernel() * HARTREE_IN_EV / BOHR_IN_ANGSTROM
    np.testing.assert_allclose(refined.forces, forces, atol=0.02)


def test_the_error_bar_tells_what_the_model_knows_from_what_it_does_not(compound):
    known = compound.calc.get_reliability()
    stretched = compound.copy()
    stretched.set_distance(0, 1, 2.6, fix=0)
    unknown = HELMCalculator().get_reliability(stretched)
    assert 0 < known.fock_residual < 1e-3
    assert known.energy_change < 0
    assert 0 < known.density_change < 1e-3
    assert unknown.atom_residuals[:2].min() > 3 * known.atom_residuals[:2].max()
    for name in ("fock_residual", "commutator_norm", "density_change"):
        assert getattr(unknown, name) > 3 * getattr(known, name), name
    assert unknown.energy_change < 3 * known.energy_change


def test_scf_from_the_guess_is_shorter_and_ends_at_the_same_energy(compound, converged):
    ours = kohn_sham(converged.mol, compound.calc.checkpoint.level)
    ours.kernel(dm0=compound.calc.initial_guess())
    assert abs(ours.e_tot - converged.e_tot) < 1e-8
    assert ours.cycles < converged.cycles
    larger = build_mole(compound.numbers, compound.positions, "def2-tzvp")
    guess = compound.calc.initial_guess(larger)
    assert guess.shape == (larger.nao, larger.nao)
    assert abs(np.trace(guess @ larger.intor("int1e_ovlp")) - compound.numbers.sum()) < 1e-9


def test_the_guess_belongs_to_one_molecule(compound):
    other = build_mole(compound.numbers, compound.positions + 1.0, "def2-svp")
    with pytest.raises(StructureError, match="another geometry"):
        compound.calc.initial_guess(other)
    ion = build_mole(compound.numbers, compound.positions, "def2-svp", charge=1, multiplicity=2)
    with pytest.raises(ChargeError):
        compound.calc.initial_guess(ion)


def test_steps_of_another_functional_are_refused(compound):
    prediction = copy.copy(compound.calc._solve())
    object.__setattr__(prediction, "level", replace(prediction.level, variant="VWN5"))
    prediction.__dict__.pop("scf", None)
    with pytest.raises(SettingError, match="as 'VWN5'"):
        _ = prediction.scf


def test_an_effective_matrix_has_no_scf_to_go_on_with_but_still_a_density(compound, monkeypatch):
    calc = HELMCalculator()
    effective = replace(calc.checkpoint.level, label_basis="def2-tzvp")
    loaded = calc._loaded._replace(checkpoint=replace(calc.checkpoint, level=effective))
    monkeypatch.setattr(calc, "_loaded", loaded)
    questions = calc.get_reliability, calc.refine, calc.get_functional_energy, calc.get_coupled_polarizability
    calc.calculate(compound, ["dipole"])
    for ask in questions:
        with pytest.raises(SettingError, match="effective one in def2-svp with the orbital energies of"):
            ask()
    larger = build_mole(compound.numbers, compound.positions, "def2-tzvp")
    guess = calc.initial_guess(larger)
    assert abs(np.trace(guess @ larger.intor("int1e_ovlp")) - compound.numbers.sum()) < 1e-9


def test_response_that_does_not_converge_is_an_error_of_the_scf(compound, monkeypatch):
    def krylov(*_, **__):
        raise RuntimeError("Krylov solver failed to converge.")

    monkeypatch.setattr(response.cphf, "solve", krylov)
    calc = HELMCalculator()
    with pytest.raises(SCFError, match="Krylov"):
        calc.get_coupled_polarizability(compound)


def test_what_was_asked_before_changes_nothing(compound):
    calc = compound.calc
    first = calc.refine(1, forces=True), calc.get_reliability()
    calc.refine(3)
    again = calc.refine(1, forces=True), calc.get_reliability()
    np.testing.assert_array_equal(again[0].forces, first[0].forces)
    assert again[0].energy == first[0].energy
    assert again[1].fock_residual == first[1].fock_residual


def test_files_are_written_by_suffix(compound, tmp_path):
    calc = compound.calc
    calc.write(tmp_path / "homo.cube", "homo", spacing=0.5)
    data, atoms = read_cube_data(str(tmp_path / "homo.cube"))
    assert np.abs(data).max() > 0.05
    np.testing.assert_allclose(atoms.positions, compound.positions, atol=1e-5)
    calc.write(tmp_path / "all.molden")
    calc.write(tmp_path / "start.chk")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.molden", "homo.cube", "start.chk"]
    with pytest.raises(SettingError, match=r"there are \.cube \(field\), \.molden"):
        calc.write(tmp_path / "homo.xyz")
    with pytest.raises(SettingError, match="no field"):
        calc.write(tmp_path / "x.cube", "sigma")
    assert not (tmp_path / "x.cube").exists()


def test_a_single_atom_and_a_moved_molecule_are_computed_anew():
    first = HELMCalculator().get_reliability(Atoms("O"))
    assert 0 < first.fock_residual < 0.1
    assert first.atom_residuals == pytest.approx([first.fock_residual])
    water = molecule("H2O")
    water.calc = HELMCalculator()
    before = water.calc.get_functional_energy()
    water.positions[0] += 0.05
    after = water.calc.get_functional_energy()
    assert abs(after - before) > 1e-3
    water.positions[0] -= 0.05
    assert abs(water.calc.get_functional_energy() - before) < 1e-8


# --- large molecules ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def far_apart():
    """Two molecules of hydrogen and one far away, whose blocks vanish."""
    atoms = Atoms("H6", [[0, 0, z] for z in (0.0, 0.74, 2.0, 2.74, 20.0, 20.74)])
    atoms.rattle(0.05, seed=1)  # no element is zero by symmetry
    atoms.calc = HELMCalculator()
    return atoms


def test_a_sparse_hamiltonian_has_the_same_levels_and_no_blocks_of_distant_atoms(far_apart):
    dense, sparse = (far_apart.calc.get_hamiltonian(sparse=s) for s in (False, True))
    assert issparse(sparse)
    size = len(dense) // 3
    assert sparse[: 2 * size, 2 * size :].nnz == 0
    assert sparse[: 2 * size, : 2 * size].nnz == 4 * size**2
    s = far_apart.calc.get_overlap()
    levels = [eigh(h, s, eigvals_only=True) for h in (dense, sparse.toarray())]
    np.testing.assert_allclose(levels[1], levels[0], rtol=0, atol=1e-7)


def test_levels_around_the_gap_are_the_same_however_they_are_found(far_apart, monkeypatch):
    usual = far_apart.calc.get_levels_around_gap(2)
    gap = far_apart.calc.get_homo_lumo()
    assert usual[0][-1] == pytest.approx(gap[0])
    assert usual[1][0] == pytest.approx(gap[1])
    monkeypatch.setattr(orbitals, "LARGE", 10)
    calc = HELMCalculator()
    for a, b in zip(calc.get_levels_around_gap(2, atoms=far_apart), usual, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert calc.get_homo_lumo(far_apart) == pytest.approx(gap, abs=1e-6)
    assert "orbital_energies" not in calc.extra_results
    levels = calc.get_property("orbital_energies", far_apart)
    np.testing.assert_allclose(levels, far_apart.calc.get_property("orbital_energies"), atol=1e-6)


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_a_number_of_levels_is_a_positive_whole_number(far_apart, count):
    with pytest.raises(SettingError, match="number of levels"):
        far_apart.calc.get_levels_around_gap(count)
