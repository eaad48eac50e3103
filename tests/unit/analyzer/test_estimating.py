"""The estimate of a pass follows the machine, and no single pass throws it off."""

import pytest

from analyzer.estimating import PassTime


def test_it_learns_a_line_over_the_tokens() -> None:
    """What a pass costs at all, and what a token adds."""
    pass_time = PassTime()
    for tokens in (16, 64, 128, 512) * 20:
        pass_time.observe(tokens, 0.004 + 0.0001 * tokens)
    assert pass_time.seconds(256) == pytest.approx(0.004 + 0.0256, rel=0.02)


def test_passes_of_one_length_scale_the_known_slope() -> None:
    """A line through one point needs a guess."""
    pass_time = PassTime()
    for _ in range(50):
        pass_time.observe(64, 0.1)
    assert pass_time.seconds(64) == pytest.approx(0.1, rel=0.05)
    assert pass_time.seconds(16) < 0.1 < pass_time.seconds(128)


def test_a_frozen_moment_does_not_make_the_engine_slow() -> None:
    """A process that was stopped for a minute is no slower after it."""
    pass_time = PassTime()
    for _ in range(50):
        pass_time.observe(64, 0.012)
    pass_time.observe(64, 60.0)
    assert pass_time.seconds(64) < 0.03


def test_a_backlog_is_full_batches_and_a_rest() -> None:
    """Never less than one pass when anything waits."""
    pass_time = PassTime(base_seconds=0.01, token_seconds=0.0001)
    assert pass_time.backlog_seconds(0, 512) == 0.0
    assert pass_time.backlog_seconds(1024 + 100, 512) == pytest.approx(2 * 0.0612 + 0.02)
