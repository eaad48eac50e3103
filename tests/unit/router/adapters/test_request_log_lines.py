"""The log as a file: one line of JSON a request, whatever callers put into their names."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from router.adapters.request_log import RequestLog
from router.fakes import a_request
from router.observer import Refused, Settled
from router.records import RequestRecord
from servicekit.logs import set_up_logs

EVIL = 'r"\n{"event": "forged"}\r\x1b[31mred\x00\x85\u2028\u202e'
RECORD = RequestRecord(request_id="r", tenant="local", rpc="Route", time="2026-11-23T00:00:00+00:00", status="OK")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is written, as a file would have it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    set_up_logs("tinyroute-router", stream=stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("status", ["OK", "CANCELLED", "UNAVAILABLE"])
def test_however_a_request_ends_it_is_one_line(status: str, log: io.StringIO) -> None:
    """Of JSON, with what tells it from others."""
    RequestLog().settled(Settled(replace(RECORD, status=status, reason="" if status == "OK" else "R"), kept=True))
    (line,) = log.getvalue().splitlines()
    assert json.loads(line)["request_id"] == "r"


def test_a_refused_request_is_no_line_at_all(log: io.StringIO) -> None:
    """A flood does not flood the log; the metrics count it."""
    RequestLog().refused(Refused(a_request(), "OVERLOADED"))
    assert log.getvalue() == ""


def test_nobody_forges_a_line_or_moves_a_terminals_cursor(log: io.StringIO) -> None:
    """Control characters, line separators and changes of direction are written as escapes."""
    evil = replace(RECORD, request_id=EVIL, tenant=EVIL, backend=EVIL, reason=EVIL, status=EVIL)
    RequestLog().settled(Settled(evil, kept=True))
    written = log.getvalue()
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1
    assert all(character.isprintable() for character in written[:-1])
    assert json.loads(written)["event"] == "request"
    assert "forged" in json.loads(written)["request_id"]
