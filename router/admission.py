"""Turns requests away at the door while there is too much to do, the least critical first."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from router.observer import Observer, Refused, notify
from router.request import Criticality, RouteRequest
from servicekit.errors import ResourceExhausted

SHARES: Mapping[Criticality, float] = {Criticality.CRITICAL: 1.0, Criticality.STANDARD: 0.9, Criticality.SHEDDABLE: 0.7}


@dataclass(frozen=True)
class AdmissionLimits:
    """How many requests are served at once, and which share of that each class may fill."""

    concurrent: int = 256
    shares: Mapping[Criticality, float] = field(default_factory=lambda: SHARES)
    retry_after_seconds: float = 1.0


class Admission:
    """Counts requests in flight."""

    def __init__(self, limits: AdmissionLimits, observer: Observer) -> None:
        self._limits = limits
        self._observer = observer
        self._in_flight = 0

    @contextmanager
    def admit(self, request: RouteRequest) -> Iterator[None]:
        """Enters when there is room; raises ResourceExhausted at once when there is none."""
        if self._in_flight >= self._limits.concurrent * self._limits.shares[request.criticality]:
            notify(self._observer.refused, Refused(request, "OVERLOADED"))
            raise ResourceExhausted(
                "OVERLOADED",
                f"The router serves {self._in_flight} requests and takes no {request.criticality.name} ones now.",
                retry_after_seconds=self._limits.retry_after_seconds,
            )
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def __repr__(self) -> str:
        return f"<Admission {self._in_flight} of {self._limits.concurrent} in flight>"
