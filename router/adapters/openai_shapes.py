"""What the OpenAI chat completions API says, in the core's terms. The client library checks no shapes, so this does."""

import json
from typing import Any

from router.answer import AttemptOutcome, BackendFailed, Chunk, FinishReason, Usage
from router.request import Generation, ResponseFormatType

INT32_END = 2**31
"""Counts travel as int32 in our own contract."""

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "tool_calls": FinishReason.STOP,
    "function_call": FinishReason.STOP,
}


class Progress:
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


def generation_body(generation: Generation) -> dict[str, Any]:
    """The request's fields for these settings, all but the answer's length; what is unset is not sent."""
    fields: dict[str, Any] = {
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
