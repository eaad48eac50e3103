"""The cascade asks each rung once, in time, and nothing a rung does gets out of it."""

import asyncio
import math

import pytest

from router.analysis import Analysis, Rung, RungFailed, SkipReason
from router.breaker import State
from router.cascade import Finding
from router.fakes import FakeRung, Hang, Pause, a_request, an_analysis
from router.observer import Fault, RungFinished
from router.request import Constraints, RouteRequest
from tests.support.router_kit import Kit, seconds
from tests.support.virtual_time import clock, run

SELF, CLOUD = Rung.SELF_HOSTED, Rung.CLOUD_TINY


def kit(self_hosted: object = None, cloud: object = None) -> Kit:
    """Returns a kit with these rungs; none where None."""
    scripts = {SELF: self_hosted, CLOUD: cloud}
    return Kit(rungs={name: FakeRung([script], name=name) for name, script in scripts.items() if script is not None})


def analyze(kit: Kit, left: float = 60.0, request: RouteRequest | None = None, *, may_pay: bool = True) -> Finding:
    """Returns what a cascade finds with so much time left."""

    async def main() -> Finding:
        return await kit.cascade().analyze(request or a_request(), seconds(left), may_pay=may_pay)

    return run(main())


def skipped(finding: Finding) -> list[tuple[Rung, SkipReason]]:
    """Returns the skipped rungs as pairs."""
    return [(skip.rung, skip.reason) for skip in finding.skipped]


def test_the_first_rung_that_answers_ends_it() -> None:
    """The cloud is not asked."""
    both = kit(an_analysis(), an_analysis())
    finding = analyze(both)
    assert finding == Finding(an_analysis(), (), 0)
    assert both.rungs[CLOUD].deadlines == []


@pytest.mark.parametrize(
    ("left", "self_hosted", "cloud"),
    [(60.0, 0.1, 1.0), (0.4, 0.08, 0.06), (2.0, 0.1, 0.38)],
)
def test_each_rung_has_its_share_of_what_is_left(left: float, self_hosted: float, cloud: float) -> None:
    """The least of its own limit, 20 % of what is left, and what 35 % of the deadline leaves.

    It is told of a little less, so that one that keeps its deadline ends by itself.
    """
    hanging = kit(Hang(), Hang())
    finding = analyze(hanging, left)
    assert skipped(finding) == [(SELF, SkipReason.TIMEOUT), (CLOUD, SkipReason.TIMEOUT)]
    assert hanging.rungs[SELF].deadlines == [pytest.approx(0.98 * self_hosted)]
    assert hanging.rungs[CLOUD].deadlines == [pytest.approx(0.98 * cloud)]


def test_it_never_takes_more_than_its_share_of_the_deadline() -> None:
    """Whatever hangs, 65 % of the time is left for the answer."""

    async def main(left: float) -> float:
        await kit(Hang(), Hang()).cascade().analyze(a_request(), seconds(left))
        return clock()

    for left in (0.001, 0.05, 0.3, 1.0, 5.0, 3600.0):
        assert run(main(left)) <= 0.35 * left + 1e-9


def test_without_time_a_rung_is_not_even_asked() -> None:
    """A deadline of a few milliseconds pays for nothing."""
    one = kit(an_analysis(), an_analysis())
    assert skipped(analyze(one, 0.02)) == [(SELF, SkipReason.NO_TIME), (CLOUD, SkipReason.NO_TIME)]
    assert one.rungs[SELF].deadlines == []


def test_a_missing_rung_is_disabled() -> None:
    """Nobody has to tell that nothing is configured."""
    assert skipped(analyze(kit())) == [(SELF, SkipReason.DISABLED), (CLOUD, SkipReason.DISABLED)]


def test_the_caller_can_forbid_the_cloud_and_the_budget_too() -> None:
    """Each with its own reason."""
    request = a_request(constraints=Constraints(forbid_cloud_analysis=True))
    down = RungFailed(SkipReason.UNAVAILABLE)
    assert skipped(analyze(kit(down, an_analysis()), request=request))[1] == (CLOUD, SkipReason.FORBIDDEN_BY_CALLER)
    assert skipped(analyze(kit(down, an_analysis()), may_pay=False))[1] == (CLOUD, SkipReason.BUDGET)


@pytest.mark.parametrize(
    "nonsense",
    [
        an_analysis(0.9, 0.5, 0.6),
        an_analysis(math.nan, math.nan, math.nan),
        an_analysis(0.5, 0.6, 1.2),
        an_analysis(0.1, 0.2, 0.3, confidence=math.nan),
        an_analysis(0.1, math.nan, 0.3),
    ],
)
def test_an_analysis_that_makes_no_sense_is_none(nonsense: Analysis) -> None:
    """Probabilities are probabilities, and never decrease."""
    assert skipped(analyze(kit(nonsense)))[0] == (SELF, SkipReason.UNDECIDED)


@pytest.mark.parametrize("bug", [ValueError("x"), KeyError(), RecursionError(), ExceptionGroup("g", [OSError()])])
def test_a_bug_in_a_rung_costs_an_analysis_and_is_told(bug: Exception) -> None:
    """The request goes on to the next rung."""
    buggy = kit(bug, an_analysis())
    finding = analyze(buggy)
    assert finding.analysis == an_analysis()
    assert skipped(finding) == [(SELF, SkipReason.UNAVAILABLE)]
    assert [fault.error for fault in buggy.observer.of(Fault)] == [bug]


def test_cancellation_passes_through_and_ends_the_rung() -> None:
    """The caller went away; nothing is left behind."""
    hanging = kit(Hang())

    async def main() -> None:
        task = asyncio.create_task(hanging.cascade().analyze(a_request(), seconds(60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert hanging.breakers[SELF].state is State.CLOSED


def test_a_cancelled_probe_leaves_the_breaker_open() -> None:
    """It has found nothing out."""
    hanging = kit(RungFailed(SkipReason.UNAVAILABLE))

    async def main() -> None:
        cascade = hanging.cascade()
        for _ in range(10):
            await cascade.analyze(a_request(), seconds(60))
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
        hanging.rungs[SELF].script = [Hang()]
        probe = asyncio.create_task(cascade.analyze(a_request(), seconds(60)))
        await asyncio.sleep(0.01)
        assert hanging.breakers[SELF].state is State.HALF_OPEN
        probe.cancel()
        await asyncio.wait({probe})

    run(main())
    assert hanging.breakers[SELF].state is State.OPEN


def test_what_failed_rungs_cost_is_added_up() -> None:
    """A cloud model that was undecided has to be paid all the same; an unknown price makes the sum unknown."""
    undecided = RungFailed(SkipReason.UNDECIDED, cost_micros=7)
    assert analyze(kit(None, undecided)).cost_micros == 7
    assert analyze(kit(None, RungFailed(SkipReason.UNDECIDED, cost_micros=None))).cost_micros is None
    assert analyze(kit(None, an_analysis(cost_micros=5))).cost_micros == 5


def ask(kit: Kit, times: int, left: float = 60.0) -> list[list[tuple[Rung, SkipReason]]]:
    """Returns why rungs were skipped, call after call, 0.1 s apart."""

    async def main() -> list[list[tuple[Rung, SkipReason]]]:
        cascade, found = kit.cascade(), []
        for _ in range(times):
            found.append(skipped(await cascade.analyze(a_request(), seconds(left))))
            await asyncio.sleep(0.1)
        return found

    return run(main())


def test_a_dead_rung_is_left_alone_within_a_second() -> None:
    """Then it costs no time, but for one probe a second."""
    found = ask(kit(RungFailed(SkipReason.UNAVAILABLE)), 40)
    asked = [number for number, reasons in enumerate(found) if reasons[0] == (SELF, SkipReason.UNAVAILABLE)]
    assert asked[:6] == [0, 1, 2, 3, 4, 5]
    assert 2 <= len(asked[6:]) <= 4


def test_callers_in_a_hurry_open_no_breaker() -> None:
    """Being given 20 ms and not making it is no failure of the rung."""
    hanging = kit(Hang())
    ask(hanging, 30, left=0.1)
    assert hanging.breakers[SELF].state is State.CLOSED


def test_a_cloud_that_is_rate_limited_is_left_alone_as_long_as_it_asks() -> None:
    """Retry-After, not a failure."""
    found = ask(kit(None, RungFailed(SkipReason.OVERLOADED, retry_after_seconds=2.0)), 25)
    reasons = [reasons[1][1] for reasons in found]
    assert reasons[0] is SkipReason.OVERLOADED
    assert reasons[1:20] == [SkipReason.BREAKER_OPEN] * 19
    assert SkipReason.OVERLOADED in reasons[20:]


def test_a_busy_analyzer_keeps_nobody_else_away() -> None:
    """It is one of many: the next request may find another one."""
    found = ask(kit(RungFailed(SkipReason.OVERLOADED, retry_after_seconds=2.0)), 20)
    assert {reasons[0][1] for reasons in found} == {SkipReason.OVERLOADED}


def test_prompts_that_analyzers_can_make_nothing_of_open_no_breaker() -> None:
    """One tenant's nonsense is not another's outage; a cloud model that never decides is a waste of money."""
    both = kit(RungFailed(SkipReason.UNDECIDED), RungFailed(SkipReason.UNDECIDED))
    ask(both, 20)
    assert both.breakers[SELF].state is State.CLOSED
    assert both.breakers[CLOUD].state is not State.CLOSED


def test_every_rung_is_told_to_the_observer_with_its_time() -> None:
    """What debugging latency begins with."""
    told = kit(Pause(0.05))
    analyze(told)
    (fact,) = told.observer.of(RungFinished)
    assert (fact.rung, fact.reason, fact.duration) == (SELF, None, pytest.approx(0.05))
