"""What the service does, as spans and metrics: the one importer of opentelemetry here."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from analyzer.observing import (
    BatchDone,
    Interval,
    PromptDone,
    Refused,
    RevisionActivated,
    SimilarHitChecked,
    Trace,
)

REVISION = "tinyroute.analyzer.revision"
SOURCE = "tinyroute.analysis.source"
SIMILARITY = "tinyroute.analysis.similarity"
REASON = "tinyroute.refusal.reason"
BATCH_SIZE = "tinyroute.batch.size"
BATCH_TOKENS = "tinyroute.batch.tokens"
BATCH_PADDED_TOKENS = "tinyroute.batch.padded_tokens"

_PREFIX = "tinyroute.analyzer."
_BOUNDS: dict[str, tuple[float, ...]] = {
    "s": (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
    "{prompt}": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
    "{token}": (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024),
}

_log = structlog.get_logger(__name__)
Method = TypeVar("Method", bound=Callable[..., Any])


def _harmless(method: Method) -> Method:
    """Makes a listener's method one that never breaks a request."""

    @wraps(method)
    def guarded(*args: Any) -> Any:
        try:
            return method(*args)
        except Exception:  # noqa: BLE001 - whatever goes wrong in telemetry, the caller gets the answer
            with suppress(Exception):
                _log.warning("telemetry failed", listener=method.__name__, exc_info=True)
            return None

    return guarded  # type: ignore[return-value]


class TelemetryObserver:
    """Writes spans under the call's own, and the service's metrics."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._epoch_nanoseconds = time.time_ns() - time.monotonic_ns()
        self._revision: str | None = None
        self._similar_on = True
        self._analyses = _counter(meter, "analyses", "Analyses by source: model, caches, coalesced.")
        self._refusals = _counter(meter, "refusals", "Prompts refused, by reason.")
        self._failures = _counter(meter, "forward.failures", "Forward passes that failed.")
        self._checks = _counter(meter, "similar.checks", "Similar hits analysed after all, by outcome.")
        self._duration = _histogram(meter, "analysis.duration", "s", "Whole analyses, by source.")
        self._tokenize = _histogram(meter, "tokenize.duration", "s", "From text to token ids.")
        self._wait = _histogram(meter, "queue.wait", "s", "From arrival to the forward pass.")
        self._forward = _histogram(meter, "forward.duration", "s", "Forward passes.")
        self._batch_size = _histogram(meter, "batch.size", "{prompt}", "Prompts of a forward pass.")
        self._batch_tokens = _histogram(meter, "batch.tokens", "{token}", "Padded tokens of a forward pass.")
        meter.create_observable_gauge(
            f"{_PREFIX}revision.info", callbacks=[self._revision_info], description="1 for the active revision."
        )
        meter.create_observable_gauge(
            f"{_PREFIX}similar.on",
            callbacks=[lambda _: [Observation(int(self._similar_on))]],
            description="0 while the similar cache has switched itself off: too many wrong hits.",
        )

    @_harmless
    def capture(self) -> Trace:
        """Returns the current context."""
        return otel_context.get_current()

    @_harmless
    def batch_done(self, fact: BatchDone) -> Trace:
        """Writes the batch's span, a trace of its own, linked to the calls in it; returns its context."""
        span = self._tracer.start_span(
            "batch",
            context=otel_context.Context(),
            links=[Link(each) for each in map(_span_context, fact.traces) if each is not None],
            start_time=self._nanoseconds(fact.forward.start),
            attributes={
                REVISION: fact.revision,
                BATCH_SIZE: fact.prompt_count,
                BATCH_TOKENS: fact.token_count,
                BATCH_PADDED_TOKENS: fact.padded_token_count,
            },
        )
        if fact.failed:
            span.set_status(Status(StatusCode.ERROR, "the model failed"))
            self._failures.add(1)
        span.end(self._nanoseconds(fact.forward.end))
        self._forward.record(fact.forward.seconds)
        self._batch_size.record(fact.prompt_count)
        self._batch_tokens.record(fact.padded_token_count)
        for wait in fact.waits_seconds:
            self._wait.record(wait)
        return span.get_span_context()

    @_harmless
    def prompt_done(self, fact: PromptDone) -> None:
        """Writes the stages under the call's span, and what came of it on that span."""
        parent = fact.trace if isinstance(fact.trace, otel_context.Context) else None
        call = trace.get_current_span(parent)
        call.set_attributes({REVISION: fact.revision, SOURCE: fact.source.value})
        if fact.similarity is not None:
            call.set_attribute(SIMILARITY, fact.similarity)
        batch = fact.batch if isinstance(fact.batch, SpanContext) else None
        self._stage("tokenize", parent, fact.tokenize)
        self._stage("queue", parent, fact.queue)
        self._stage("forward", parent, fact.forward, batch)
        self._analyses.add(1, {"source": fact.source.value})
        self._duration.record(fact.whole.seconds, {"source": fact.source.value})
        if fact.tokenize is not None:
            self._tokenize.record(fact.tokenize.seconds)

    @_harmless
    def refused(self, fact: Refused) -> None:
        """Counts a refusal and names it on the call's span."""
        self._refusals.add(1, {"reason": fact.reason})
        trace.get_current_span().set_attribute(REASON, fact.reason)

    @_harmless
    def similar_hit_checked(self, fact: SimilarHitChecked) -> None:
        """Counts a check; the share of wrong ones is the false-hit rate."""
        self._checks.add(1, {"outcome": "wrong" if fact.wrong else "right"})
        self._similar_on = fact.similar_cache_on

    @_harmless
    def revision_activated(self, fact: RevisionActivated) -> None:
        """Notes the revision in use."""
        self._revision = fact.revision
        _log.info("revision active", revision=fact.revision, before=fact.before)

    def _stage(
        self, name: str, parent: otel_context.Context | None, interval: Interval | None, link: SpanContext | None = None
    ) -> None:
        if interval is None:
            return
        span: Span = self._tracer.start_span(
            name,
            context=parent,
            kind=SpanKind.INTERNAL,
            links=[Link(link)] if link is not None else None,
            start_time=self._nanoseconds(interval.start),
        )
        span.end(self._nanoseconds(interval.end))

    def _nanoseconds(self, monotonic_seconds: float) -> int:
        return self._epoch_nanoseconds + round(monotonic_seconds * 1e9)

    def _revision_info(self, _options: CallbackOptions) -> list[Observation]:
        return [Observation(1, {"revision": self._revision})] if self._revision else []


def _counter(meter: Meter, name: str, description: str) -> Counter:
    return meter.create_counter(_PREFIX + name, unit="1", description=description)


def _histogram(meter: Meter, name: str, unit: str, description: str) -> Histogram:
    return meter.create_histogram(
        _PREFIX + name, unit=unit, description=description, explicit_bucket_boundaries_advisory=_BOUNDS[unit]
    )


def _span_context(captured: Trace) -> SpanContext | None:
    if not isinstance(captured, otel_context.Context):
        return None
    found = trace.get_current_span(captured).get_span_context()
    return found if found.is_valid else None
