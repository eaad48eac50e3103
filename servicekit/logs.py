"""Logs: one JSON object a line with trace and span ids; colours and columns when a person watches.

Nothing that may hold a prompt is written: of an exception its types and code lines, not its text, unless switched on.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from opentelemetry.trace import get_current_span

Event = MutableMapping[str, Any]

# C0 and C1 controls, DEL, and the characters that some viewers take for a line break or a change of direction.
_ISOLATES = range(0x2066, 0x206A)
_ESCAPES = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x061C,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    )
}


def set_up_logs(service: str, *, level: str = "INFO", stream: TextIO | None = None, with_texts: bool = False) -> None:
    """Sends structlog's and the standard library's records to stderr (or `stream`).

    `with_texts` adds the texts of exceptions, which may quote prompts.
    """
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _service_adder(service),
        add_trace_ids,
        _exception_adder(with_texts=with_texts),
        escape_controls,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if out.isatty() else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def add_trace_ids(_logger: Any, _name: str, event: Event) -> Event:
    """Adds the ids of the current span, by which a line is found from its trace and back."""
    span = get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = f"{span.trace_id:032x}"
        event["span_id"] = f"{span.span_id:016x}"
    return event


def escape_controls(_logger: Any, _name: str, event: Event) -> Event:
    """Makes control characters visible: text from outside can't forge a line or move a terminal's cursor."""
    return {key: _escaped(value) for key, value in event.items()}


def exception_lines(error: BaseException, *, with_texts: bool = False) -> list[str]:
    """Returns types and places of an exception and its causes, outermost last; its texts only when asked for."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        told = f"{type(current).__qualname__}: {current}" if with_texts else type(current).__qualname__
        frames = [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_tb(current.__traceback__)]
        lines = [*frames, told, *lines] if not lines else [*frames, told, "then", *lines]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


def _exception_adder(*, with_texts: bool) -> Any:
    def add_exception(_logger: Any, _name: str, event: Event) -> Event:
        info = event.pop("exc_info", None)
        if info is True:
            info = sys.exc_info()
        error = info[1] if isinstance(info, tuple) else info
        if isinstance(error, BaseException):
            event["exception"] = exception_lines(error, with_texts=with_texts)
        return event

    return add_exception


def _service_adder(service: str) -> Any:
    def add_service(_logger: Any, _name: str, event: Event) -> Event:
        event["service"] = service
        return event

    return add_service


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    if isinstance(value, dict):
        return {_escaped(key): _escaped(each) for key, each in value.items()}
    return value
