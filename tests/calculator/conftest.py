"""Fixtures that the tests of the calculator share."""

import pytest

import helm_ase.calculator.computation as calculator_module
from helm_ase.nn import HELM
from shared.attached import with_calc


@pytest.fixture
def water():
    return with_calc("H2O")


@pytest.fixture
def forbid_hamiltonian(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a Hamiltonian was computed")

    monkeypatch.setattr(calculator_module, "predict_electronic_structure", refuse)


@pytest.fixture
def passes(monkeypatch):
    """Count the passes of the network."""
    seen = []
    forward = HELM.forward

    def counted(self, *args, **kwargs):
        seen.append(kwargs)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(HELM, "forward", counted)
    return seen
