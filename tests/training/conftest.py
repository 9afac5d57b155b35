"""What the tests of training share."""

import pytest
from matplotlib.figure import Figure

from helm_ase.training import curves


@pytest.fixture(autouse=True)
def curves_in_one_panel(monkeypatch):
    """Runs inside a test draw nothing that is long to lay out; those of modules' fixtures draw everything."""
    monkeypatch.setattr(curves, "draw", lambda stages: Figure(figsize=(1, 1)))
