"""Hears what the core does and tells it as spans, attributes and metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from opentelemetry.metrics import Meter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.trace import Span, Tracer

from router import attributes
from router.adapters.telemetry.attempt_spans import OpenAttempts, TracedBackend, end_attempt
from router.adapters.telemetry.content import ContentCapture
from router.adapters.telemetry.instruments import Instruments, make_instruments
from router.adapters.telemetry.rung_spans import TracedRung, fail, span_name
from router.analysis import AnalysisSource, Rung, SkipReason
from router.decision import Decision
from router.observer import AttemptFinished, Decided, Fault, FirstToken, Observer, Refused, RungFinished, Settled, Stage
from router.ports import AnalysisRung, Backend
from router.records import RequestRecord
from router.request import RouteRequest, Tier

NEVER_ASKED = frozenset(
    {
        SkipReason.BREAKER_OPEN,
        SkipReason.FORBIDDEN_BY_CALLER,
        SkipReason.DISABLED,
        SkipReason.NO_TIME,
        SkipReason.BUDGET,
    }
)
"""Reasons of rungs that were passed by: their spans are made here, those of rungs that were asked around the asking."""

_root: ContextVar[Span | None] = ContextVar("root_span", default=None)
"""The span of the whole request: the one in which its first stage begins."""


class TelemetryObserver(Observer):
    """The router's one listener."""

    def __init__(self, tracer: Tracer, meter: Meter, capture: ContentCapture | None = None) -> None:
        self._tracer = tracer
        self._capture = capture
        self._instruments: Instruments = make_instruments(meter)
        self._attempts = OpenAttempts()

    def traced_rung(self, rung: AnalysisRung) -> TracedRung:
        """The rung inside spans."""
        return TracedRung(rung, self._tracer)

    def traced_backend(self, backend: Backend) -> TracedBackend:
        """The backend inside spans, which this observer ends when it hears how the call ended."""
        return TracedBackend(backend, self._tracer, self._attempts, self._capture)

    @contextmanager
    def item(self, name: str) -> Iterator[None]:
        """A span around one item of a batch, as its own request."""
        with self._tracer.start_as_current_span(name, record_exception=False):
            yield

    @contextmanager
    def stage(self, stage: Stage, request: RouteRequest) -> Iterator[None]:
        """A span around the stage, current while it lasts."""
        if stage is Stage.ANALYSIS:
            root = trace.get_current_span()
            root.set_attributes({attributes.REQUEST_ID: request.request_id, attributes.TENANT: request.tenant})
            _root.set(root)
        started = time.monotonic()
        try:
            with self._tracer.start_as_current_span(
                stage.value, record_exception=False, set_status_on_exception=False
            ) as span:
                try:
                    yield
                except BaseException as error:
                    fail(span, type(error).__name__)
                    raise
        finally:
            self._instruments.stage_duration.record(time.monotonic() - started, {attributes.STAGE: stage.value})

    def rung_finished(self, fact: RungFinished) -> None:
        """Counts it; a rung that was passed by gets a span without length."""
        told: dict[str, str | int] = {attributes.RUNG: fact.rung.value}
        if fact.reason is None:
            self._instruments.rung_duration.record(fact.duration, told)
            return
        self._instruments.fail_open.add(1, told | {attributes.SKIP_REASON: fact.reason.value})
        if fact.reason not in NEVER_ASKED:
            self._instruments.rung_duration.record(fact.duration, told)
            return
        told[attributes.SKIP_REASON] = fact.reason.value
        told[attributes.BUDGET_REMAINING_MS] = round(fact.time_left * 1000)
        self._tracer.start_span(span_name(fact.rung), attributes=told).end()

    def decided(self, fact: Decided) -> None:
        """Puts the choice on the request's span, and by what it was made on the plan's."""
        decision = fact.decision
        trace.get_current_span().set_attributes(revisions(decision))
        told = decision_facts(decision)
        root = _root.get()
        if root is not None:
            root.set_attributes(told)
        labels = {name: told[name] for name in (attributes.RUNG, attributes.TIER, attributes.CAUSE)}
        self._instruments.decisions.add(1, labels)

    def first_token(self, fact: FirstToken) -> None:
        """Measures it; the event is on the attempt's own span."""
        self._instruments.first_chunk.record(fact.seconds, {attributes.BACKEND: fact.backend})

    def attempt_finished(self, fact: AttemptFinished) -> None:
        """Ends the call's span, and measures duration and tokens."""
        attempt = fact.attempt
        end_attempt(self._attempts.take(fact.request_id, attempt.backend), attempt)
        told = {attributes.BACKEND: attempt.backend, attributes.TIER: attempt.tier.name}
        self._instruments.attempt_duration.record(
            attempt.duration,
            told | {attributes.ATTEMPT_OUTCOME: attempt.outcome.value, gen_ai.GEN_AI_REQUEST_MODEL: attempt.model},
        )
        if attempt.usage is not None:
            self._instruments.tokens.add(attempt.usage.input, told | {attributes.TOKEN_TYPE: "input"})
            self._instruments.tokens.add(attempt.usage.output, told | {attributes.TOKEN_TYPE: "output"})

    def settled(self, fact: Settled) -> None:
        """Puts status and money on the request's span, and sums them."""
        record = fact.record
        told = record_facts(record)
        root = _root.get()
        if root is not None:
            root.set_attributes(told | {attributes.LEDGER_KEPT: fact.kept})
        labels = {attributes.RPC: record.rpc, attributes.STATUS: record.status, attributes.TIER: tier_name(record.tier)}
        self._instruments.request_duration.record(record.timings.get("total") or 0.0, labels)
        if record.cost_micros is None:
            self._instruments.cost_unknown.add(1)
        else:
            self._instruments.cost.add(record.cost_micros, {attributes.TIER: tier_name(record.tier)})
        if attributes.SAVED_MICROS in told:
            self._instruments.saving.add(told[attributes.SAVED_MICROS])
        if not fact.kept:
            self._instruments.ledger_failures.add(1)

    def refused(self, fact: Refused) -> None:
        """Counts it."""
        trace.get_current_span().set_attribute(attributes.REASON, fact.reason)
        self._instruments.refusals.add(1, {attributes.REASON: fact.reason})

    def fault(self, fact: Fault) -> None:
        """Counts it; the log has the rest."""
        self._instruments.faults.add(1, {attributes.WHERE: fact.where})


def decision_facts(decision: Decision) -> dict[str, Any]:
    """What the request's span shows of the choice; what the analysis said in full is on its rung's."""
    analysis = decision.analysis
    facts = {
        attributes.TIER: decision.tier.name,
        attributes.CAUSE: decision.cause.value,
        attributes.RUNG: rung_of(decision),
        attributes.FAIL_OPEN: analysis is None,
    }
    if analysis is None:
        return facts | {attributes.ANALYSIS_SOURCE: AnalysisSource.NONE.value}
    return facts | {
        attributes.ANALYSIS_SOURCE: analysis.source.value,
        attributes.COMPLEXITY: analysis.complexity,
        attributes.CONFIDENCE: analysis.confidence,
    }


def revisions(decision: Decision) -> dict[str, str]:
    """By what a choice was made."""
    return {
        attributes.ANALYZER_REVISION: decision.analysis.revision if decision.analysis else "",
        attributes.POLICY_REVISION: decision.policy_revision,
        attributes.PRICE_REVISION: decision.price_revision,
    }


def rung_of(decision: Decision) -> str:
    """The rung that a choice rests on; DEFAULT when none answered. The share of SELF_HOSTED is the first indicator."""
    if decision.analysis is None:
        return "DEFAULT"
    cloud = decision.analysis.source is AnalysisSource.CLOUD_TINY
    return Rung.CLOUD_TINY.value if cloud else Rung.SELF_HOSTED.value


def record_facts(record: RequestRecord) -> dict[str, Any]:
    """What spans show of a settled request."""
    facts: dict[str, Any] = {attributes.RPC: record.rpc, attributes.STATUS: record.status}
    if record.reason:
        facts[attributes.REASON] = record.reason
    if record.backend:
        facts[attributes.BACKEND] = record.backend
    if record.cost_micros is not None:
        facts[attributes.COST_MICROS] = record.cost_micros
        if record.top_tier_micros is not None:
            facts[attributes.SAVED_MICROS] = record.top_tier_micros - record.cost_micros
    return facts


def tier_name(tier: int | None) -> str:
    """A label for the tier that answered."""
    return "NONE" if tier is None else str(Tier(tier).name)
