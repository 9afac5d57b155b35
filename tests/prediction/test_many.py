"""Many structures at once: the answers of one at a time, in the order given."""

import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from helm_ase import ExtrapolationWarning, HELMCalculator, load_model, predict_many
from helm_ase.checkpoint import save_checkpoint
from helm_ase.errors import ElementError, SettingError, StructureError, UntrainedError
from helm_ase.prediction import many
from helm_ase.prediction.batch_engine import BatchEngine
from helm_ase.prediction.verdict import Trust
from helm_ase.qc.tight_binding import with_parameters
from helm_ase.representation.energy_baseline import EnergyBaseline
from shared.attached import PURE
from shared.small_models import tiny_model

NAMES = ("H2O", "CH3CH2OH", "NH3", "C6H6", "CH4", "HCN", "H2", "CH3CHO")


@pytest.fixture
def structures(rng):
    found = [molecule(name) for name in NAMES for _ in range(2)]
    for atoms in found:
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
    return found


@pytest.fixture(params=["embedded", "tiny"])
def checkpoint(request, tmp_path):
    """A trained model, and a random one whose every part gives something, from files."""
    found = load_model("helm-hcnof-2")
    if request.param == "embedded":
        return found
    model = tiny_model(found.basis, charges=(-1, 0, 1), multiplicities=(1, 2, 3)).cast(found.model.dtype)
    return saved(replace(found, name="tiny", model=model), tmp_path)


def saved(checkpoint, folder):
    save_checkpoint(checkpoint, folder / "model.safetensors")
    return load_model(folder / "model.safetensors")


def path_of(checkpoint, folder):
    save_checkpoint(checkpoint, folder / "path.safetensors")
    return str(folder / "path.safetensors")


@pytest.mark.parametrize("batch", ["auto", 1, 300])
def test_energies_and_forces_are_those_of_one_at_a_time(structures, checkpoint, tmp_path, batch):
    calc = HELMCalculator(model=path_of(checkpoint, tmp_path))
    found = list(predict_many(structures, model=checkpoint, batch=batch))
    assert [answer.index for answer in found] == list(range(len(structures)))
    for atoms, answer in zip(structures, found, strict=True):
        atoms.calc = calc
        assert answer.error is None
        assert answer.gap is None
        assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(
            answer.forces, atoms.get_forces(), atol=1e-5 * max(1, abs(answer.forces).max())
        )


def test_what_follows_from_the_hamiltonian_is_that_of_one_at_a_time(structures, checkpoint, tmp_path):
    calc = HELMCalculator(model=path_of(checkpoint, tmp_path))
    names = ("dipole", "charges", "eigenvalues", "gap", "hamiltonian")
    some = structures[::5]
    if 1 in checkpoint.model.settings.charges:
        some[0].info.update(charge=1, multiplicity=2)
    for atoms, answer in zip(some, predict_many(some, names, checkpoint), strict=True):
        atoms.calc = calc
        assert answer.energy is None
        h = calc.get_hamiltonian(atoms)
        assert answer.hamiltonian.shape == h.shape
        np.testing.assert_allclose(answer.hamiltonian, h, atol=2e-6 * max(1, abs(h).max()))
        levels = calc.get_property("orbital_energies", atoms)
        np.testing.assert_allclose(answer.eigenvalues, levels, atol=1e-3)
        homo, lumo = calc.get_homo_lumo(atoms)
        assert answer.gap == pytest.approx(lumo - homo, abs=1e-3)
        if checkpoint.name != "tiny":  # random matrices have orbitals that are too close to tell apart
            np.testing.assert_allclose(answer.dipole, atoms.get_dipole_moment(), atol=1e-4)
            np.testing.assert_allclose(answer.charges, atoms.get_charges(), atol=1e-4)


def test_the_energy_baseline_is_added_to_each_structure(structures, tmp_path):
    pytest.importorskip("tblite")
    plain = load_model()
    baseline = with_parameters(EnergyBaseline("gfn2-xtb"), plain.basis.elements)
    with_e0 = saved(replace(plain, energy_baseline=baseline), tmp_path)
    calc = HELMCalculator(model=str(tmp_path / "model.safetensors"))
    some = structures[:6]
    for atoms, answer in zip(some, predict_many(some, model=with_e0), strict=True):
        atoms.calc = calc
        assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(answer.forces, atoms.get_forces(), atol=1e-5)


def test_a_bad_structure_is_reported_and_the_others_are_answered(structures):
    structures[3] = Atoms("Au")
    structures[7].pbc = True
    structures[9] = "no atoms"
    found = list(predict_many(structures, "energy"))
    kinds = {answer.index: type(answer.error) for answer in found if answer.error is not None}
    assert kinds == {3: ElementError, 7: StructureError, 9: StructureError}
    assert all((answer.energy is None) == (answer.index in kinds) for answer in found)
    answers = predict_many(structures, "energy", raise_errors=True)
    assert [next(answers).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ElementError, match="has not seen Au"):
        next(answers)


def test_a_result_that_is_not_finite_is_an_error_of_its_structure_only(structures, monkeypatch):
    network = BatchEngine._network

    def broken(self, batch):
        answers, features = network(self, batch)
        spoiled = [
            (float("nan") if task.index == 2 else energy, forces, matrix)
            for task, (energy, forces, matrix) in zip(batch, answers, strict=True)
        ]
        return spoiled, features

    monkeypatch.setattr(BatchEngine, "_network", broken)
    found = list(predict_many(structures))
    assert [answer.index for answer in found if answer.error is not None] == [2]


def test_a_batch_that_memory_does_not_hold_is_halved(structures, monkeypatch):
    import torch

    network = BatchEngine._network

    def short(self, batch):
        if sum(len(task.atoms) for task in batch) > 10:
            raise torch.OutOfMemoryError("no memory")
        return network(self, batch)

    monkeypatch.setattr(BatchEngine, "_network", short)
    found = list(predict_many(structures))
    too_large = [k for k, atoms in enumerate(structures) if len(atoms) > 10]
    assert [answer.index for answer in found if answer.error is not None] == too_large


def test_an_iterator_is_read_a_window_ahead_and_may_reuse_its_atoms(monkeypatch):
    monkeypatch.setattr(many, "WINDOW", 4)
    read, atoms = [], molecule("H2O")

    def frames():
        for k in range(20):
            atoms.positions[0, 2] += 0.01
            read.append(k)
            yield atoms

    found = predict_many(frames(), "energy")
    assert read == []
    energies = [next(found).energy]
    assert len(read) == 4
    energies += [answer.energy for answer in found]
    assert len(set(energies)) == 20


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_structures():
    peaks = []
    list(predict_many([molecule("H2")] * 10, "energy"))
    for n in (2000, 10_000):
        tracemalloc.start()
        for _ in predict_many((molecule("H2") for _ in range(n)), "energy"):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_nothing_is_computed_before_settings_are_checked(tmp_path):
    water = molecule("H2O")
    with pytest.raises(SettingError, match="cannot predict stress; there are energy"):
        predict_many([water], ("energy", "stress"))
    with pytest.raises(SettingError, match=r"write \[atoms\]"):
        predict_many(water)
    with pytest.raises(SettingError, match="positive number of atoms and pairs"):
        predict_many([water], batch=0)
    with pytest.raises(SettingError, match="'float16' is not one of"):
        predict_many([water], dtype="float16")
    with pytest.raises(SettingError, match="'abacus' cannot be used"):
        predict_many([water], device="abacus")
    energies_only = replace(load_model(), training={"predicts": ["energy", "forces"]})
    with pytest.raises(UntrainedError, match="not trained to predict the hamiltonian"):
        predict_many([water], ("gap",), energies_only)


def test_nothing_in_nothing_out_and_lone_atoms_feel_no_force():
    assert list(predict_many([])) == []
    (answer,) = predict_many([Atoms("O", positions=[[1, 2, 3]], info={"multiplicity": 1})])
    assert answer.energy < -1000
    np.testing.assert_array_equal(answer.forces, 0)


def test_every_answer_comes_with_its_verdict():
    stretched = Atoms("F2", [(0, 0, 0), (0, 0, 2.3)])
    with pytest.warns(ExtrapolationWarning):
        water, broken, benzene = predict_many(
            [molecule("H2O"), stretched, molecule("C6H6")], model=PURE, device="cpu"
        )
    assert water.verdict.trust is Trust.TRUSTED
    assert broken.verdict.trust is Trust.REFUSED
    assert any("F" in reason for reason in broken.verdict.reasons)
    assert benzene.verdict.trust is Trust.EXTRAPOLATING
    single = single_verdict(molecule("C6H6"))
    assert (benzene.verdict.trust, benzene.verdict.reasons) == (single.trust, single.reasons)
    assert benzene.verdict.error_bar == pytest.approx(single.error_bar, rel=1e-3)


def single_verdict(atoms):
    atoms.calc = HELMCalculator(PURE, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        return atoms.calc.get_verdict(atoms)


def test_many_like_structures_warn_once():
    stretched = [Atoms("F2", [(0, 0, 0), (0, 0, 2.3)]) for _ in range(5)]
    with pytest.warns(ExtrapolationWarning) as record:
        list(predict_many(stretched, device="cpu"))
    assert len(record) <= 3  # bonds, distances, error bar
