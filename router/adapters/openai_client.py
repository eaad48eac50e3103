"""A tier's backend behind the OpenAI chat completions API, through the `openai` package with its own retries off."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

from router.adapters.openai_failures import backend_failed
from router.adapters.openai_shapes import Progress, generation_body
from router.answer import AttemptOutcome, BackendFailed, Chunk
from router.request import RouteRequest, Tier
from servicekit.deadline import Deadline

CONNECT_SECONDS_MAX = 3.0
TRAILER_SECONDS_MAX = 1.0
"""How long the usage may come after the finish reason before the answer goes out without it."""

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


@dataclass(frozen=True)
class Place:
    """What the router knows of a backend: its name, its tier, its share of the tier's requests, and its limits."""

    name: str
    tier: Tier
    weight: float
    context_window: int
    max_output_tokens: int


class OpenAIBackend:
    """One endpoint as a backend; `close` it at the end."""

    def __init__(self, place: Place, endpoint: Endpoint, headers: Headers = dict) -> None:
        self.name = place.name
        self.tier = place.tier
        self.weight = place.weight
        self.context_window = place.context_window
        self.max_output_tokens = place.max_output_tokens
        self.model = endpoint.model
        self._endpoint = endpoint
        self._headers = headers
        self._client = connect(endpoint)

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.name}: {self._endpoint})"

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def models(self, deadline: Deadline) -> list[str]:
        """Names of the models the endpoint lists: a call that costs nothing. Raises BackendFailed."""
        try:
            async with asyncio.timeout(deadline.remaining()):
                page = await self._client.models.list(timeout=deadline.remaining())
        except (openai.OpenAIError, TimeoutError, OSError, ValueError) as error:
            raise backend_failed(error, started=False) from error
        listed = getattr(page, "data", None)
        if not isinstance(listed, list):
            raise BackendFailed(AttemptOutcome.BACKEND_ERROR, "not a list of models")
        return [str(getattr(model, "id", "")) for model in listed]

    async def stream(
        self, request: RouteRequest, max_output_tokens: int, deadline: Deadline
    ) -> AsyncGenerator[Chunk, None]:
        """Yields the answer in pieces, the last one with the finish reason. Raises BackendFailed.

        Leaving the iteration early, by `aclose` or by cancellation, closes the HTTP stream.
        """
        progress = Progress()
        stream = None
        try:
            async with asyncio.timeout(deadline.remaining()):
                stream = await self._open(request, max_output_tokens, deadline)
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
        self, request: RouteRequest, max_output_tokens: int, deadline: Deadline
    ) -> openai.AsyncStream[ChatCompletionChunk]:
        remaining = deadline.remaining()
        fields: Any = {
            "model": self.model,
            "messages": [{"role": message.role.value, "content": message.content} for message in request.messages],
            "stream_options": {"include_usage": True},
            "timeout": openai.Timeout(remaining, connect=min(remaining, CONNECT_SECONDS_MAX)),
            "extra_headers": dict(self._headers()),
        }
        fields |= {self._endpoint.max_tokens_field: max_output_tokens} | generation_body(request.generation)
        stream: openai.AsyncStream[ChatCompletionChunk] = await self._client.chat.completions.create(
            stream=True, **fields
        )
        return stream


async def _next(stream: Any, progress: Progress, deadline: Deadline) -> Chunk | None:
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
