"""Turns requests away at the door while there is too much to do, the least critical first. Never waits."""

import random as randomness
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from router.adaptive_limit import AdaptiveLimit
from router.analysis import Analysis, Rung, RungFailed, SkipReason
from router.observer import Observer, Refused, notify
from router.ports import AnalysisRung, Random
from router.request import Criticality, RouteRequest
from servicekit.deadline import Clock, Deadline
from servicekit.errors import ResourceExhausted

SHARES: Mapping[Criticality, float] = {Criticality.CRITICAL: 1.0, Criticality.STANDARD: 0.9, Criticality.SHEDDABLE: 0.7}


@dataclass(frozen=True)
class AdmissionLimits:
    """How many requests are served at once, and which share of that each class may fill."""

    concurrent: int = 256
    shares: Mapping[Criticality, float] = field(default_factory=lambda: SHARES)
    retry_after_seconds: float = 1.0


class Admission:
    """Counts requests in flight, and those of them that the analyzers have in hand.

    There are two bounds: a fixed one on all, and one on those being analysed that follows what the analyzers can take.
    The second never turns a CRITICAL request away: what the analyzers refuse falls back, and is answered all the same.
    """

    def __init__(
        self,
        limits: AdmissionLimits,
        observer: Observer,
        analysing: AdaptiveLimit | None = None,
        *,
        clock: Clock = time.monotonic,
        random: Random = randomness.random,
    ) -> None:
        self._limits = limits
        self._analysing_limit = analysing or AdaptiveLimit(clock=clock)
        self._observer = observer
        self._clock = clock
        self._random = random
        self._in_flight = 0
        self._analysing = 0

    @contextmanager
    def admit(self, request: RouteRequest) -> Iterator[None]:
        """Enters when there is room; raises ResourceExhausted at once when there is none."""
        if not self._has_room(request):
            notify(self._observer.refused, Refused(request, "OVERLOADED"))
            raise ResourceExhausted(
                "OVERLOADED",
                f"The router has too much to do and takes no {request.criticality.name} requests at the moment.",
                retry_after_seconds=self._limits.retry_after_seconds * (0.5 + self._random()),
            )
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    @contextmanager
    def analysing(self) -> Iterator[Callable[[Analysis | RungFailed], None]]:
        """Counts the block as a call to the analyzers; the block tells what it brought."""
        self._analysing += 1
        started = self._clock()

        def found(result: Analysis | RungFailed) -> None:
            self._learn(result, self._clock() - started)

        try:
            yield found
        finally:
            self._analysing -= 1

    def _has_room(self, request: RouteRequest) -> bool:
        share = self._limits.shares[request.criticality]
        if self._in_flight >= self._limits.concurrent * share:
            return False
        return (
            request.bulk
            or request.criticality is Criticality.CRITICAL
            or self._analysing < self._analysing_limit.limit * share
        )

    def _learn(self, result: Analysis | RungFailed, seconds: float) -> None:
        """Tells the limit what the analyzers answer, refuse or are late with. The dead tell nothing of load."""
        if isinstance(result, Analysis):
            self._analysing_limit.served(seconds, self._analysing)
        elif result.reason is SkipReason.OVERLOADED:
            self._analysing_limit.refused(self._analysing)
        elif result.reason is SkipReason.TIMEOUT:
            self._analysing_limit.late(seconds, self._analysing)

    def __repr__(self) -> str:
        return (
            f"<Admission {self._in_flight} of {self._limits.concurrent} in flight, "
            f"{self._analysing} of {self._analysing_limit.limit:.0f} being analysed>"
        )


class CountedRung:
    """The self-hosted rung, each call to it counted at the door. Time that another rung takes loads no analyzer."""

    def __init__(self, rung: AnalysisRung, admission: Admission) -> None:
        self._rung = rung
        self._admission = admission

    @property
    def name(self) -> Rung:
        """Returns the rung's name."""
        return self._rung.name

    async def analyze(self, request: RouteRequest, deadline: Deadline) -> Analysis:
        """Returns the rung's analysis; raises what the rung raises. A batch's prompts wait behind all others."""
        if request.bulk:
            return await self._rung.analyze(request, deadline)
        with self._admission.analysing() as found:
            try:
                analysis = await self._rung.analyze(request, deadline)
            except RungFailed as failure:
                found(failure)
                raise
            found(analysis)
        return analysis
