"""What is predicted, reported and compared is measured, and requests without an answer by their reasons."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tinyroute.router.v1 import router_pb2

from router.adapters.telemetry import CountedOutcomes, QualityObserver
from router.observer import Settled, ShadowJudged
from router.records import RequestRecord
from router.request import Tier
from servicekit.errors import NotFound


class Heard:
    """An observer and what it has measured."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.spans = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meter = MeterProvider([self._reader], shutdown_on_exit=False).get_meter("m")
        self.observer = QualityObserver(tracers.get_tracer("t"), self.meter)

    def points(self, name: str) -> list[Any]:
        """The data points of a metric; none when nothing was measured."""
        told = self._reader.get_metrics_data()
        resources = told.resource_metrics if told else ()
        metrics = [each for resource in resources for scope in resource.scope_metrics for each in scope.metrics]
        return [point for each in metrics if each.name == name for point in each.data.data_points]


@pytest.mark.parametrize(("score", "outcome"), [(0.9, "AGREE"), (0.5, "AGREE"), (0.1, "DISAGREE")])
def test_a_shadow_comparison_is_a_count_and_a_span(score: float, outcome: str) -> None:
    """By whether the lower tier's answer would have done; tail sampling goes by the span."""
    heard = Heard()
    heard.observer.shadow_judged(ShadowJudged("r", Tier.SMALL, Tier.MEDIUM, score))
    (point,) = heard.points("tinyroute.router.shadow.comparisons")
    assert (dict(point.attributes), point.value) == ({"tinyroute.shadow": outcome}, 1)
    (span,) = heard.spans.get_finished_spans()
    assert dict(span.attributes or {}) == {"tinyroute.shadow": outcome, "tinyroute.score": score}


def test_only_requests_that_ended_in_an_error_are_failures() -> None:
    """With the error's code and reason, which come from the code and never from a caller."""
    heard = Heard()
    told = {"request_id": "r", "tenant": "t", "rpc": "Route", "time": ""}
    heard.observer.settled(Settled(RequestRecord(**told, status="OK"), kept=True))
    heard.observer.settled(Settled(RequestRecord(**told, status="CANCELLED"), kept=True))
    heard.observer.settled(Settled(RequestRecord(**told, status="UNAVAILABLE", reason="NO_BACKEND"), kept=True))
    (point,) = heard.points("tinyroute.router.failures")
    assert dict(point.attributes) == {
        "tinyroute.rpc": "Route",
        "tinyroute.status": "UNAVAILABLE",
        "tinyroute.reason": "NO_BACKEND",
    }


class Kept:
    """Takes verdicts about one request."""

    async def report(self, tenant: str, report: router_pb2.ReportOutcomeRequest) -> bool:
        """Keeps it, if it is about that request."""
        if (tenant, report.request_id) != ("acme", "r"):
            raise NotFound("REQUEST_NOT_FOUND", "There is no request of that id.")
        return False


async def test_verdicts_that_were_taken_are_measured() -> None:
    """Good is 1, bad is 0; what was refused does not count."""
    heard = Heard()
    outcomes = CountedOutcomes(Kept(), heard.meter)
    good = router_pb2.ReportOutcomeRequest(request_id="r", verdict=router_pb2.VERDICT_GOOD)
    bad = router_pb2.ReportOutcomeRequest(request_id="r", verdict=router_pb2.VERDICT_BAD)
    half = router_pb2.ReportOutcomeRequest(request_id="r", score=0.5)
    for report in (good, bad, half):
        await outcomes.report("acme", report)
    with pytest.raises(NotFound):
        await outcomes.report("other", good)
    (point,) = heard.points("tinyroute.router.reported_quality")
    assert (point.count, point.sum) == (3, 1.5)
