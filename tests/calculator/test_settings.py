"""Keywords of the calculator: what is accepted, what is refused, and what a change does to results."""

import numpy as np
import pytest
import torch
from ase.calculators.calculator import CalculatorSetupError, InputError
from torch.utils.checkpoint import checkpoint

import helm_ase.nn.edge_parts as edge_parts
from helm_ase import HELMCalculator
from helm_ase.errors import CheckpointError, SettingError


@pytest.mark.parametrize("keyword", ["label", "restart", "directory", "ignore_bad_restart_file"])
def test_keywords_that_only_ase_knows_are_refused_too(keyword):
    with pytest.raises(SettingError, match=keyword):
        HELMCalculator(**{keyword: "x"})


def test_an_unknown_keyword_is_refused_with_the_closest_one():
    with pytest.raises(SettingError, match=r"multiplicty.*allowed.*did you mean 'multiplicity'"):
        HELMCalculator(multiplicty=1)


def test_an_unknown_keyword_in_set_is_refused(water):
    with pytest.raises(InputError, match="did you mean 'charge'"):
        water.calc.set(chrage=1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "double"])
def test_an_unsupported_dtype_is_refused_and_the_supported_ones_are_listed(dtype):
    with pytest.raises(SettingError, match=f"{dtype}.*float32, float64"):
        HELMCalculator(dtype=dtype)


def test_torch_dtypes_are_as_good_as_their_names():
    assert HELMCalculator(dtype=torch.float64).parameters["dtype"] == "float64"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "nonsense"])
def test_an_unusable_device_is_refused_by_name(device):
    with pytest.raises(SettingError, match=device):
        HELMCalculator(device=device)


@pytest.mark.parametrize("value", [0.5, True, "abc", None, float("nan")])
@pytest.mark.parametrize("key", ["charge", "multiplicity"])
def test_charge_and_multiplicity_keywords_must_be_integers(key, value):
    with pytest.raises(SettingError, match=key):
        HELMCalculator(**{key: value})


@pytest.mark.parametrize("number", [np.int64(0), np.int32(0), np.float64(0.0)])
def test_numpy_integers_are_accepted_and_stored_as_python_integers(number):
    assert type(HELMCalculator(charge=number).parameters["charge"]) is int


def test_setting_a_charge_discards_the_results(water):
    water.get_potential_energy()
    water.calc.get_hamiltonian()
    water.calc.set(charge=2)
    assert water.calc.results == {}
    assert water.calc.extra_results == {}


def test_setting_the_same_value_again_keeps_the_results(water):
    water.get_potential_energy()
    water.calc.set(charge=0)
    assert "energy" in water.calc.results


def test_changing_the_dtype_changes_the_answer(water):
    single = water.get_potential_energy()
    water.calc.set(dtype="float64")
    double = water.get_potential_energy()
    assert double != single
    assert double == pytest.approx(single, abs=1e-4)


def test_an_unknown_model_is_refused_with_the_closest_name():
    with pytest.raises(CheckpointError, match="did you mean 'helm-hcnof-") as caught:
        HELMCalculator(model="helm-hcnof-l")
    assert isinstance(caught.value, CalculatorSetupError)


def test_a_failed_change_of_model_leaves_the_calculator_as_it_was(water):
    energy = water.get_potential_energy()
    with pytest.raises(CheckpointError):
        water.calc.set(model="nowhere")
    assert water.calc.parameters["model"] is None
    assert water.get_potential_energy() == energy


def test_forces_that_are_computed_in_less_memory_are_the_same(water, monkeypatch):
    monkeypatch.setitem(edge_parts.AT_ONCE, "cpu", 2)
    kept = water.get_forces()
    saved = []
    monkeypatch.setattr(
        edge_parts, "checkpoint", lambda f, *args, **kw: saved.append(f) or checkpoint(f, *args, **kw)
    )
    water.calc.set(recompute=True)
    np.testing.assert_allclose(water.get_forces(), kept, rtol=0, atol=1e-5)
    assert saved


@pytest.mark.parametrize("value", ["yes", 2, 0.5])
def test_recompute_is_yes_or_no_or_left_to_the_model(value):
    with pytest.raises(SettingError, match=r"recompute is .*allowed: None .*True, False"):
        HELMCalculator(recompute=value)
