"""Backends inside client spans, by the GenAI conventions."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.trace import Span, SpanKind, Tracer

from router import attributes
from router.adapters.telemetry.content import ContentCapture
from router.adapters.telemetry.rung_spans import fail, milliseconds_left
from router.answer import Attempt, AttemptOutcome, Chunk, Usage
from router.ports import Backend
from router.request import RouteRequest, Tier
from servicekit.deadline import Deadline

PROVIDER = "openai"
"""What the backends speak, whoever runs them."""


class OpenAttempts:
    """Spans of calls to backends that are under way. A span is ended by whoever knows how the call ended."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], Span] = {}

    def __repr__(self) -> str:
        return f"OpenAttempts({len(self._spans)})"

    def begin(self, request_id: str, backend: str, span: Span) -> None:
        """Keeps the span of a call; a request calls a backend once at most."""
        forgotten = self._spans.pop((request_id, backend), None)
        if forgotten is not None:
            forgotten.end()
        self._spans[request_id, backend] = span

    def take(self, request_id: str, backend: str) -> Span:
        """Gives the span out to be ended; one that records nothing when there is none."""
        return self._spans.pop((request_id, backend), trace.INVALID_SPAN)


class TracedBackend:
    """A backend inside one client span a call, by the GenAI conventions."""

    def __init__(
        self, backend: Backend, tracer: Tracer, attempts: OpenAttempts, capture: ContentCapture | None = None
    ) -> None:
        self._backend = backend
        self._tracer = tracer
        self._attempts = attempts
        self._capture = capture
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
        facts = self._facts(max_output_tokens, deadline)
        span = self._tracer.start_span(f"chat {self.model}", kind=SpanKind.CLIENT, attributes=facts)
        self._attempts.begin(request.request_id, self.name, span)
        chunks = self._backend.stream(request, max_output_tokens, deadline)
        said: list[str] = []
        try:
            while (chunk := await _next(chunks, span)) is not None:
                if chunk.text and not said:
                    span.add_event(attributes.FIRST_TOKEN)
                if chunk.text and (self._capture is not None or not said):
                    said.append(chunk.text)
                if chunk.finish_reason is not None:
                    span.set_attribute(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, [chunk.finish_reason.value.lower()])
                yield chunk
        finally:
            if self._capture is not None:
                span.set_attribute(gen_ai.GEN_AI_INPUT_MESSAGES, self._capture.prompt(request.messages))
                span.set_attribute(gen_ai.GEN_AI_OUTPUT_MESSAGES, self._capture.answer("".join(said)))
            await _close(chunks)

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


def end_attempt(span: Span, attempt: Attempt) -> None:
    """Puts on a call's span how it ended, and ends it."""
    span.set_attribute(attributes.ATTEMPT_OUTCOME, attempt.outcome.value)
    if attempt.usage is not None:
        span.set_attributes(usage_facts(attempt.usage))
    if attempt.cost_micros is not None:
        span.set_attribute(attributes.COST_MICROS, attempt.cost_micros)
    if attempt.time_to_first_token is not None:
        span.set_attribute(gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, attempt.time_to_first_token)
    if attempt.outcome is not AttemptOutcome.ANSWERED:
        fail(span, attempt.outcome.value)
    span.end()


def usage_facts(usage: Usage) -> dict[str, Any]:
    """Tokens, by the GenAI conventions."""
    return {
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: usage.input,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: usage.output,
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: usage.cached,
        gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: usage.reasoning,
    }
