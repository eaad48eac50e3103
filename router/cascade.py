"""The analysis cascade: self-hosted analyzer, then cloud tiny model, then nothing. One attempt a rung, no back-off."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from router.analysis import Analysis, Rung, RungFailed, SkippedRung, SkipReason
from router.breaker import Breaker, Permit
from router.observer import Fault, Observer, RungFinished, Stage, notify, staged
from router.ports import AnalysisRung
from router.pricing import total_micros
from router.request import RouteRequest
from servicekit.deadline import Clock, Deadline

SAYS_NOTHING = frozenset({SkipReason.NO_TIME, SkipReason.DISABLED, SkipReason.BUDGET, SkipReason.FORBIDDEN_BY_CALLER})
"""What a rung may say that tells nothing of the health of the other side."""

ALIVE = frozenset({SkipReason.OVERLOADED, SkipReason.UNDECIDED})
"""What a rung of many replicas may say and be well: one of them is busy, or can make nothing of this prompt."""

FULL_TIME = 0.95
"""A rung that was given this share of its time can be blamed for being late."""

TOLD_TIME = 0.98
"""The share of its time that a rung is told of: it can then end by itself, and say what the attempt cost."""


@dataclass(frozen=True)
class RungLimits:
    """How much of the time a rung may take, and the least with which it is tried at all.

    A rung that `is_many` has replicas: what one of them refuses another may take, so a refusal keeps nobody else away.
    A prompt of a batch gets `bulk_seconds` at most, where the rung has a way of its own for such.
    """

    share_of_rest: float
    at_most_seconds: float
    at_least_seconds: float = 0.005
    costs_money: bool = False
    leaves_the_house: bool = False
    is_many: bool = False
    bulk_seconds: float | None = None

    def longest(self, request: RouteRequest) -> float:
        """Returns the most seconds this request may take."""
        return self.bulk_seconds if request.bulk and self.bulk_seconds is not None else self.at_most_seconds


SELF_HOSTED_LIMITS = RungLimits(share_of_rest=0.2, at_most_seconds=0.1, is_many=True, bulk_seconds=10.0)
CLOUD_TINY_LIMITS = RungLimits(
    share_of_rest=0.2, at_most_seconds=1.0, at_least_seconds=0.05, costs_money=True, leaves_the_house=True
)


@dataclass(frozen=True)
class Step:
    """A rung with its limits and its breaker."""

    rung: AnalysisRung
    breaker: Breaker
    limits: RungLimits
    enabled: bool = True


@dataclass(frozen=True)
class Finding:
    """What the cascade brings home: an analysis, or none; why rungs said nothing; what all of them cost."""

    analysis: Analysis | None = None
    skipped: tuple[SkippedRung, ...] = ()
    cost_micros: int | None = 0


@dataclass(frozen=True)
class Cascade:
    """Asks one rung after the other, within `share_of_deadline`. A rung that is not in `steps` is disabled."""

    steps: Mapping[Rung, Step]
    share_of_deadline: float = 0.35
    observer: Observer = field(default_factory=Observer)
    clock: Clock = time.monotonic

    async def analyze(self, request: RouteRequest, deadline: Deadline, *, may_pay: bool = True) -> Finding:
        """Returns what was found before the cascade's share of the deadline; `may_pay` allows rungs that cost money.

        Nothing a rung does wrong gets out of here; only cancellation does.
        """
        with staged(self.observer, Stage.ANALYSIS, request):
            return await self._climb_down(request, deadline, may_pay=may_pay)

    async def _climb_down(self, request: RouteRequest, deadline: Deadline, *, may_pay: bool) -> Finding:
        limit = deadline.share(self.share_of_deadline)
        skipped: list[SkippedRung] = []
        costs: list[int | None] = []
        for name in Rung:
            step = self.steps.get(name)
            until = limit if step is None else _until(step.limits.longest(request), step, deadline, limit)
            started = self.clock()
            result = await self._ask(step, request, until, may_pay=may_pay)
            reason = None if isinstance(result, Analysis) else result.reason
            duration = self.clock() - started
            notify(
                self.observer.rung_finished,
                RungFinished(request.request_id, name, reason, duration, deadline.remaining()),
            )
            costs.append(result.cost_micros)
            if isinstance(result, Analysis):
                return Finding(result, tuple(skipped), total_micros(*costs))
            skipped.append(SkippedRung(name, result.reason))
        return Finding(None, tuple(skipped), total_micros(*costs))

    async def _ask(
        self, step: Step | None, request: RouteRequest, until: Deadline, *, may_pay: bool
    ) -> Analysis | RungFailed:
        """Returns the rung's answer, or why there is none."""
        if step is None or not step.enabled:
            return RungFailed(SkipReason.DISABLED)
        if (reason := _forbidden(step.limits, request, may_pay=may_pay)) is not None:
            return RungFailed(reason)
        if until.remaining() < step.limits.at_least_seconds:
            return RungFailed(SkipReason.NO_TIME)
        permit = step.breaker.admit()
        if permit is None:
            return RungFailed(SkipReason.BREAKER_OPEN)
        given = until.remaining()
        try:
            result = await self._try(step.rung, request, until)
        except BaseException:
            step.breaker.left(permit)
            raise
        _tell(step, permit, result, given)
        return result

    async def _try(self, rung: AnalysisRung, request: RouteRequest, until: Deadline) -> Analysis | RungFailed:
        """Returns what a single attempt brings, whatever the rung raises."""
        try:
            async with asyncio.timeout(until.remaining()):
                analysis = await rung.analyze(request, until.share(TOLD_TIME))
            return analysis if _makes_sense(analysis) else RungFailed(SkipReason.UNDECIDED)
        except RungFailed as failure:
            return failure
        except TimeoutError:
            return RungFailed(SkipReason.TIMEOUT)
        except Exception as error:  # noqa: BLE001 - a bug in a rung costs an analysis, not an answer
            notify(self.observer.fault, Fault(f"rung {rung.name.value}", error))
            return RungFailed(SkipReason.UNAVAILABLE)


def _until(at_most_seconds: float, step: Step, deadline: Deadline, limit: Deadline) -> Deadline:
    own = deadline.share(step.limits.share_of_rest, at_most=at_most_seconds)
    return min(own, limit, key=lambda candidate: candidate.at)


def _forbidden(limits: RungLimits, request: RouteRequest, *, may_pay: bool) -> SkipReason | None:
    if limits.leaves_the_house and request.constraints.forbid_cloud_analysis:
        return SkipReason.FORBIDDEN_BY_CALLER
    if limits.costs_money and not may_pay:
        return SkipReason.BUDGET
    return None


def _tell(step: Step, permit: Permit, result: Analysis | RungFailed, given_seconds: float) -> None:
    """Tells the breaker of the other side's health."""
    breaker = step.breaker
    if isinstance(result, Analysis) or (step.limits.is_many and result.reason in ALIVE):
        breaker.succeeded(permit)
    elif result.reason is SkipReason.OVERLOADED:
        breaker.told_to_wait(permit, result.retry_after_seconds)
    elif result.reason in SAYS_NOTHING or _hurried(result, step.limits, given_seconds):
        breaker.left(permit)
    else:
        breaker.failed(permit)


def _hurried(failure: RungFailed, limits: RungLimits, given_seconds: float) -> bool:
    """Whether a rung had less than its full time: it is not late then, and callers in a hurry open no breaker."""
    return failure.reason is SkipReason.TIMEOUT and given_seconds < limits.at_most_seconds * FULL_TIME


def _makes_sense(analysis: Analysis) -> bool:
    """Whether the numbers are probabilities that never decrease; a comparison with NaN is never true."""
    weak, middle, strong = analysis.success
    return 0.0 <= weak <= middle <= strong <= 1.0 and 0.0 <= analysis.confidence <= 1.0
