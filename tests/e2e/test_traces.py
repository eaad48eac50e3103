"""One tree of spans from the caller through Envoy, router, Envoy and analyzer to the backend."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from tests.support.local_stack import BIN, LocalStack

pytestmark = pytest.mark.e2e

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


@pytest.mark.parametrize("front", ["json", "router"], ids=["through Envoy", "straight to the router"])
def test_a_request_is_one_tree(stack: LocalStack, front: str) -> None:
    """One root, no orphan, each hop the child of the hop before, the analyzer's stages inside its span."""
    request_id = f"trace-{front}"
    answer = route(stack.document[front], f"Name a colour, please ({front}).", request_id)
    spans = trace_of(stack, request_id)
    assert {span["trace_id"] for span in spans} == {answer.trace_id}
    ids = {span["span_id"] for span in spans}
    assert len([span for span in spans if not span["parent_id"]]) == 1
    assert [span["name"] for span in spans if span["parent_id"] and span["parent_id"] not in ids] == []

    analyzer = named(spans, "AnalyzePrompt")
    above = [(span["service"], span["name"].partition(" ")[0]) for span in ancestors(analyzer, spans)]
    expected = [
        ("tinyroute-envoy", "envoy"),
        ("tinyroute-envoy", "envoy"),
        ("tinyroute-router", "rung"),
        ("tinyroute-router", "analysis"),
        ("tinyroute-router", "Route"),
    ]
    assert above[: len(expected)] == expected
    inside = {span["name"] for span in spans if span["parent_id"] == analyzer["span_id"]}
    assert {"queue", "tokenize", "forward"} <= inside
    root = named(spans, "Route")
    parts = {span["name"].partition(" ")[0] for span in spans if span["parent_id"] == root["span_id"]}
    assert {"analysis", "plan", "chat", "settle"} <= parts


def test_a_callers_trace_goes_on(stack: LocalStack) -> None:
    """The traceparent of the caller is the root's parent."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = {"request_id": "trace-caller", "messages": [{"role": "ROLE_USER", "content": "Name a city."}]}
    header = f"traceparent: 00-{trace_id}-00f067aa0ba902b7-01"
    command = ["curl", "-sS", "-H", header, "-d", json.dumps(body), f"http://{stack.document['json']}/v1/decide"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)
    assert answer["trace_id"] == trace_id
    spans = trace_of(stack, "trace-caller")
    assert [span["name"] for span in spans if span["parent_id"] == "00f067aa0ba902b7"] == ["envoy /v1/decide"]


def test_the_terminal_shows_the_waterfall(stack: LocalStack, tmp_path: Path) -> None:
    """`router trace` finds the request by its id."""
    route(stack.document["router"], "Name a river.", "trace-terminal")
    command = [BIN / "router", "trace", "trace-terminal", "--receiver", stack.document["ui"]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("Route", "analysis", "AnalyzePrompt", "forward", "settle"):
        assert word in done.stdout


def test_no_prompt_and_no_answer_is_in_any_span_or_log(stack: LocalStack) -> None:
    """Unless switched on, which this stack has not."""
    canary = "zebracanary"
    answer = route(stack.document["json"], f"Repeat after me: {canary}", "trace-canary")
    spans = json.dumps(trace_of(stack, "trace-canary"))
    assert canary not in spans
    assert answer.text.strip() not in spans
    for process in stack.document["processes"]:
        if process["role"] != "model_server":
            assert canary not in Path(process["log"]).read_text(errors="replace")
