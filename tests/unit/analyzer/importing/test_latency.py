"""The percentile a revision is judged by."""

from __future__ import annotations

import pytest

from analyzer.importing.latency import percentile, usable_cores


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([float(n) for n in range(100)], 0.99, 98.0),
        ([2.0, 1.0], 0.0, 1.0),
    ],
)
def test_the_percentile_is_a_value_that_was_measured(values: list[float], share: float, expected: float) -> None:
    """No interpolation: the smallest value that enough of the others do not exceed."""
    assert percentile(values, share) == expected


def test_there_is_at_least_one_core() -> None:
    """Whatever the system tells."""
    assert usable_cores() >= 1
