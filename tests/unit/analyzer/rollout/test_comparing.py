"""A canary passes only when enough was seen, and fails as soon as there is a reason to."""

from __future__ import annotations

import math

import pytest

from analyzer.rollout.comparing import Comparison, Counts, Limits, Outcome, judge, total

LIMITS = Limits(prompts_min=100, step_seconds=60, patience_seconds=600)


def counts(answered: float = 1000, failed: float = 0, seconds: float = 0.05) -> Counts:
    """A replica whose calls all took between half of `seconds` and `seconds`."""
    return Counts(answered, failed, 0, {seconds / 2: 0, seconds: answered, math.inf: answered})


def seen(
    canary: Counts, *, compared: int = 1000, agreement: float = 0.99, restarts: int = 0, elapsed: float = 61
) -> Comparison:
    """A comparison with a usual stable side."""
    return Comparison(canary, counts(), compared, agreement, restarts, elapsed)


def test_a_canary_that_does_as_well_passes_after_its_time() -> None:
    """And not before."""
    assert judge(seen(counts()), LIMITS).outcome is Outcome.PASS
    assert judge(seen(counts(), elapsed=59), LIMITS).outcome is Outcome.WAIT


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (seen(counts(failed=20), elapsed=1), "lost 1.96%"),
        (seen(counts(seconds=0.2), elapsed=1), "p99 is 199 ms"),
        (seen(counts(), agreement=0.89, elapsed=1), "agree on 89.0%"),
        (seen(counts(), restarts=2, elapsed=1), "restarted 2 times"),
    ],
)
def test_a_fault_fails_at_once(comparison: Comparison, reason: str) -> None:
    """No need to wait for the step's end."""
    verdict = judge(comparison, LIMITS)
    assert verdict.outcome is Outcome.FAIL
    assert reason in verdict.reason


def test_few_prompts_say_nothing() -> None:
    """One failure in ten is no 10 %; but nothing seen for long is a failure, too."""
    few = Counts(9, 1, 0, {math.inf: 9})
    assert judge(seen(few, compared=5, agreement=0.2), LIMITS).outcome is Outcome.WAIT
    assert judge(seen(counts(), compared=5), LIMITS).outcome is Outcome.WAIT
    assert judge(seen(few, compared=5, elapsed=601), LIMITS).outcome is Outcome.FAIL


def test_slow_is_slower_than_the_others_and_than_the_limit() -> None:
    """A fleet that is slow as a whole is not the canary's fault; a fast one may get a little slower."""
    slow_fleet = Comparison(counts(seconds=0.15), counts(seconds=0.15), 1000, 1.0, 0, 61)
    assert judge(slow_fleet, LIMITS).outcome is Outcome.PASS
    fast_fleet = Comparison(counts(seconds=0.08), counts(seconds=0.02), 1000, 1.0, 0, 61)
    assert judge(fast_fleet, LIMITS).outcome is Outcome.PASS


def test_counts_since_a_moment_survive_a_restart() -> None:
    """What a replica has counted since it started anew counts whole."""
    assert counts(1000).since(counts(400)).answered == 600
    assert counts(1000).since(counts(400)).seconds[math.inf] == 600
    assert counts(300).since(counts(400)).answered == 300


def test_p99_lies_within_its_bucket() -> None:
    """99 of 100 calls under 10 ms, one of 20 ms: the bound itself; a second slow one moves it up."""
    assert Counts(seconds={0.01: 99, 0.02: 100, math.inf: 100}).p99_seconds == pytest.approx(0.01)
    assert Counts(seconds={0.01: 98, 0.02: 100, math.inf: 100}).p99_seconds == pytest.approx(0.015)
    assert Counts(seconds={0.01: 0, 0.02: 0, math.inf: 100}).p99_seconds == 0.02
    assert Counts().p99_seconds == 0


def test_replicas_add_up() -> None:
    """Counts and buckets."""
    both = total([counts(100), counts(300, failed=4)])
    assert (both.answered, both.failed, both.seconds[math.inf]) == (400, 4, 400)
    assert total([]).p99_seconds == 0
