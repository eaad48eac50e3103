"""Whatever goes wrong in telemetry, the caller gets the answer."""

from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from analyzer.adapters.telemetry import TelemetryObserver
from analyzer.observing import (
    BatchDone,
    Interval,
    PromptDone,
    Refused,
    RevisionActivated,
    SimilarHitChecked,
    Source,
)

FORWARD = Interval(1.0, 1.01)
FACTS = [
    ("batch_done", BatchDone("r", FORWARD, 2, 20, 24, (0.001, 0.002), (None, object()))),
    ("batch_done", BatchDone("r", FORWARD, 1, 20, 20, (0.001,), (None,), failed=True)),
    ("prompt_done", PromptDone("r", Source.MODEL, FORWARD, None, FORWARD, FORWARD, FORWARD, None)),
    ("prompt_done", PromptDone("r", Source.CACHE_SIMILAR, FORWARD, "no context", similarity=0.9)),
    ("refused", Refused("QUEUE_FULL", "r")),
    ("similar_hit_checked", SimilarHitChecked(wrong=True, similar_cache_on=False)),
    ("revision_activated", RevisionActivated("r", None)),
]


class BrokenTracer:
    """Raises whenever it is asked for a span."""

    def start_span(self, *_: object, **__: object) -> Any:
        """Fails."""
        raise RuntimeError("no spans today")


@pytest.mark.parametrize(("method", "fact"), FACTS)
@pytest.mark.parametrize("tracer", [NoOpTracerProvider().get_tracer("t"), BrokenTracer()], ids=["quiet", "broken"])
def test_no_fact_breaks_a_listener_and_no_listener_a_request(method: str, fact: object, tracer: Any) -> None:
    """A tracer that raises is logged, not passed on."""
    observer = TelemetryObserver(tracer, NoOpMeterProvider().get_meter("t"))
    getattr(observer, method)(fact)
    assert observer.capture() is not None
