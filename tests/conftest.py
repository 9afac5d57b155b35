"""Fixtures of all tests; other things that tests share are imported from ``shared``."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)
