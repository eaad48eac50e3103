"""One stack for all end-to-end tests that break nothing."""

from collections.abc import Iterator

import pytest

from tests.support.local_stack import LocalStack, StackOptions, local_stack

# A machine that runs the tests runs other things too: what is tested here is that calls get through, not how fast.
PATIENT = {"TINYROUTE_ROUTER__ANALYZER__TIMEOUT_MS": "2000"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The whole system, two analyzers."""
    with local_stack(tmp_path_factory.mktemp("stack"), StackOptions(environment=PATIENT)) as running:
        yield running
