"""The door: the least critical are turned away first, and the limit on analyses follows what the analyzers take."""

import asyncio
from contextlib import ExitStack

import pytest

from router.adaptive_limit import AdaptiveLimit, AdaptiveLimitSettings
from router.admission import Admission, AdmissionLimits
from router.analysis import Analysis, Rung, RungFailed, SkipReason
from router.fakes import FakeRung, ManualClock, Pause, RecordingObserver, a_request, an_analysis
from router.observer import Refused
from router.request import Criticality
from servicekit.errors import ResourceExhausted
from tests.support.router_kit import Kit, seconds
from tests.support.virtual_time import run

SERVED = an_analysis()
REFUSED = RungFailed(SkipReason.OVERLOADED)
LATE = RungFailed(SkipReason.TIMEOUT)
DEAD = RungFailed(SkipReason.UNAVAILABLE)


class Door:
    """An admission on a clock that stands still."""

    def __init__(self, concurrent: int = 1000, initial: float = 10.0) -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.limit = AdaptiveLimit(AdaptiveLimitSettings(initial=initial), self.clock)
        self.admission = Admission(
            AdmissionLimits(concurrent), self.observer, self.limit, clock=self.clock, random=lambda: 0.5
        )

    def load(
        self, found: Analysis | RungFailed | list[Analysis | RungFailed], count: int, length: float = 0.01
    ) -> None:
        """Has `count` analyses under way at once, all of which find the same (or `count` of each) after so long."""
        results = (found if isinstance(found, list) else [found]) * count
        with ExitStack() as stack:
            tells = [stack.enter_context(self.admission.analysing()) for _ in results]
            self.clock.advance(length)
            for tell, result in zip(tells, results, strict=True):
                tell(result)
        self.clock.advance(0.1)

    def refuses(self, criticality: Criticality) -> bool:
        """Whether a request of this class is turned away."""
        try:
            with self.admission.admit(a_request(criticality=criticality)):
                return False
        except ResourceExhausted:
            return True


def test_each_class_may_fill_its_share() -> None:
    """Sheddable 70 %, standard 90 %, critical all of it."""
    door = Door(concurrent=10)
    with ExitStack() as stack:
        for count in range(11):
            expected = {
                Criticality.CRITICAL: count >= 10,
                Criticality.STANDARD: count >= 9,
                Criticality.SHEDDABLE: count >= 7,
            }
            assert {each: door.refuses(each) for each in Criticality} == expected
            if count < 10:
                stack.enter_context(door.admission.admit(a_request(criticality=Criticality.CRITICAL)))
    assert not door.refuses(Criticality.SHEDDABLE)


def test_a_refusal_says_when_to_come_again_and_is_told() -> None:
    """Spread over time, so that they don't come again all at once."""
    door = Door(concurrent=0)
    with pytest.raises(ResourceExhausted) as caught, door.admission.admit(a_request()):
        pass
    assert caught.value.reason == "OVERLOADED"
    assert caught.value.retry_after_seconds == 1.0
    assert [fact.reason for fact in door.observer.of(Refused)] == ["OVERLOADED"]


def test_requests_that_wait_for_a_tier_do_not_fill_the_analyzers() -> None:
    """Only those being analysed count against their limit, and never against a critical one."""
    door = Door(initial=10)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(door.admission.admit(a_request()))
        assert not door.refuses(Criticality.SHEDDABLE)
        for _ in range(10):
            stack.enter_context(door.admission.analysing())
        assert door.refuses(Criticality.SHEDDABLE)
        assert door.refuses(Criticality.STANDARD)
        assert not door.refuses(Criticality.CRITICAL)


def test_refusals_of_the_analyzers_bring_the_limit_down_and_calm_brings_it_back() -> None:
    """Multiplicative down to a floor, additive up."""
    door = Door(initial=100.0)
    for _ in range(30):
        door.load(REFUSED, 100)
    assert door.limit.limit == 16.0
    for _ in range(30):
        door.load(SERVED, 100)
    assert door.limit.limit > 50


def test_slow_answers_bring_it_down() -> None:
    """Three times as slow as ever, and slower than 50 ms: the analyzers' queues are filling."""
    door = Door(initial=100.0)
    for length in (0.02, 0.02, 0.045, 0.045):
        door.load(SERVED, 50, length)
    assert door.limit.limit == 100.0
    for _ in range(2):
        door.load(SERVED, 50, 0.09)
    assert door.limit.limit == 40.0


def test_answers_that_never_come_in_time_bring_it_down() -> None:
    """A queue that is longer than callers wait brings neither answers nor refusals."""
    door = Door(initial=100.0)
    door.load(SERVED, 50, 0.02)
    for _ in range(2):
        door.load(LATE, 50, 0.098)
    assert door.limit.limit == 40.0


def test_a_replica_in_three_that_is_late_does_not_bring_it_down() -> None:
    """The others are as fast as ever: it is a fault, no load."""
    door = Door(initial=100.0)
    door.load(SERVED, 50, 0.02)
    for _ in range(20):
        door.load([LATE, SERVED, SERVED], 17, 0.06)
    assert door.limit.limit == 100.0


def test_little_load_is_not_what_makes_analyses_slow() -> None:
    """A machine that was busy for a moment turns nobody away after it."""
    door = Door(initial=32.0)
    door.load(SERVED, 8, 0.01)
    for _ in range(20):
        door.load(SERVED, 8, 0.3)
    assert door.limit.limit == 32.0


@pytest.mark.parametrize("found", [LATE, DEAD])
def test_dead_analyzers_are_no_overload(found: Analysis | RungFailed) -> None:
    """Nobody is refused because nobody answers."""
    door = Door(initial=50.0)
    for _ in range(20):
        door.load(found, 50)
    assert door.limit.limit == 50.0


def test_time_in_the_cloud_loads_no_analyzer() -> None:
    """With every analyzer dead all wait for the cloud at once, and nobody is turned away."""
    kit = Kit(
        rungs={
            Rung.SELF_HOSTED: FakeRung([RungFailed(SkipReason.UNAVAILABLE)]),
            Rung.CLOUD_TINY: FakeRung([Pause(0.4)], name=Rung.CLOUD_TINY),
        }
    )

    async def many() -> list[object]:
        router = kit.router()
        return await asyncio.gather(
            *(router.decide(a_request(str(number)), seconds(10)) for number in range(100)), return_exceptions=True
        )

    assert not [each for each in run(many()) if isinstance(each, BaseException)]


def test_an_idle_router_does_not_raise_its_limit() -> None:
    """It has not been tried."""
    door = Door(initial=50.0)
    for _ in range(20):
        door.load(SERVED, 8)
    assert door.limit.limit == 50.0


def test_its_repr_shows_live_state() -> None:
    """For whoever debugs."""
    door = Door()
    with door.admission.admit(a_request()), door.admission.analysing():
        assert repr(door.admission) == "<Admission 1 of 1000 in flight, 1 of 10 being analysed>"
    for _ in range(2):
        door.load(SERVED, 50)
    assert repr(door.limit) == "<AdaptiveLimit 12, best median 10 ms>"
