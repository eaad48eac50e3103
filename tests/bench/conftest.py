"""What the benchmarks share: figures are printed as tables and left in build/bench as JSON. Nothing judges them."""

import pytest

from tests.support.figures import Publish, publisher, seconds

__all__ = ["Publish", "publish", "seconds"]


@pytest.fixture
def publish(capsys: pytest.CaptureFixture[str]) -> Publish:
    """Prints a table of figures, says on what machine, and writes build/bench/NAME.json."""
    return publisher("bench", capsys)
