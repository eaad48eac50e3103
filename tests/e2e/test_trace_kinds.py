"""The tree of spans is whole whatever becomes of a request: a stream, a cache hit, a fallback, a refusal, a cancel."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from tests.support.decisions import user_message
from tests.support.local_stack import LocalStack
from tests.support.router_process import router_process
from tests.support.stack_traces import Span, children, covered, named, orphans, roots, route, trace_of

pytestmark = pytest.mark.e2e

NAMED_SHARE = 0.9


def whole(spans: list[Span]) -> Span:
    """Checks that spans are one tree, and returns the router's span in it."""
    assert len(roots(spans)) == 1
    assert orphans(spans) == []
    return next(span for span in spans if span["name"] in {"Route", "StreamRoute", "Decide"})


def post(stack: LocalStack, path: str, body: dict[str, Any]) -> str:
    """Makes one call in JSON."""
    command = ["curl", "-sS", "-m", "60", "-d", json.dumps(body), f"http://{stack.document['json']}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def body(text: str, request_id: str) -> dict[str, Any]:
    """A request in JSON."""
    message = {"role": "ROLE_USER", "content": text}
    return {"request_id": request_id, "messages": [message], "generation": {"max_output_tokens": 24}}


def test_named_spans_account_for_the_time(stack: LocalStack) -> None:
    """Of the root, which is Envoy's, and of the router's own span: nothing long happens without a name."""
    post(stack, "/v1/route", body("Write two sentences about tea.", "kind-covered"))
    spans = trace_of(stack, "kind-covered")
    router = whole(spans)
    (root,) = roots(spans)
    assert covered(root, spans) >= NAMED_SHARE
    assert covered(router, spans) >= NAMED_SHARE


def test_a_stream_is_one_tree(stack: LocalStack) -> None:
    """Its router span lasts as long as the stream; the backend's call tells its first token."""
    post(stack, "/v1/route:stream", body("Write two sentences about rain.", "kind-stream"))
    spans = trace_of(stack, "kind-stream")
    router = whole(spans)
    chat = named(spans, "chat")
    assert chat["parent_id"] == router["span_id"]
    assert [event["name"] for event in chat["events"]] == ["first_token"]
    assert covered(router, spans) >= NAMED_SHARE


def test_a_cache_hit_has_no_forward_pass_and_says_where_it_comes_from(stack: LocalStack) -> None:
    """The second of two equal prompts."""
    for number in (1, 2):
        post(stack, "/v1/decide", body("Which cache does this come from?", f"kind-cache-{number}"))
    spans = trace_of(stack, "kind-cache-2")
    whole(spans)
    analyzer = named(spans, "AnalyzePrompt")
    assert analyzer["attributes"]["tinyroute.analysis.source"] == "cache_exact"
    assert named(spans, "rung")["attributes"]["tinyroute.analysis.source"] == "CACHE_EXACT"
    assert {"queue", "forward"} & {span["name"] for span in spans} == set()


def test_a_fallback_shows_the_failed_rung_beside_what_came_instead(stack: LocalStack, tmp_path: Path) -> None:
    """A router whose analyzers are not there."""
    receiver = receiver_of(stack)
    environment = {"TINYROUTE_ROUTER__ANALYZER__TARGET": "127.0.0.1:9", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver}
    with router_process(stack, tmp_path, environment) as address:
        route(address, "Name a mountain.", "kind-fallback")
    spans = trace_of(stack, "kind-fallback")
    whole(spans)
    failed = named(spans, "rung self_hosted")
    assert failed["status"] == "ERROR"
    assert failed["attributes"]["tinyroute.rung.skip_reason"] == "UNAVAILABLE"
    assert named(spans, "rung cloud_tiny")["parent_id"] == failed["parent_id"]
    assert named(spans, "chat")["attributes"]["tinyroute.attempt.outcome"] == "ANSWERED"


def test_a_refused_call_does_not_look_well(stack: LocalStack) -> None:
    """No tier costs so little: the router's span has the status, the reason and no backend below it."""
    constraints = router_pb2.Constraints(max_cost_micros=0)
    with pytest.raises(grpc.RpcError) as refused:
        route(stack.document["router"], "Name a lake.", "kind-refused", constraints=constraints)
    code = refused.value.code()  # type: ignore[attr-defined]  # a failed call is an error and a call
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    spans = trace_of(stack, "kind-refused")
    router = whole(spans)
    assert router["attributes"]["rpc.response.status_code"] == "FAILED_PRECONDITION"
    assert router["attributes"]["tinyroute.reason"] == "NO_TIER_ALLOWED"
    assert [span["name"] for span in children(router, spans) if span["name"].startswith("chat")] == []


def test_a_cancelled_call_ends_every_span_below_it(stack: LocalStack) -> None:
    """The caller goes away while the backend talks."""
    request = router_pb2.StreamRouteRequest(
        request_id="kind-cancelled",
        messages=user_message("Write a very long story about a lighthouse."),
        generation=router_pb2.GenerationSettings(max_output_tokens=400),
    )
    with grpc.insecure_channel(stack.document["router"]) as channel:
        call = router_pb2_grpc.RouterServiceStub(channel).StreamRoute(request, timeout=60)
        next(call)
        next(call)
        call.cancel()
        time.sleep(0.5)
    spans = trace_of(stack, "kind-cancelled")
    router = whole(spans)
    assert router["attributes"]["rpc.response.status_code"] == "CANCELLED"
    assert named(spans, "chat")["attributes"]["tinyroute.attempt.outcome"] == "CANCELLED"
    assert named(spans, "settle")["parent_id"] == router["span_id"]
    lines = [line for line in stack.log("router").splitlines() if "kind-cancelled" in line]
    assert len(lines) == 1


def receiver_of(stack: LocalStack) -> str:
    """Where the stack's receiver takes OTLP over gRPC: the port before that of its page."""
    host, port = stack.document["ui"].split(":")
    return f"http://{host}:{int(port) - 1}"
