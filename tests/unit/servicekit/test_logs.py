"""Log lines are whole, joined to their traces, and hold no prompt."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from servicekit.logs import set_up_logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the lines go; the logging set-up before is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    out = io.StringIO()
    set_up_logs("svc", stream=out)
    yield out
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_the_ids_of_its_span(stream: io.StringIO) -> None:
    """From a line to its trace in one search."""
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("t").start_as_current_span("s") as span:
        structlog.get_logger("x").info("hello", count=3)
    (line,) = lines(stream)
    assert line["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert (line["event"], line["count"], line["service"], line["level"]) == ("hello", 3, "svc", "info")


def test_control_characters_are_made_visible(stream: io.StringIO) -> None:
    """Nobody forges a line or moves a terminal's cursor."""
    structlog.get_logger("x").info("a\nb", name="\x1b[2J\u2028\u202e", many=["\r"])
    (line,) = lines(stream)
    assert line["event"] == "a\\u000ab"
    assert line["name"] == "\\u001b[2J\\u2028\\u202e"
    assert line["many"] == ["\\u000d"]


def test_an_exceptions_text_is_not_written_but_its_places_are(stream: io.StringIO) -> None:
    """Texts quote prompts; the standard library's records go the same way."""
    try:
        try:
            raise ValueError("prompt text")  # noqa: TRY301 - the cause of the other
        except ValueError as error:
            raise RuntimeError("more prompt text") from error
    except RuntimeError:
        logging.getLogger("y").exception("failed")
        structlog.get_logger("x").exception("failed")
    first, second = lines(stream)
    assert "prompt text" not in stream.getvalue()
    assert first["exception"][-1] == "RuntimeError"
    assert second["exception"] == first["exception"]
    assert any("test_logs.py" in each for each in first["exception"])
