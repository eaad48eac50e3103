"""A breaker opens on lasting failure, probes with real calls, at most one a second, and believes only fresh news."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router.breaker import Breaker, BreakerSettings, Permit, State
from router.fakes import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """Returns a clock that stands still."""
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    """Returns a closed breaker."""
    return Breaker("b", clock=clock)


def admitted(breaker: Breaker) -> Permit:
    """Returns a permit, which there has to be."""
    permit = breaker.admit()
    assert permit is not None
    return permit


def fail_for_a_second(breaker: Breaker, clock: ManualClock) -> None:
    """Fails ten calls, one every 0.1 s."""
    for _ in range(10):
        permit = breaker.admit()
        clock.advance(0.1)
        if permit is not None:
            breaker.failed(permit)


def test_it_opens_after_failures_in_a_row_that_last(breaker: Breaker, clock: ManualClock) -> None:
    """Opens within a second when every call fails."""
    fail_for_a_second(breaker, clock)
    assert breaker.state is State.OPEN
    assert breaker.admit() is None


def test_a_burst_of_failures_at_one_moment_does_not_open_it(breaker: Breaker) -> None:
    """A hundred calls that were cut by one event are one event."""
    for permit in [admitted(breaker) for _ in range(100)]:
        breaker.failed(permit)
    assert breaker.state is State.CLOSED


def test_a_success_in_between_keeps_it_closed(breaker: Breaker, clock: ManualClock) -> None:
    """One replica in three being dead does not close the other two."""
    for number in range(60):
        permit = admitted(breaker)
        clock.advance(0.05)
        (breaker.succeeded if number % 3 == 0 else breaker.failed)(permit)
    assert breaker.state is State.CLOSED


def test_open_it_lets_one_probe_a_second_through(breaker: Breaker, clock: ManualClock) -> None:
    """The probe is a real call; the rest is kept away."""
    fail_for_a_second(breaker, clock)
    probes = 0
    for _ in range(100):
        clock.advance(0.1)
        permit = breaker.admit()
        if permit is not None:
            probes += 1
            breaker.failed(permit)
    assert 9 <= probes <= 10


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: ManualClock) -> None:
    """All calls pass at once again."""
    fail_for_a_second(breaker, clock)
    clock.advance(1.0)
    permit = admitted(breaker)
    assert breaker.state is State.HALF_OPEN
    breaker.succeeded(permit)
    assert breaker.state is State.CLOSED
    assert all(breaker.admit() for _ in range(10))


def test_a_probe_that_begins_to_answer_closes_it_on_probation(breaker: Breaker, clock: ManualClock) -> None:
    """A long stream need not end before others may pass, but one failure opens the breaker again."""
    fail_for_a_second(breaker, clock)
    clock.advance(1.0)
    permit = breaker.alive(admitted(breaker))
    assert breaker.state is State.CLOSED
    breaker.failed(permit)
    assert breaker.state is State.OPEN


def test_a_probe_that_never_ends_locks_nothing(breaker: Breaker, clock: ManualClock) -> None:
    """The next second has a probe of its own."""
    fail_for_a_second(breaker, clock)
    clock.advance(1.0)
    admitted(breaker)
    assert breaker.admit() is None
    clock.advance(1.0)
    admitted(breaker)


def test_old_news_changes_nothing(breaker: Breaker, clock: ManualClock) -> None:
    """A call let in before the breaker opened does not close it when it ends well long after."""
    old = admitted(breaker)
    fail_for_a_second(breaker, clock)
    breaker.succeeded(old)
    assert breaker.state is State.OPEN


def test_asked_to_wait_it_waits_and_counts_no_failure(breaker: Breaker, clock: ManualClock) -> None:
    """429 is no fault; Retry-After is kept, within bounds."""
    breaker.told_to_wait(admitted(breaker), 7.0)
    clock.advance(6.9)
    assert not breaker.admits()
    clock.advance(0.2)
    assert breaker.admits()
    breaker.told_to_wait(admitted(breaker), 1e9)
    clock.advance(60.1)
    assert breaker.admits()


def test_without_retry_after_it_waits_a_second(breaker: Breaker, clock: ManualClock) -> None:
    """Being told nothing is not being told to come at once."""
    breaker.told_to_wait(admitted(breaker))
    assert not breaker.admits()
    clock.advance(1.0)
    assert breaker.admits()


def test_its_repr_shows_its_state(breaker: Breaker, clock: ManualClock) -> None:
    """Whoever debugs reads it."""
    assert repr(breaker) == "<Breaker b, closed, 0 failures in a row>"
    fail_for_a_second(breaker, clock)
    assert "open" in repr(breaker)
    assert "next probe in" in repr(breaker)


class BreakerMachine(RuleBasedStateMachine):
    """Any mix of calls, ends and time: the promises hold."""

    permits: list[Permit]

    @initialize()
    def begin(self) -> None:
        """Makes a breaker."""
        self.clock = ManualClock()
        self.breaker = Breaker("b", BreakerSettings(), self.clock)
        self.permits = []
        self.last_probe = float("-inf")

    @rule(seconds=st.floats(0.0, 3.0))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @rule()
    def call(self) -> None:
        """A call is let in exactly when the breaker says it would be; probes keep their distance."""
        would, open_before = self.breaker.admits(), self.breaker.state is not State.CLOSED
        permit = self.breaker.admit()
        assert (permit is not None) is would
        if permit is None:
            return
        if open_before:
            assert self.clock.now - self.last_probe >= 1.0 - 1e-9
            self.last_probe = self.clock.now
        self.permits.append(permit)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "failed", "left", "told_to_wait", "alive"]))
    def end(self, data: st.DataObject, end: str) -> None:
        """Some call ends in some way."""
        permit = self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))
        getattr(self.breaker, end)(permit)

    @invariant()
    def never_shut_for_good(self) -> None:
        """After the longest cool-down and a probe interval it lets a call through, whatever happened."""
        if not hasattr(self, "breaker"):
            return
        before = self.clock.now
        self.clock.advance(61.0)
        assert self.breaker.admits()
        self.clock.now = before


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=60, deadline=None)
