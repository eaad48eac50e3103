"""At three times its capacity an analyzer still answers nearly as many prompts in time as it could at best.

A simulation in virtual time: the real backlog, the real estimate, an engine that is two numbers and some noise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from analyzer.backlog import Backlog, BacklogSettings
from analyzer.estimating import PassTime
from analyzer.jobs import Job, Wish, padded_tokens
from servicekit.deadline import Deadline
from servicekit.errors import ResourceExhausted
from tests.support.fake_model import FakeScorer

BASE, TOKEN = 0.006, 0.00011  # seconds of a pass, and a token: the default model on two cores
DEADLINE, TRANSIT = 0.1, 0.002
SECONDS = 20.0


class Pending:
    """A future that nobody awaits."""

    def done(self) -> bool:
        """Never."""
        return False


@dataclass
class Clock:
    """Virtual time."""

    now: float = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass
class Engine:
    """A simulated replica under Poisson arrivals."""

    rate: float
    noise: float
    lengths: range
    clock: Clock = field(default_factory=Clock)
    answered: int = 0
    late: int = 0
    refused: int = 0
    refused_slowly: int = 0

    def __post_init__(self) -> None:
        """Teaches the estimate as a warm-up does."""
        self.random, self.scorer, self.pass_time = random.Random(3), FakeScorer(), PassTime()
        for tokens in (16, 64, 128, 256) * 5:
            self.pass_time.observe(tokens, BASE + TOKEN * tokens)
        self.backlog = Backlog(BacklogSettings(), self.pass_time, self.clock)

    @property
    def capacity(self) -> float:
        """Prompts a second in the fullest batches, nothing padded, nobody in a hurry."""
        return 512 / (BASE + TOKEN * 512) / (sum(self.lengths) / len(self.lengths))

    def run(self) -> Engine:
        """Lets the arrivals come and the passes end, in their order."""
        ends, batch = float("inf"), ()
        for arrival in [*self._arrivals(), float("inf")]:
            while ends <= arrival and ends < float("inf"):
                self.clock.now = ends
                self._settle(batch)
                ends, batch = self._next()
            if arrival < float("inf"):
                self.clock.now = arrival
                self._admit()
                if not batch:
                    ends, batch = self._next()
        return self

    def _arrivals(self) -> Iterator[float]:
        at = self.clock.now
        while at < 100.0 + SECONDS:
            at += self.random.expovariate(self.rate)
            yield at

    def _admit(self) -> None:
        deadline = Deadline(self.clock.now + DEADLINE - TRANSIT, self.clock)
        wish = Wish([1] * self.random.choice(self.lengths), self.scorer, deadline)
        pending: Any = Pending()
        try:
            self.backlog.admit(Job(wish, self.clock.now, pending))
        except ResourceExhausted:
            self.refused += 1

    def _next(self) -> tuple[float, tuple[Job, ...]]:
        formed = self.backlog.form()
        self.refused += len(formed.late)
        self.refused_slowly += sum(self.clock.now - job.enqueued_at > 0.01 for job in formed.late)
        if not formed.batch:
            return float("inf"), ()
        self.began = self.clock.now
        seconds = (BASE + TOKEN * padded_tokens(formed.batch)) * self.random.lognormvariate(0.0, self.noise)
        return self.clock.now + seconds, formed.batch

    def _settle(self, batch: tuple[Job, ...]) -> None:
        self.pass_time.observe(padded_tokens(batch), self.clock.now - self.began)
        self.backlog.done()
        in_time = sum(not job.deadline.expired() for job in batch)
        self.answered += in_time
        self.late += len(batch) - in_time


@pytest.mark.parametrize(
    ("lengths", "noise", "least"),
    [
        (range(64, 65), 0.05, 0.92),
        (range(64, 65), 0.25, 0.85),
        (range(30, 101), 0.05, 0.85),
        (range(30, 101), 0.25, 0.8),
    ],
)
def test_goodput_at_three_times_the_capacity(lengths: range, noise: float, least: float) -> None:
    """And who is refused is mostly refused at the door."""
    engine = Engine(375.0, noise, lengths).run()
    assert engine.answered / SECONDS >= least * engine.capacity
    assert engine.late <= 0.04 * engine.answered
    assert engine.refused_slowly <= 0.05 * engine.refused


@pytest.mark.parametrize("noise", [0.05, 0.25])
def test_nobody_is_refused_at_a_quarter_of_the_capacity(noise: float) -> None:
    """Bursts are what a queue is for."""
    engine = Engine(30.0, noise, range(20, 129)).run()
    assert engine.refused + engine.late <= 0.01 * engine.answered, engine
