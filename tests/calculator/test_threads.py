"""One calculator, many threads: each gets the answer for its own molecule."""

import copy
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import molecule

from helm_ase import HELMCalculator
from helm_ase.calculator import computation
from shared.attached import PURE

pytestmark = pytest.mark.filterwarnings("ignore::helm_ase.ExtrapolationWarning")

NAMES = ("H2O", "CH4", "NH3", "HF", "H2O2")
ROUNDING = 1e-9
"""eV; sums in another thread or process may end in another last digit on some processors."""


def answers(calc, name):
    atoms = molecule(name)
    return (
        calc.get_potential_energy(atoms),
        calc.get_forces(atoms).tolist(),
        calc.get_uncertainty(atoms).energy,
        str(calc.get_verdict(atoms)),
    )


@pytest.mark.parametrize("model", [PURE, None])
def test_threads_that_share_a_calculator_get_their_own_answers(model):
    calc = HELMCalculator(model)
    expected = {name: answers(HELMCalculator(model), name) for name in NAMES}
    work = [name for _ in range(4) for name in NAMES]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: answers(calc, name), work))
    for name, answer in zip(work, found, strict=True):
        if model == PURE:
            assert answer == expected[name], name
        else:  # GFN2-xTB starts from the charges of the molecule before
            for found_, wanted in zip(answer[:3], expected[name][:3], strict=True):
                np.testing.assert_allclose(found_, wanted, rtol=1e-6, atol=1e-6)
            assert answer[3] == expected[name][3]


def test_levels_and_matrices_belong_to_the_caller_too():
    calc, names = HELMCalculator(), ("H2O", "HF", "NH3")
    expected = {name: HELMCalculator().get_hamiltonian(molecule(name)) for name in names}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: calc.get_hamiltonian(molecule(name)), names * 3))
    for name, matrix in zip(names * 3, found, strict=True):
        assert np.array_equal(matrix, expected[name]), name


def test_copies_and_pickles_have_locks_of_their_own():
    calc = HELMCalculator()
    energy = calc.get_potential_energy(molecule("H2O"))
    for twin in (copy.deepcopy(calc), copy.copy(calc), pickle.loads(pickle.dumps(calc))):
        assert twin._lock is not calc._lock
        with calc._lock, ThreadPoolExecutor(1) as pool:  # waiting for the other's lock would never end
            assert pool.submit(twin.get_potential_energy, molecule("H2O")).result(timeout=60) == energy


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_threads_work_computes_anew(monkeypatch):
    """The thread does not exist in the child; nobody there would ever release what it held."""
    calc, atoms = HELMCalculator(), molecule("H2O")
    expected = calc.get_potential_energy(atoms)
    at_work, go_on, predict = threading.Event(), threading.Event(), computation.predict_energy

    def slow(*arguments):
        at_work.set()
        go_on.wait(60)
        return predict(*arguments)

    monkeypatch.setattr(computation, "predict_energy", slow)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(calc.get_potential_energy, molecule("CH4"))
        assert at_work.wait(60)
        child = os.fork()
        if child == 0:
            computation.predict_energy = predict
            os._exit(0 if abs(calc.get_potential_energy(atoms) - expected) < ROUNDING else 1)
        ended = threading.Timer(60, os.kill, (child, 9))
        ended.start()
        _, status = os.waitpid(child, 0)
        ended.cancel()
        go_on.set()
        assert status == 0, "it waited for the lock until it was ended" if status == 9 else "another energy"
        alone = HELMCalculator().get_potential_energy(molecule("CH4"))
        assert other.result(60) == pytest.approx(alone, abs=ROUNDING)
