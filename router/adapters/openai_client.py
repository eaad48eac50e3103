"""A tier's backend behind the OpenAI chat completions API, through the `openai` package with its own retries off."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

from router.adapters.openai_failures import backend_failed
from router.answer import AttemptOutcome, BackendFailed, Chunk, FinishReason, Usage
from router.request import Generation, Message, ResponseFormatType
from servicekit.deadline import Deadline

CONNECT_SECONDS_MAX = 3.0
TRAILER_SECONDS_MAX = 1.0
"""How long the usage may come after the finish reason before the answer goes out without it."""

INT32_END = 2**31
"""Counts travel as int32 in our own contract."""

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "tool_calls": FinishReason.STOP,
    "function_call": FinishReason.STOP,
}

Headers = Callable[[], Mapping[str, str]]
"""Headers of one call: the trace context."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked, and how it calls the limit of an answer's tokens. An empty key: none is needed."""

    base_url: str
    model: str
    api_key: str = ""
    max_tokens_field: str = "max_tokens"

    def __repr__(self) -> str:
        return f"Endpoint({self.model} at {self.base_url})"


def connect(endpoint: Endpoint) -> openai.AsyncOpenAI:
    """A client of that endpoint and no other: redirects are not followed, a prompt goes where the operator said."""
    client = openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key or "none",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
    )
    # What the environment says of OpenAI's own cloud is nothing to other endpoints.
    client.organization = client.project = client.admin_api_key = None
    return client


class OpenAIBackend:
    """One endpoint as a backend; `close` it at the end."""

    def __init__(self, name: str, endpoint: Endpoint, headers: Headers = dict) -> None:
        self.name = name
        self.model = endpoint.model
        self._endpoint = endpoint
        self._headers = headers
        self._client = connect(endpoint)

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.name}: {self._endpoint})"

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def stream(
        self, messages: Sequence[Message], generation: Generation, deadline: Deadline
    ) -> AsyncIterator[Chunk]:
        """Yields the answer in pieces, the last one with the finish reason. Raises BackendFailed.

        Leaving the iteration early, by `aclose` or by cancellation, closes the HTTP stream.
        """
        progress = _Progress()
        stream = None
        try:
            async with asyncio.timeout(deadline.remaining()):
                stream = await self._open(messages, generation, deadline)
            while (chunk := await _next(stream, progress, deadline)) is not None:
                if chunk.text:
                    yield chunk
            yield progress.last_chunk()
        except (openai.OpenAIError, TimeoutError, OSError, ValueError) as error:
            raise backend_failed(error, started=progress.events > 0, usage=progress.usage) from error
        finally:
            if stream is not None:
                await stream.close()

    async def _open(
        self, messages: Sequence[Message], generation: Generation, deadline: Deadline
    ) -> openai.AsyncStream[ChatCompletionChunk]:
        remaining = deadline.remaining()
        fields: Any = {
            "model": self.model,
            "messages": [{"role": message.role.value, "content": message.content} for message in messages],
            "stream_options": {"include_usage": True},
            "timeout": openai.Timeout(remaining, connect=min(remaining, CONNECT_SECONDS_MAX)),
            "extra_headers": dict(self._headers()),
        }
        fields |= generation_body(generation, self._endpoint.max_tokens_field)
        stream: openai.AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(
            stream=True, **fields
        )
        return stream


class _Progress:
    """What of a stream has come so far."""

    def __init__(self) -> None:
        self.events = 0
        self.has_text = False
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None

    def take(self, event: Any) -> Chunk:
        """Notes what `event` tells; returns its text."""
        self.events += 1
        self.usage = usage_of(event) or self.usage
        choice = first_choice(event)
        text = getattr(getattr(choice, "delta", None), "content", None)
        reason = getattr(choice, "finish_reason", None)
        if isinstance(reason, str):
            self.finish_reason = FINISH_REASONS.get(reason, FinishReason.UNSPECIFIED)
        if not isinstance(text, str):
            text = ""
        self.has_text = self.has_text or bool(text)
        return Chunk(text)

    def last_chunk(self) -> Chunk:
        """The end of the answer; BackendFailed when it has none, which is how a stream that was cut looks."""
        if self.events == 0:
            raise BackendFailed(AttemptOutcome.BACKEND_ERROR, "not a stream of completions")
        if self.finish_reason is None:
            raise BackendFailed(AttemptOutcome.CUT_OFF, "no finish reason", usage=self.usage)
        if self.finish_reason is FinishReason.CONTENT_FILTER and not self.has_text:
            raise BackendFailed(AttemptOutcome.CONTENT_FILTERED, "filtered", usage=self.usage)
        return Chunk(finish_reason=self.finish_reason, usage=self.usage)


async def _next(stream: Any, progress: _Progress, deadline: Deadline) -> Chunk | None:
    """The next piece; None at the end. What breaks after the finish reason breaks nothing: the answer is whole."""
    finished = progress.finish_reason is not None
    seconds = min(deadline.remaining(), TRAILER_SECONDS_MAX) if finished else deadline.remaining()
    try:
        async with asyncio.timeout(seconds):
            return progress.take(await anext(stream))
    except StopAsyncIteration:
        return None
    except (openai.OpenAIError, TimeoutError, OSError, ValueError):
        if finished:
            return None
        raise


def first_choice(event: Any) -> Any:
    """The first choice of a completion or chunk; None when it has none. The client library checks no shapes."""
    choices = getattr(event, "choices", None)
    return choices[0] if isinstance(choices, list) and choices else None


def usage_of(event: Any) -> Usage | None:
    """Tokens as the backend counted them; None when it did not, or told nonsense."""
    told = getattr(event, "usage", None)
    counts = (
        _count(told, "prompt_tokens"),
        _count(told, "completion_tokens"),
        _count(getattr(told, "prompt_tokens_details", None), "cached_tokens"),
        _count(getattr(told, "completion_tokens_details", None), "reasoning_tokens"),
    )
    if counts[0] is None or counts[1] is None:
        return None
    return Usage(counts[0], counts[1], min(counts[2] or 0, counts[0]), min(counts[3] or 0, counts[1]))


def _count(told: Any, name: str) -> int | None:
    value = getattr(told, name, None)
    return value if isinstance(value, int) and 0 <= value < INT32_END else None


def generation_body(generation: Generation, max_tokens_field: str = "max_tokens") -> dict[str, Any]:
    """The request's fields for these settings; what is unset is not sent."""
    fields: dict[str, Any] = {
        max_tokens_field: generation.max_output_tokens,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "stop": list(generation.stop) or None,
        "seed": generation.seed,
        "response_format": response_format(generation),
    }
    return {name: value for name, value in fields.items() if value is not None}


def response_format(generation: Generation) -> dict[str, Any] | None:
    """The form of the answer as the API asks for it; None for text."""
    if generation.response_format is ResponseFormatType.TEXT:
        return None
    if generation.response_format is ResponseFormatType.JSON_OBJECT:
        return {"type": "json_object"}
    schema = json.loads(generation.json_schema)
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
