"""Labels and models that the tests of evaluation share."""

import pytest

from shared.evaluated_models import CLOSED, OPEN, Subject, make_subject


@pytest.fixture(scope="session")
def closed(tmp_path_factory) -> Subject:
    return make_subject(tmp_path_factory.mktemp("closed"), CLOSED)


@pytest.fixture(scope="session")
def opened(tmp_path_factory) -> Subject:
    """Radicals, ions and lone atoms, and the model that was told of them."""
    return make_subject(
        tmp_path_factory.mktemp("open"), OPEN, charges=(-2, -1, 0, 1), multiplicities=(1, 2, 3)
    )
