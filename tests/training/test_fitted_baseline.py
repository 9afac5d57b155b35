"""Training on a baseline that is fitted to the training labels."""

import json
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.checkpoint import read_checkpoint, read_header
from helm_ase.cli import main
from helm_ase.errors import DatasetError, SettingError
from helm_ase.labels.formats import open_labels
from helm_ase.labels.writer import LabelWriter
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.qc.level import Baseline
from helm_ase.qc.operator_fit import OperatorFit
from helm_ase.qc.tight_binding import with_parameters
from helm_ase.representation.atomic_operator import AtomicOperator
from helm_ase.representation.energy_baseline import EnergyBaseline
from helm_ase.representation.structure import Structure
from helm_ase.training.fitted_baseline import FILE, fit_operators, with_operators
from helm_ase.training.recipe import DataSettings
from helm_ase.training.run import train
from helm_ase.training.samples import open_samples
from shared.sample_labels import TINY, write_labels
from shared.small_recipes import SETTINGS, recipe, stage

pytestmark = [pytest.mark.scf, pytest.mark.filterwarnings("ignore:.*GPU available.*")]
FITTED = Baseline("fitted")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    write_labels(path)
    return path


def fitted_recipe(data, folder, *stages, baseline=FITTED, **more):
    made = recipe(data, folder, *(stages or (stage("hamiltonian", 3),)), **more)
    return replace(made, data=replace(made.data, baseline=baseline))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    made = fitted_recipe(data, tmp_path_factory.mktemp("run"), name="tiny")
    return made, train(made)


def mean_correction(settings):
    samples, _ = open_samples(settings, True, 8.0, "unused")
    return np.mean([float(s.correction.abs().mean()) for s in samples])


def test_what_is_left_to_learn_is_less_than_with_a_table_of_atomic_potentials(data, tmp_path):
    made = with_operators(fitted_recipe(data, tmp_path), None)
    cached = replace(made.data, cache=str(tmp_path))
    assert mean_correction(cached) < 0.5 * mean_correction(replace(cached, baseline=Baseline("sap")))


def test_the_checkpoint_holds_the_operators_and_the_calculator_adds_them(trained):
    made, path = trained
    checkpoint = read_checkpoint(path)
    assert checkpoint.baseline.operators == fit_operators(made.data)
    atoms = molecule("H2O")
    atoms.calc = HELMCalculator(path)
    levels = atoms.calc.get_electronic_structure(atoms).orbital_energies
    assert -25 < levels[0, 0] < -15  # the core of oxygen


def test_the_recipe_in_the_header_asks_for_a_fit_and_does_not_repeat_its_result(trained):
    header = read_header(trained[1])
    assert header["training"]["recipe"]["data"]["baseline"]["operators"] == []


def test_a_summary_of_the_model_names_elements_instead_of_numbers(trained, capsys):
    assert main(["info", str(trained[1])]) == 0
    assert "  operators              of H, C, O, F\n" in capsys.readouterr().out


def test_a_run_that_goes_on_keeps_its_operators(trained, monkeypatch):
    made, _ = trained
    monkeypatch.setattr("helm_ase.training.fitted_baseline.fit_operators", None)
    again = with_operators(made, None)
    kept = json.loads((trained[1].parent / FILE).read_text())
    assert again.data.baseline.operators == tuple(AtomicOperator(**k) for k in kept)


def test_other_processes_wait_for_the_operators_of_the_first(data, tmp_path, monkeypatch):
    made = fitted_recipe(data, tmp_path)
    operators = fit_operators(made.data)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("helm_ase.training.fitted_baseline.fit_operators", None)
    monkeypatch.setattr("helm_ase.training.fitted_baseline.PATIENCE", 0.5)
    with pytest.raises(DatasetError, match="the first process has not written"):
        with_operators(made)
    monkeypatch.setattr("helm_ase.training.fitted_baseline.PATIENCE", 60.0)
    text = json.dumps([asdict(o) for o in operators])
    late = threading.Timer(1.0, lambda: (tmp_path / FILE).write_text(text))
    late.start()
    assert with_operators(made).data.baseline.operators == operators
    late.join()


def test_two_fits_in_one_cache_do_not_serve_each_other(data, tmp_path):
    made = replace(with_operators(fitted_recipe(data, tmp_path)).data, cache=str(tmp_path))
    first = open_samples(made, True, 8.0, "unused")[0][0].baseline
    stretched = tuple(replace(o, exponents=[1.1 * e for e in o.exponents]) for o in made.baseline.operators)
    other = replace(made, baseline=Baseline("fitted", operators=stretched))
    assert abs(open_samples(other, True, 8.0, "unused")[0][0].baseline - first).max() > 1e-3
    assert torch.equal(open_samples(made, True, 8.0, "unused")[0][0].baseline, first)


def test_a_start_brings_its_operators_along(trained, data, tmp_path):
    path = train(fitted_recipe(data, tmp_path, start=str(trained[1]), model=None, name="next"))
    assert read_checkpoint(path).baseline == read_checkpoint(trained[1]).baseline
    assert not (tmp_path / FILE).exists()


def test_a_network_moves_to_another_baseline_with_a_new_hamiltonian_head(trained, data, tmp_path):
    sap = {"baseline": Baseline("sap"), "start": str(trained[1]), "model": None}
    with pytest.raises(SettingError, match="renew 'hamiltonian'"):
        train(fitted_recipe(data, tmp_path / "a", **sap))
    path = train(fitted_recipe(data, tmp_path / "b", renew=("hamiltonian",), **sap))
    assert read_checkpoint(path).baseline.name == "sap"
    back = fitted_recipe(data, tmp_path / "c", start=str(path), renew=("hamiltonian",), model=None)
    assert read_checkpoint(train(back)).baseline.operators == fit_operators(back.data)


def test_a_network_does_not_take_elements_without_an_operator(data, tmp_path):
    with pytest.raises(SettingError, match="takes N, of which the fitted baseline has no operator"):
        train(fitted_recipe(data, tmp_path, elements=(1, 6, 7, 8, 9)))


def test_rare_elements_are_in_the_fit_although_the_draw_leaves_them_out(data, tmp_path):
    source = open_labels(data)
    everything = {z for k in range(len(source)) for z in source[k].numbers.tolist()
                  if source.split_of(k) == "train"}  # fmt: skip
    assert {o.number for o in fit_operators(fitted_recipe(data, tmp_path).data, 1)} == everything


def test_charged_molecules_count_for_what_no_neutral_one_holds(tmp_path):
    path = tmp_path / "labels.h5"
    cases = [("H2O", 0, 1), ("OH", -1, 1), ("NH4", 1, 1), ("CH3", 0, 2)]
    with LabelWriter(path, TINY) as writer:
        for name, charge, multiplicity in cases:
            atoms = molecule("NH3") + Atoms("H", [[0.0, 0.0, 1.5]]) if name == "NH4" else molecule(name)
            structure = Structure(name, atoms.numbers, atoms.positions, charge, multiplicity, split="train")
            writer.add(label_structure(structure, LabelSettings(TINY, forces=False)))
    data = DataSettings(train=(str(path),))
    assert [o.number for o in fit_operators(data)] == [1, 6, 7, 8]
    fits = []

    class Watched(OperatorFit):
        def add(self, mole, hamiltonian, charges=None):
            fits.append((mole.charge, hamiltonian.shape))
            super().add(mole, hamiltonian, charges)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helm_ase.training.fitted_baseline.OperatorFit", Watched)
        fit_operators(data)
    assert sorted(c for c, _ in fits) == [0, 0, 1]  # not the hydroxide
    assert all(len(shape) == 2 for _, shape in fits)  # the radical's two matrices became one


def test_labels_of_another_size_are_refused_before_the_fit(data, tmp_path):
    made = fitted_recipe(data, tmp_path)
    wrong = replace(made.data, level=replace(TINY, basis="def2-svp"))
    with pytest.raises(DatasetError, match="7 functions, but def2-svp has 24"):
        fit_operators(wrong)


def test_matrices_of_another_basis_are_no_ground_for_a_fit(data, tmp_path):
    made = fitted_recipe(data, tmp_path)
    with pytest.raises(SettingError, match="needs Hamiltonians in the model's basis"):
        with_operators(replace(made, data=replace(made.data, model_basis="sto-6g")))


def test_operators_belong_to_the_fitted_baseline_alone(trained):
    operators = read_checkpoint(trained[1]).baseline.operators
    with pytest.raises(SettingError, match="has no operators"):
        Baseline("minao", operators=operators)


@pytest.fixture(scope="module")
def open_shells(tmp_path_factory):
    path = tmp_path_factory.mktemp("radicals") / "labels.h5"
    with LabelWriter(path, TINY) as writer:
        for split, seed in (("train", 0), ("train", 1), ("val", 2)):
            for name, multiplicity in (("H2O", 1), ("OH", 2), ("CH3", 2)):
                atoms = molecule(name)
                atoms.rattle(0.05, seed=seed)
                key = f"{name}-{seed}"
                structure = Structure(key, atoms.numbers, atoms.positions, 0, multiplicity, split=split)
                writer.add(label_structure(structure, LabelSettings(TINY)))
    return path


def spin_recipe(data, folder, spins, **more):
    made = fitted_recipe(data, folder, **({"model": replace(SETTINGS, multiplicities=(1, 2))} | more))
    chosen = Baseline("fitted", charges=True, spins=spins)
    energies = EnergyBaseline("gfn2-xtb")
    return replace(made, data=replace(made.data, baseline=chosen, energy_baseline=energies))


def test_a_model_learns_to_tell_spins_apart_from_the_checkpoint_of_one_that_does_not(open_shells, tmp_path):
    plain = train(spin_recipe(open_shells, tmp_path / "plain", False))
    assert {o.exchange for o in read_checkpoint(plain).baseline.operators} == {None}
    made = spin_recipe(open_shells, tmp_path / "split", True, start=str(plain), model=None, name="split")
    path = train(made)
    known, split = read_checkpoint(plain).baseline.operators, read_checkpoint(path).baseline.operators
    assert [replace(o, exchange=None) for o in split] == list(known)
    assert all(o.exchange < 0 for o in split if o.number in (6, 8))
    left = [mean_correction(with_baseline(made, r)) for r in (split, known)]
    assert left[0] < 0.95 * left[1]
    oh = molecule("OH")
    oh.calc = HELMCalculator(path, multiplicity=2, charge=0)
    levels = oh.calc.get_electronic_structure(oh).orbital_energies
    assert levels[0, 4] < levels[1, 4] - 0.05
    water = molecule("H2O")
    water.calc = HELMCalculator(path)
    assert len(water.calc.get_electronic_structure(water).orbital_energies) == 1


def with_baseline(made, operators):
    spins = operators[0].exchange is not None
    baseline = Baseline("fitted", operators=operators, charges=True, spins=spins)
    energies = with_parameters(made.data.energy_baseline, (1, 6, 8))
    return replace(made.data, baseline=baseline, energy_baseline=energies, cache=made.folder)


def test_a_spin_density_needs_a_method_that_gives_it(open_shells):
    with pytest.raises(SettingError, match=r"baseline.spins needs the spin densities"):
        DataSettings(train=(str(open_shells),), baseline=Baseline("fitted", spins=True))
