"""Second derivatives: laws, finite differences of forces, and frequencies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS

from helm_ase import HELMCalculator, load_model
from helm_ase.checkpoint import save_checkpoint
from helm_ase.errors import ElementError, StructureError, UntrainedError
from helm_ase.qc.tight_binding import with_parameters
from helm_ase.representation.energy_baseline import EnergyBaseline
from shared.attached import PURE
from shared.deviations import largest, relative
from shared.rotations import rotation
from shared.small_models import tiny_model


def rattled(name, seed=1):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    return atoms


def model_file(folder, **changes):
    found = replace(load_model(PURE), **changes)
    save_checkpoint(found, folder / "model.safetensors")
    return str(folder / "model.safetensors")


@pytest.fixture(params=["embedded", "tiny"])
def calc(request, tmp_path):
    if request.param == "embedded":
        return HELMCalculator(PURE, dtype="float64")
    network = tiny_model(load_model(PURE).basis, cutoff=6.0, pair_cutoff=12.0).cast(torch.float32)
    return HELMCalculator(model=model_file(tmp_path, name="tiny", model=network), dtype="float64")


@pytest.fixture
def calc_with_e0(tmp_path):
    pytest.importorskip("tblite")
    baseline = with_parameters(EnergyBaseline("gfn2-xtb"), load_model(PURE).basis.elements)
    return HELMCalculator(model=model_file(tmp_path, energy_baseline=baseline), dtype="float64")


def differences_of_forces(calc, atoms, step=1e-4):
    """Fourth-order differences, (3N, 3N); with 1e-3 Å they are off by 4e-4 of rattled formaldehyde's."""
    rows = []
    for coordinate in range(3 * len(atoms)):
        forces = []
        for k in (-2, -1, 1, 2):
            twin = atoms.copy()
            twin.positions.flat[coordinate] += k * step
            forces.append(calc.get_forces(twin).ravel())
        rows.append(-(forces[0] - 8 * forces[1] + 8 * forces[2] - forces[3]) / (12 * step))
    return np.array(rows)


OTHERS = ("H2CO", "HCN", "NH3", "CH4", "C2H2", "HCOOH", "CH3OH", "CH3CN", "CH3CHO")


@pytest.mark.parametrize("name", ["H2O", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)])
def test_the_hessian_is_the_slope_of_the_forces(calc, name):
    atoms = rattled(name)
    assert relative(calc.get_hessian(atoms), differences_of_forces(calc, atoms)) < 1e-6


def test_with_an_energy_baseline_it_is_the_slope_of_all_forces(calc_with_e0):
    atoms, plain = rattled("H2O"), HELMCalculator(PURE, dtype="float64")
    found = calc_with_e0.get_hessian(atoms)
    network = differences_of_forces(plain, atoms)
    e0 = differences_of_forces(calc_with_e0, atoms, 0.01) - differences_of_forces(plain, atoms, 0.01)
    assert largest(e0) > 1
    assert relative(found, network + e0) < 1e-4


def test_the_hessian_is_symmetric_and_does_not_answer_to_translations(calc):
    hessian = calc.get_hessian(rattled("CH3OH"))
    np.testing.assert_array_equal(hessian, hessian.T)
    sums = hessian.reshape(18, 6, 3).sum(axis=1)
    assert largest(sums) < 1e-10 * largest(hessian)


def test_the_hessian_turns_with_the_molecule(calc):
    atoms, r = rattled("H2CO"), rotation(3)
    turned = Atoms(atoms.numbers, atoms.positions @ r.T)
    turn = np.kron(np.eye(len(atoms)), r)
    assert relative(calc.get_hessian(turned), turn @ calc.get_hessian(atoms) @ turn.T) < 1e-10


def test_rows_in_several_passes_are_those_of_one(monkeypatch):
    from helm_ase.prediction import hessian as module

    atoms, calc = rattled("H2O"), HELMCalculator(PURE, dtype="float64")
    whole = calc.get_hessian(atoms)
    monkeypatch.setattr(module, "LOAD", {"cpu": 24})
    np.testing.assert_allclose(calc.get_hessian(atoms), whole, atol=1e-12)


def test_float32_is_good_to_a_millionth():
    atoms = rattled("C2H4")
    assert (
        relative(HELMCalculator().get_hessian(atoms), HELMCalculator(dtype="float64").get_hessian(atoms))
        < 2e-6
    )


def test_frequencies_of_water_are_near_those_of_its_level_of_theory():
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator()
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    found = atoms.calc.get_vibrations()
    frequencies = found.get_frequencies()
    assert found.get_atoms() == atoms
    assert largest(np.abs(frequencies[:6])) < 60
    # PySCF 2.14, RKS B3LYP/def2-SVP without density fitting, grid 4, at its own minimum, analytic Hessian
    np.testing.assert_allclose(frequencies[6:].real, [1638.6, 3791.6, 3886.9], rtol=0.05)


def test_a_lone_atom_has_no_curvature_and_bad_systems_are_refused(tmp_path):
    calc = HELMCalculator()
    np.testing.assert_array_equal(calc.get_hessian(Atoms("O")), np.zeros((3, 3)))
    with pytest.raises(StructureError, match="no atoms yet"):
        HELMCalculator().get_hessian()
    with pytest.raises(ElementError):
        calc.get_hessian(Atoms("Au"))
    only_h = model_file(tmp_path, training={"predicts": ["hamiltonian"]})
    with pytest.raises(UntrainedError):
        HELMCalculator(model=only_h).get_hessian(molecule("H2O"))


def test_asking_for_the_hessian_leaves_results_and_atoms_alone():
    atoms = rattled("H2O")
    atoms.calc = HELMCalculator()
    energy, before = atoms.get_potential_energy(), atoms.copy()
    results = dict(atoms.calc.results)
    atoms.calc.get_hessian()
    assert atoms.calc.results == results
    assert atoms.get_potential_energy() == energy
    assert atoms == before
