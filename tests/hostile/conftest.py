"""One bounded process for all cases of a session; see ``bounded_process.py`` for what counts as an end."""

import pytest

from hostile.bounded_process import BoundedProcess


@pytest.fixture(scope="session")
def bounded():
    found = BoundedProcess()
    yield found
    found.stop()
