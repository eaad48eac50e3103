"""What both services export to Prometheus, found by making their real instruments and touching each of them once."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

from opentelemetry.trace import NoOpTracerProvider

from analyzer.adapters.telemetry import TelemetryObserver as AnalyzerObserver
from analyzer.observing import RevisionActivated
from router.adapters import telemetry as router_telemetry
from router.breaker import Breaker
from servicekit.telemetry import TelemetrySettings, start_telemetry
from servicekit.tracing import TracingServerInterceptor

TRACER = NoOpTracerProvider().get_tracer("none")


class TouchedMeter:
    """Makes instruments as the real meter does and records a nothing with each, so that it has a series."""

    def __init__(self, meter: Any) -> None:
        self._meter = meter

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Returns the real method, which touches what it makes."""
        create = getattr(self._meter, name)

        def made(*args: Any, **kwargs: Any) -> Any:
            instrument = create(*args, **kwargs)
            for touch in ("add", "record"):
                if hasattr(instrument, touch):
                    getattr(instrument, touch)(0)
            return instrument

        return made


async def exported(make: Callable[[Any], None]) -> str:
    """Returns the page of /metrics once `make` has made its instruments."""
    telemetry = start_telemetry(TelemetrySettings("names", metrics_port=0), {})
    try:
        make(TouchedMeter(telemetry.meter("names")))
        with urlopen(f"http://127.0.0.1:{telemetry.metrics_port}/metrics", timeout=5) as answer:  # noqa: ASYNC210 - a thread answers
            return str(answer.read().decode())
    finally:
        await telemetry.close()


def make_router(meter: Any) -> None:
    """The router's instruments."""
    router_telemetry.TelemetryObserver(TRACER, meter)
    router_telemetry.QualityObserver(TRACER, meter)
    router_telemetry.CountedOutcomes(SimpleNamespace(), meter)
    router_telemetry.watch_breakers(meter, lambda: [Breaker("b")])
    router_telemetry.watch_ledger(meter, lambda: {"appended": 0})
    router_telemetry.watch_budgets(meter, lambda: {"acme": 0.5})
    router_telemetry.watch_revisions(meter, lambda: ("policy-1", "prices-1"))
    TracingServerInterceptor(TRACER, meter)


def make_analyzer(meter: Any) -> None:
    """The analyzer's instruments."""
    AnalyzerObserver(TRACER, meter).revision_activated(RevisionActivated("r", None))
    TracingServerInterceptor(TRACER, meter)
