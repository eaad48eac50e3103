"""Traces of a running stack, as its receiver has them."""

import json
import time
from typing import Any
from urllib.request import urlopen

import grpc
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from tests.support.local_stack import LocalStack

Span = dict[str, Any]
SETTLED_AFTER_SECONDS = 2.0
"""Every process sends its spans within half a second."""


def trace_of(stack: LocalStack, request_id: str) -> list[Span]:
    """Returns the spans of a request once no more have come for a while."""
    address = f"http://{stack.document['ui']}/api/traces?request_id={request_id}"
    deadline, count, since = time.monotonic() + 30, 0, time.monotonic()
    while time.monotonic() < deadline:
        with urlopen(address, timeout=5) as answer:
            traces = json.load(answer)["traces"]
        spans: list[Span] = traces[0]["spans"] if traces else []
        if len(spans) != count:
            count, since = len(spans), time.monotonic()
        elif spans and time.monotonic() - since > SETTLED_AFTER_SECONDS:
            assert len(traces) == 1, "one request is one trace"
            return spans
        time.sleep(0.2)
    raise AssertionError(f"no settled trace of {request_id}: {count} spans")


def ancestors(span: Span, spans: list[Span]) -> list[Span]:
    """Returns a span's parents, the nearest first."""
    by_id = {each["span_id"]: each for each in spans}
    found = []
    while span["parent_id"]:
        span = by_id[span["parent_id"]]
        found.append(span)
    return found


def roots(spans: list[Span]) -> list[Span]:
    """Returns the spans without a parent."""
    return [span for span in spans if not span["parent_id"]]


def orphans(spans: list[Span]) -> list[str]:
    """Returns the names of spans whose parent is not there."""
    ids = {span["span_id"] for span in spans}
    return [span["name"] for span in spans if span["parent_id"] and span["parent_id"] not in ids]


def children(span: Span, spans: list[Span]) -> list[Span]:
    """Returns the spans right below one."""
    return [each for each in spans if each["parent_id"] == span["span_id"]]


def covered(span: Span, spans: list[Span]) -> float:
    """Returns which share of a span's time its children account for, time that they share counted once."""
    total, reached = 0, span["start_ns"]
    for child in sorted(children(span, spans), key=lambda each: each["start_ns"]):
        start, end = max(child["start_ns"], reached), min(child["end_ns"], span["end_ns"])
        total += max(0, end - start)
        reached = max(reached, end)
    return total / (span["end_ns"] - span["start_ns"])


def named(spans: list[Span], beginning: str) -> Span:
    """Returns the one span whose name begins so."""
    (found,) = (span for span in spans if span["name"].startswith(beginning))
    return found


def route(address: str, text: str, request_id: str, **settings: Any) -> router_pb2.RouteResponse:
    """Makes one call over gRPC."""
    request = router_pb2.RouteRequest(
        request_id=request_id,
        messages=[prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content=text)],
        generation=router_pb2.GenerationSettings(max_output_tokens=8),
        **settings,
    )
    with grpc.insecure_channel(address) as channel:
        answer: router_pb2.RouteResponse = router_pb2_grpc.RouterServiceStub(channel).Route(request, timeout=60)
    return answer
