"""A canary in prompt and answer: nowhere by default, on the backend's span and cut where an operator asks for it."""

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from deploy.local.ports import StackPorts
from tests.support.local_stack import LocalStack
from tests.support.router_process import router_process
from tests.support.stack_traces import named, route, trace_of

pytestmark = pytest.mark.e2e

CANARY = "quokkacanary"
PROMPT = f"Answer with this one word and nothing else: {CANARY}"
KEPT_CHARACTERS = 60


def pages(stack: LocalStack) -> dict[str, str]:
    """Returns all metrics of all processes of ours."""
    host, front = stack.document["json"].split(":")
    ports = ports_of(stack)
    addresses = {
        "router": f"{ports.router_metrics}/metrics",
        "analyzer-1": f"{ports.first_analyzer_metrics}/metrics",
        "analyzer-2": f"{ports.first_analyzer_metrics + 1}/metrics",
        "envoy": f"{int(front) + 1}/stats/prometheus",
    }
    return {name: urlopen(f"http://{host}:{where}", timeout=10).read().decode() for name, where in addresses.items()}


def ports_of(stack: LocalStack) -> StackPorts:
    """Returns the stack's ports, all of which follow from the first."""
    base = int(stack.document["router"].rpartition(":")[2])
    return StackPorts.starting_at(base)


def test_by_default_no_signal_of_any_process_has_it(stack: LocalStack) -> None:
    """Spans of all services, metrics, logs, ledger."""
    answer = route(stack.document["json"], PROMPT, "privacy-default")
    spans = json.dumps(trace_of(stack, "privacy-default"))
    metrics = pages(stack)
    assert all("# TYPE" in page for page in metrics.values())
    logs = {
        each["log"]: Path(each["log"]).read_text(errors="replace")
        for each in stack.document["processes"]
        if each["role"] != "model_server"
    }
    files = {
        str(path): path.read_bytes().decode(errors="replace")
        for path in (stack.folder / "router").rglob("*")
        if path.is_file()
    }
    told = {"spans": spans, **metrics, **logs, **files}
    for secret in (CANARY, answer.text.strip()[:KEPT_CHARACTERS]):
        assert [name for name, text in told.items() if secret in text] == []


def test_switched_on_it_is_on_the_backends_span_cut(stack: LocalStack, tmp_path: Path) -> None:
    """And in no metric and no log even then."""
    prefix = "TINYROUTE_ROUTER__TELEMETRY__"
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports_of(stack).otlp_grpc}",
        f"{prefix}CAPTURE_CONTENT": "true",
        f"{prefix}CAPTURE_CHARACTERS_MAX": str(KEPT_CHARACTERS),
    }
    with router_process(stack, tmp_path, environment) as address:
        answer = route(address, f"{PROMPT} {'and so on ' * 20}", "privacy-on")
    chat = named(trace_of(stack, "privacy-on"), "chat")
    asked = json.loads(chat["attributes"]["gen_ai.input.messages"])[0]["parts"][0]["content"]
    said = json.loads(chat["attributes"]["gen_ai.output.messages"])[0]["parts"][0]["content"]
    assert asked.startswith(PROMPT[:KEPT_CHARACTERS])
    assert len(asked) == KEPT_CHARACTERS + 1
    assert CANARY in asked
    assert said.rstrip("…") in answer.text
    assert CANARY not in (tmp_path / "router.log").read_text()
