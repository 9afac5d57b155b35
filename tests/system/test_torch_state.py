"""What a process has told torch changes nothing: neither whether a model loads nor what it answers."""

import io
import subprocess
import sys
from contextlib import nullcontext, redirect_stdout

import numpy as np
import pytest
import torch
from ase.build import molecule

from helm_ase import HELMCalculator, load_model
from helm_ase.system.torch_state import own_torch_state

ANSWER = """
import torch
{setting}
from ase.build import molecule
from helm_ase import HELMCalculator
atoms = molecule("CH3OH"); atoms.rattle(0.03, seed=1)
atoms.calc = HELMCalculator(dtype={dtype!r})
print(repr(atoms.get_potential_energy()), repr(atoms.get_forces()[0, 0]))
print(repr(atoms.calc.get_homo_lumo()[0]), repr(atoms.get_dipole_moment()[0]), repr(atoms.get_charges()[0]))
print(repr(float(atoms.calc.get_electronic_structure().bond_orders()[0, 1])))
print(repr(atoms.calc.get_uncoupled_polarizability()[0, 0]))
"""


FLOAT64 = "torch.set_default_dtype(torch.float64)"
SETTINGS = (
    "torch.set_default_dtype(torch.bfloat16)",
    "torch.set_default_device('meta')",
    "context = torch.autocast('cpu', torch.bfloat16); context.__enter__()",
)


def numbers(printed):
    return np.array([float(word.removeprefix("np.float64(").rstrip(")")) for word in printed.split()])


def answers(setting, dtype):
    code = ANSWER.format(setting=setting, dtype=dtype)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return numbers(done.stdout)


@pytest.fixture(scope="module", params=["float32"])
def untouched(request):
    with redirect_stdout(io.StringIO()) as printed:
        exec(ANSWER.format(setting="", dtype=request.param), {})
    return request.param, numbers(printed.getvalue())


def test_another_default_type_changes_nothing(untouched):
    """In this process: settings made before anything is imported need one of their own each."""
    dtype, expected = untouched
    try:
        with redirect_stdout(io.StringIO()) as printed:
            exec(ANSWER.format(setting=FLOAT64, dtype=dtype), {})
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(numbers(printed.getvalue()), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["\n".join(SETTINGS), FLOAT64, *SETTINGS])
def test_settings_made_before_a_model_is_loaded_change_nothing(untouched, setting):
    dtype, expected = untouched
    np.testing.assert_allclose(answers(setting, dtype), expected, rtol=1e-7, atol=1e-7)


def test_autocast_around_a_calculation_changes_no_bit():
    seen = []
    for context in (nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        atoms = molecule("H2O")
        atoms.calc = HELMCalculator()
        with context:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            seen.append((energy, forces.tolist(), atoms.calc.get_hamiltonian().tolist()))
    assert seen[0] == seen[1]


def test_afterwards_everything_is_as_it_was():
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            with own_torch_state():
                assert torch.zeros(1).dtype == torch.float32
                assert torch.zeros(1).device.type == "cpu"
                assert not torch.is_autocast_enabled("cpu")
                load_model()
            assert torch.get_default_dtype() == torch.float64
            assert torch.zeros(1).device.type == "meta"
            assert torch.is_autocast_enabled("cpu")
    finally:
        torch.set_default_dtype(torch.float32)
