"""One calculator, many threads: each gets the answer for its own molecule."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import molecule

from helm_ase import HELMCalculator

pytestmark = pytest.mark.filterwarnings("ignore::helm_ase.ExtrapolationWarning")

NAMES = ("H2O", "CH4", "NH3", "HF", "H2O2")


def answers(calc, name):
    atoms = molecule(name)
    return (
        calc.get_potential_energy(atoms),
        calc.get_forces(atoms).tolist(),
        calc.get_uncertainty(atoms).energy,
        str(calc.get_verdict(atoms)),
    )


def test_threads_that_share_a_calculator_get_their_own_answers():
    calc = HELMCalculator()
    expected = {name: answers(HELMCalculator(), name) for name in NAMES}
    work = [name for _ in range(4) for name in NAMES]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: answers(calc, name), work))
    for name, answer in zip(work, found, strict=True):
        assert answer == expected[name], name


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
