"""What all tests have in common: fixtures, and how several processes share the files of tests."""

import sys
from pathlib import Path

import numpy as np
import pytest

from shared.bounded_process import BoundedProcess

# Processes that tests start by ``spawn`` import the module of the test by its name from here; last, so that
# the installed package comes first.
sys.path.append(str(Path(__file__).parents[1]))

LONGEST = ("test_labelling_campaign.py", "test_training_run.py", "test_interruption.py", "test_site.py")
"""Files of tests that would leave the other processes idle if they came last."""


@pytest.fixture(scope="session")
def bounded():
    """One bounded process for all hostile cases; see its module for what counts as an end."""
    process = BoundedProcess()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def crystal_model(tmp_path_factory):
    """Path of a model of crystals with random weights."""
    from helm_ase.checkpoint.format import save_checkpoint
    from shared.crystal_labels import checkpoint

    target = tmp_path_factory.mktemp("model") / "crystals.safetensors"
    save_checkpoint(checkpoint(), target)
    return str(target)


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


def pytest_collection_modifyitems(items):
    """The longest files first; otherwise as collected."""
    last = len(LONGEST)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else last)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``-n 2``, a file stays in one process, so that what its tests share is made once."""
    if config.getvalue("dist") not in ("load", "loadfile"):
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # which would put files with few, long tests last
    return LoadFileScheduling(config, log)
