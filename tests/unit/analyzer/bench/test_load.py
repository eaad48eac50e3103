"""The load generators and what they report."""

import asyncio

import pytest

from analyzer.bench.load import Outcome, Reply, Sample, closed_loop, open_loop, poisson_arrivals
from analyzer.bench.summary import percentiles, summarise


class StepClock:
    """A clock that moves by a fixed step each time it is read."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        """Reads and moves the clock."""
        self.now += self.step
        return self.now


def test_poisson_arrivals_come_at_the_rate_asked_for_and_in_order() -> None:
    """Over a long run the count is near rate x time, and times never go back."""
    arrivals = list(poisson_arrivals(rate=50, seconds=200, seed=1))
    assert arrivals == sorted(arrivals)
    assert len(arrivals) == pytest.approx(10_000, rel=0.05)


async def test_open_loop_counts_the_time_a_call_was_held_up_before_it_was_sent() -> None:
    """A call that was due while the generator was stuck is charged from when it was due."""
    clock = StepClock(0.0)

    async def stall(index: int) -> Reply:
        if index == 0:
            clock.now += 2.0
        await asyncio.sleep(0)
        return Reply(Outcome.ANSWERED)

    samples = await open_loop(stall, iter([0.0, 0.0, 0.0]), clock)
    assert [sample.latency for sample in samples] == [2.0, 2.0, 2.0]


async def test_closed_loop_never_has_more_calls_open_than_workers() -> None:
    """The number of calls in flight is the number of workers."""
    open_calls, most = 0, 0

    async def call(_: int) -> Reply:
        nonlocal open_calls, most
        open_calls += 1
        most = max(most, open_calls)
        await asyncio.sleep(0)
        open_calls -= 1
        return Reply(Outcome.ANSWERED)

    samples = await closed_loop(call, workers=3, seconds=1.0, clock=StepClock(0.02))
    assert most == 3
    assert len(samples) > 3


def test_goodput_counts_only_answers_within_the_deadline() -> None:
    """Refused, late and failed calls are no goodput; they are counted by name."""
    samples = [
        Sample(0, 0.010, Reply(Outcome.ANSWERED, batch_size=2)),
        Sample(0, 0.500, Reply(Outcome.ANSWERED, batch_size=4)),
        Sample(0, 0.001, Reply(Outcome.REFUSED)),
        Sample(0, 0.100, Reply(Outcome.FAILED)),
    ]
    summary = summarise(samples, seconds=2.0, deadline_ms=100)
    assert summary.goodput == 0.5
    assert summary.throughput == 1.0
    assert summary.mean_batch_size == 3.0
    assert summary.outcomes == {"answered": 2, "refused": 1, "failed": 1}
    assert summary.share(Outcome.REFUSED) == 0.25
    assert summary.refusal_ms["p99"] == pytest.approx(1.0, rel=0.01)


def test_percentiles_are_those_of_the_latencies() -> None:
    """Three significant digits over a known spread."""
    found = percentiles(index / 1000 for index in range(1, 1001))
    assert found["p50"] == pytest.approx(500, rel=0.01)
    assert found["p99"] == pytest.approx(990, rel=0.01)
    assert found["max"] == pytest.approx(1000, rel=0.01)
    assert percentiles([]) == {}
