"""What the tests under faults share: fleets of real processes, and the figures that they leave in build/chaos.

CHAOS_SECONDS=10        how long each load lasts; as promised (30 to 60 s) when unset
CHAOS_SOAK_SECONDS=600  how long the soak lasts
CHAOS_EXAMPLES=5        how many sequences of faults are tried
CHAOS_JUDGE=counts      judges counts and states alone, for a machine that does other things too
"""

from collections.abc import Iterator

import pytest

from tests.support.chaos_fleet import ChaosFleet, FleetOptions, chaos_fleet
from tests.support.figures import publisher
from tests.support.promises import Promises


@pytest.fixture
def promises(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Promises:
    """The promises of this test, under its name."""
    title = request.node.originalname.removeprefix("test_").replace("_", " ")
    return Promises(title, publisher("chaos", capsys))


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosFleet]:
    """Three analyzers, one router."""
    with chaos_fleet(tmp_path_factory.mktemp("fleet"), FleetOptions()) as running:
        yield running


@pytest.fixture
def fleet(processes: ChaosFleet) -> Iterator[ChaosFleet]:
    """The same, whole again after each test."""
    yield processes
    processes.revive()
