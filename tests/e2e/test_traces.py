"""One tree of spans from the caller through Envoy, router, Envoy and analyzer to the backend."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.local_stack import BIN, LocalStack
from tests.support.stack_traces import ancestors, named, orphans, roots, route, trace_of

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("front", ["json", "router"], ids=["through Envoy", "straight to the router"])
def test_a_request_is_one_tree(stack: LocalStack, front: str) -> None:
    """One root, no orphan, each hop the child of the hop before, the analyzer's stages inside its span."""
    request_id = f"trace-{front}"
    answer = route(stack.document[front], f"Name a colour, please ({front}).", request_id)
    spans = trace_of(stack, request_id)
    assert {span["trace_id"] for span in spans} == {answer.trace_id}
    assert len(roots(spans)) == 1
    assert orphans(spans) == []

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
