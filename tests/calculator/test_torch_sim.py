"""HELM in torch-sim: the numbers of the calculator, for many molecules at once."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.collections import g2
from ase.optimize import BFGS

from helm_ase import HELMCalculator
from helm_ase.checkpoint.format import save_checkpoint
from helm_ase.errors import ChargeError, ElementError, SettingError, StructureError
from helm_ase.prediction.verdict import Trust

torch_sim = pytest.importorskip("torch_sim")

from helm_ase.calculator.torch_sim_model import HELMTorchSimModel  # noqa: E402
from shared.evaluated_models import checkpoint  # noqa: E402

NAMES = ("H2O", "CH3CH2OH", "C2H2", "HCN")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return HELMTorchSimModel(device="cpu", dtype="float64")


def state_of(structures, dtype=torch.float64):
    return torch_sim.io.atoms_to_state(structures, CPU, dtype)


def rattled(names):
    structures = [molecule(name) for name in names]
    for k, atoms in enumerate(structures):
        atoms.rattle(0.03, seed=k)
    return structures


def test_energies_and_forces_are_those_of_the_calculator(model):
    structures = rattled(NAMES)
    before = [atoms.positions.copy() for atoms in structures]
    answers = model(state_of(structures))
    assert answers["energy"].shape == (4,)
    forces = np.split(answers["forces"].numpy(), np.cumsum([len(a) for a in structures])[:-1])
    for k, atoms in enumerate(structures):
        assert np.array_equal(atoms.positions, before[k])
        atoms.calc = HELMCalculator(dtype="float64", device="cpu")
        assert answers["energy"][k] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(forces[k], atoms.get_forces(), rtol=0, atol=1e-6)


def test_results_have_the_precision_of_the_state(model):
    answers = model(state_of(rattled(NAMES), torch.float32))
    assert answers["energy"].dtype == answers["forces"].dtype == torch.float32


def test_the_order_of_molecules_is_kept_whatever_the_batches():
    small = HELMTorchSimModel(device="cpu", batch=20)
    structures = rattled(NAMES)
    forward, backward = (small(state_of(s))["energy"] for s in (structures, structures[::-1]))
    torch.testing.assert_close(forward, backward.flip(0), rtol=0, atol=1e-4)


def test_every_molecule_may_have_a_state_of_its_own(tmp_path):
    ions = tmp_path / "ions.safetensors"
    save_checkpoint(checkpoint(charges=(-1, 0, 1), multiplicities=(1, 2)), ions)
    model = HELMTorchSimModel(ions, device="cpu", dtype="float64")
    state = state_of([molecule("H2O"), molecule("H2O")])
    state.charge, state.multiplicity = torch.tensor([0, 1]), torch.tensor([1, 2])
    energies = model(state)["energy"]
    for k, (charge, multiplicity) in enumerate([(0, 1), (1, 2)]):
        atoms = molecule("H2O")
        atoms.calc = HELMCalculator(
            ions, charge=charge, multiplicity=multiplicity, dtype="float64", device="cpu"
        )
        assert energies[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    assert abs(energies[0] - energies[1]) > 1e-3


def test_what_the_model_does_not_support_is_refused(model):
    crystal = molecule("H2O", vacuum=5.0)
    crystal.pbc = True
    with pytest.raises(StructureError, match="set pbc to False"):
        model(state_of([crystal]))
    with pytest.raises(ElementError, match="Li"):
        model(state_of([molecule("H2O"), molecule("LiH")]))
    with pytest.raises(ChargeError):
        HELMTorchSimModel(device="cpu", charge=1)(state_of([molecule("H2O")]))
    with pytest.raises(SettingError, match="batch is 0"):
        HELMTorchSimModel(device="cpu", batch=0)


def minima_of(structures, model):
    state = torch_sim.optimize(
        state_of(structures),
        model,
        optimizer=getattr(torch_sim, "Optimizer", torch_sim.optimizers).fire,
        convergence_fn=torch_sim.generate_force_convergence_fn(force_tol=0.01, include_cell_forces=False),
        max_steps=500,
    )
    return state.energy.numpy()


def test_molecules_optimised_together_end_where_ase_finds_them_one_at_a_time(model):
    assert check_minima(rattled(("H2O", "HCN")), model) == 0


@pytest.mark.slow
def test_64_molecules_optimised_together_end_where_ase_finds_them_one_at_a_time(model):
    known = [a for a in map(molecule, g2.names) if set(a.symbols) <= set("HCNOF") and len(a) > 2]
    closed = [atoms for atoms in known if not atoms.get_initial_magnetic_moments().any()]
    structures = [atoms.copy() for atoms in (closed * 2)[:64]]
    for k, atoms in enumerate(structures):
        atoms.rattle(0.03, seed=k)
    # forces of 0.01 eV/Å leave 2 meV along soft modes; BFGS may break one molecule, as its verdict then says
    assert check_minima(structures, model, tolerance=2e-3) <= 1


def check_minima(structures, model, tolerance=5e-4):
    """Compare energies of minima; returns how many molecules ASE's optimiser has broken."""
    broken = 0
    for atoms, energy in zip(structures, minima_of(structures, model), strict=True):
        atoms.calc = HELMCalculator(dtype="float64", device="cpu")
        BFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
        if atoms.calc.get_verdict(atoms).trust is Trust.REFUSED:
            broken += 1
        else:
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=tolerance)
    return broken


def test_the_consistency_checks_of_torch_sim_hold(model):
    testing = pytest.importorskip("torch_sim.testing")
    calculator = HELMCalculator(dtype="float64", device="cpu")
    for make in testing.SIMSTATE_MOLECULE_GENERATORS.values():
        testing.assert_model_calculator_consistency(model, calculator, make(CPU, torch.float64))
