"""Rungs inside spans that are current while they work, so that what they call hangs below them."""

import asyncio
from typing import Any

from opentelemetry import trace
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from router import attributes
from router.analysis import Analysis, Rung, RungFailed, SkipReason
from router.ports import AnalysisRung
from router.request import RouteRequest
from servicekit.deadline import Deadline

ALMOST_NOTHING_SECONDS = 0.001

_propagator = TraceContextTextMapPropagator()


def current_trace_id() -> str:
    """The trace of the work in progress, 32 hexadecimal digits; empty when it is not traced."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def trace_headers() -> dict[str, str]:
    """The W3C headers that hang what is called below the work in progress."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def milliseconds_left(deadline: Deadline) -> int:
    """What a span shows of a deadline."""
    return round(deadline.remaining() * 1000)


def fail(span: Span, kind: str) -> None:
    """Marks a span as failed, without a text: it could quote a prompt."""
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, kind))


class TracedRung:
    """A rung inside a client span."""

    def __init__(self, rung: AnalysisRung, tracer: Tracer) -> None:
        self._rung = rung
        self._tracer = tracer

    def __repr__(self) -> str:
        return f"TracedRung({self._rung!r})"

    @property
    def name(self) -> Rung:
        """Its place in the cascade."""
        return self._rung.name

    async def analyze(self, request: RouteRequest, deadline: Deadline) -> Analysis:
        """As the rung does."""
        told = {attributes.RUNG: self.name.value, attributes.BUDGET_REMAINING_MS: milliseconds_left(deadline)}
        span = self._tracer.start_span(span_name(self.name), kind=SpanKind.CLIENT, attributes=told)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                analysis = await self._rung.analyze(request, deadline)
            except RungFailed as failure:
                _skipped(span, failure.reason)
                raise
            except asyncio.CancelledError:
                _cancelled(span, deadline)
                raise
            span.set_attributes(analysis_facts(analysis))
            return analysis


def _cancelled(span: Span, deadline: Deadline) -> None:
    """The cascade cancels a rung whose time is up, and a caller that goes away cancels everything."""
    if deadline.remaining() < ALMOST_NOTHING_SECONDS:
        _skipped(span, SkipReason.TIMEOUT)
    else:
        fail(span, "CANCELLED")


def _skipped(span: Span, reason: SkipReason) -> None:
    span.set_attribute(attributes.SKIP_REASON, reason.value)
    fail(span, reason.value)


def span_name(rung: Rung) -> str:
    """What a rung's span is called."""
    return f"rung {rung.value.lower()}"


def analysis_facts(analysis: Analysis) -> dict[str, Any]:
    """What spans show of an analysis."""
    return {
        attributes.ANALYSIS_SOURCE: analysis.source.value,
        attributes.COMPLEXITY: analysis.complexity,
        attributes.EXPECTED_GAIN: analysis.expected_gain,
        attributes.CONFIDENCE: analysis.confidence,
        attributes.TASK: analysis.task.value,
        attributes.TRUNCATED: analysis.truncated,
        attributes.ANALYZER_REVISION: analysis.revision,
    }
