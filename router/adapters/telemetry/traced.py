"""Rungs and backends inside spans that are current while they work, so that what they call hangs below them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from router import attributes
from router.analysis import Analysis, Rung, RungFailed, SkipReason
from router.answer import AttemptOutcome, BackendFailed, Chunk, Usage
from router.ports import AnalysisRung, Backend
from router.request import RouteRequest, Tier
from servicekit.deadline import Deadline

PROVIDER = "openai"
"""What the backends speak, whoever runs them."""

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


class TracedBackend:
    """A backend inside one client span a call, by the GenAI conventions."""

    def __init__(self, backend: Backend, tracer: Tracer) -> None:
        self._backend = backend
        self._tracer = tracer
        self.name: str = backend.name
        self.tier: Tier = backend.tier
        self.model: str = backend.model
        self.weight: float = backend.weight
        self.context_window: int = backend.context_window
        self.max_output_tokens: int = backend.max_output_tokens

    def __repr__(self) -> str:
        return f"TracedBackend({self._backend!r})"

    async def stream(
        self, request: RouteRequest, max_output_tokens: int, deadline: Deadline
    ) -> AsyncGenerator[Chunk, None]:
        """As the backend does. The span is current while the backend works, not while the caller reads."""
        span = self._tracer.start_span(
            f"chat {self.model}", kind=SpanKind.CLIENT, attributes=self._facts(max_output_tokens, deadline)
        )
        chunks = self._backend.stream(request, max_output_tokens, deadline)
        begun = False
        try:
            while (chunk := await _next(chunks, span)) is not None:
                if chunk.text and not begun:
                    begun = True
                    span.add_event(attributes.FIRST_TOKEN)
                _note_end(span, chunk)
                yield chunk
        except BackendFailed as failure:
            span.set_attribute(attributes.ATTEMPT_OUTCOME, failure.outcome.value)
            fail(span, failure.outcome.value)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            span.set_attribute(attributes.ATTEMPT_OUTCOME, AttemptOutcome.CANCELLED.value)
            fail(span, AttemptOutcome.CANCELLED.value)
            raise
        finally:
            await _close(chunks)
            span.end()

    def _facts(self, max_output_tokens: int, deadline: Deadline) -> Mapping[str, Any]:
        return {
            gen_ai.GEN_AI_OPERATION_NAME: "chat",
            gen_ai.GEN_AI_PROVIDER_NAME: PROVIDER,
            gen_ai.GEN_AI_REQUEST_MODEL: self.model,
            gen_ai.GEN_AI_REQUEST_MAX_TOKENS: max_output_tokens,
            attributes.BACKEND: self.name,
            attributes.TIER: self.tier.name,
            attributes.BUDGET_REMAINING_MS: milliseconds_left(deadline),
        }


async def _next(chunks: AsyncIterator[Chunk], span: Span) -> Chunk | None:
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        return await anext(chunks, None)


async def _close(chunks: AsyncIterator[Chunk]) -> None:
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()


def _note_end(span: Span, chunk: Chunk) -> None:
    if chunk.finish_reason is not None:
        span.set_attribute(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, [chunk.finish_reason.value.lower()])
        span.set_attribute(attributes.ATTEMPT_OUTCOME, AttemptOutcome.ANSWERED.value)
    if chunk.usage is not None:
        span.set_attributes(usage_facts(chunk.usage))


def usage_facts(usage: Usage) -> dict[str, Any]:
    """Tokens, by the GenAI conventions."""
    return {
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: usage.input,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: usage.output,
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: usage.cached,
        gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: usage.reasoning,
    }
