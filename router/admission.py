"""Turns requests away at the door while there is too much to do, the least critical first. Never waits."""

import random as randomness
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from router.adaptive_limit import AdaptiveLimit
from router.analysis import AnalysisSource, Rung, SkipReason
from router.cascade import Finding
from router.observer import Observer, Refused, notify
from router.ports import Random
from router.request import Criticality, RouteRequest
from servicekit.deadline import Clock
from servicekit.errors import ResourceExhausted

SHARES: Mapping[Criticality, float] = {Criticality.CRITICAL: 1.0, Criticality.STANDARD: 0.9, Criticality.SHEDDABLE: 0.7}


@dataclass(frozen=True)
class AdmissionLimits:
    """How many requests are served at once, and which share of that each class may fill."""

    concurrent: int = 256
    shares: Mapping[Criticality, float] = field(default_factory=lambda: SHARES)
    retry_after_seconds: float = 1.0


class Admission:
    """Counts requests in flight, and those of them that are being analysed.

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
        if not self._has_room(request.criticality):
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
    def analysing(self) -> Iterator[Callable[[Finding], None]]:
        """Counts the block as an analysis; the block tells what it found."""
        self._analysing += 1
        started = self._clock()

        def found(finding: Finding) -> None:
            self._learn(finding, self._clock() - started)

        try:
            yield found
        finally:
            self._analysing -= 1

    def _has_room(self, criticality: Criticality) -> bool:
        share = self._limits.shares[criticality]
        if self._in_flight >= self._limits.concurrent * share:
            return False
        return criticality is Criticality.CRITICAL or self._analysing < self._analysing_limit.limit * share

    def _learn(self, finding: Finding, seconds: float) -> None:
        """Tells the limit of refusals and answers of the analyzers. One that is dead or late says nothing of load."""
        skipped = {skip.rung: skip.reason for skip in finding.skipped}
        if skipped.get(Rung.SELF_HOSTED) is SkipReason.OVERLOADED:
            self._analysing_limit.refused(self._analysing)
        elif finding.analysis is not None and finding.analysis.source is not AnalysisSource.CLOUD_TINY:
            self._analysing_limit.served(seconds, self._analysing)

    def __repr__(self) -> str:
        return (
            f"<Admission {self._in_flight} of {self._limits.concurrent} in flight, "
            f"{self._analysing} of {self._analysing_limit.limit:.0f} being analysed>"
        )
