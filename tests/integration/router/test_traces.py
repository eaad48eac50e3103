"""The span tree of whole requests, as a real OTLP receiver gets it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.router.v1 import router_pb2

from deploy.local.telemetry_sink import grpc_receiver
from deploy.local.traces import TraceStore
from tests.support.fake_analyzer import FakeAnalyzer, refusal
from tests.support.fake_openai import FakeOpenAI, Reply, status
from tests.support.free_ports import free_port_base
from tests.support.holding import until
from tests.support.running_router import Running, asking, configuration, running_router, said

CALLER_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"
METADATA = (("traceparent", f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"),)
CLOUD_LATENCY = 0.4
CANARY = "canary-6f1d"

Span = dict[str, Any]


@dataclass
class Watched:
    """A router, what it leans on, and the receiver of its spans."""

    router: Running
    analyzer: FakeAnalyzer
    model: FakeOpenAI


class Traces:
    """Spans that were received, by the time the router has stopped."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    def of_caller(self) -> list[Span]:
        """The trace that the caller began."""
        return self._store.get(CALLER_TRACE) or []

    def everything(self) -> str:
        """All spans as text."""
        return repr([self._store.get(each["trace_id"]) for each in self._store.summaries(1000)])


def tree(spans: list[Span]) -> list[str]:
    """Each span as the path of names from its root, in order of start."""
    by_id = {span["span_id"]: span for span in spans}

    def path(span: Span) -> str:
        above = by_id.get(span["parent_id"])
        return f"{path(above)}/{span['name']}" if above else span["name"]

    return [path(span) for span in sorted(spans, key=lambda each: each["start_ns"])]


def one(spans: list[Span], name: str) -> Span:
    """The span of that name."""
    (found,) = (span for span in spans if span["name"] == name)
    return found


@asynccontextmanager
async def watched(folder: Path, traces: TraceStore, *script: Reply, **changes: Any) -> AsyncIterator[Watched]:
    """All of it, while entered; leaving sends the last spans."""
    port = free_port_base(1)
    receiver = grpc_receiver(traces, port)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_METRICS_EXPORTER": "none"}
    try:
        async with FakeAnalyzer() as analyzer, FakeOpenAI(*script) as model:
            made = configuration(folder, analyzer.target, model.base_url, changes)
            async with running_router(folder, made, environment) as router:
                yield Watched(router, analyzer, model)
    finally:
        receiver.stop(grace=None)


async def test_one_request_is_one_tree(tmp_path: Path) -> None:
    """Below the caller's span, with what explains the choice."""
    store = TraceStore()
    async with watched(tmp_path, store, Reply(("Four",), first_token_after=0.05)) as world:
        response = await world.router.stub.Route(asking(request_id="r-1"), metadata=METADATA)
    assert response.trace_id == CALLER_TRACE
    spans = Traces(store).of_caller()
    assert tree(spans) == [
        "Route",
        "Route/analysis",
        "Route/analysis/rung self_hosted",
        "Route/plan",
        "Route/chat small-model",
        "Route/settle",
    ]
    root = one(spans, "Route")
    assert root["parent_id"] == CALLER_SPAN
    told = root["attributes"]
    assert told["tinyroute.request_id"] == "r-1"
    assert told["tinyroute.tier"] == "SMALL"
    assert told["tinyroute.cause"] == "QUALITY_TARGET"
    assert told["tinyroute.cost_micros"] == 15
    assert told["tinyroute.saved_micros"] == 1485
    assert told["tinyroute.ledger.kept"] is True
    assert covered(spans) > 0.9


def covered(spans: list[Span]) -> float:
    """Share of the root's time that its children account for."""
    root = one(spans, "Route")
    children = [span for span in spans if span["parent_id"] == root["span_id"]]
    return sum(span["end_ns"] - span["start_ns"] for span in children) / (root["end_ns"] - root["start_ns"])


async def test_the_analyzer_is_called_from_its_rungs_span(tmp_path: Path) -> None:
    """So that Envoy's and the analyzer's spans hang below it."""
    store = TraceStore()
    async with watched(tmp_path, store) as world:
        await world.router.stub.Decide(router_pb2.DecideRequest(messages=said("x")), metadata=METADATA)
        _, metadata = world.analyzer.seen[0]
    rung = one(Traces(store).of_caller(), "rung self_hosted")
    assert metadata["traceparent"] == f"00-{CALLER_TRACE}-{rung['span_id']}-01"
    assert rung["kind"] == "CLIENT"
    assert rung["attributes"]["tinyroute.analysis.source"] == "MODEL"
    assert 0 < rung["attributes"]["tinyroute.budget.remaining_ms"] <= 1000


async def test_the_backend_is_called_from_its_attempts_span(tmp_path: Path) -> None:
    """With the names of the GenAI conventions and the event of the first token."""
    store = TraceStore()
    async with watched(tmp_path, store, Reply(("Four",))) as world:
        await world.router.stub.Route(asking(), metadata=METADATA)
        sent = world.model.seen[0].headers["traceparent"]
    chat = one(Traces(store).of_caller(), "chat small-model")
    assert sent == f"00-{CALLER_TRACE}-{chat['span_id']}-01"
    told = chat["attributes"]
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "small-model"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (11, 2)
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert [event["name"] for event in chat["events"]] == ["first_token"]


async def test_a_fallback_shows_each_rung_and_each_attempt(tmp_path: Path) -> None:
    """Failed spans are marked so, skipped rungs have their reason."""
    store = TraceStore()
    async with watched(tmp_path, store, status(500), Reply(("Five",))) as world:
        world.analyzer.answer = refusal(grpc.StatusCode.UNAVAILABLE)
        await world.router.stub.Route(asking(), metadata=METADATA)
    spans = Traces(store).of_caller()
    assert tree(spans) == [
        "Route",
        "Route/analysis",
        "Route/analysis/rung self_hosted",
        "Route/analysis/rung cloud_tiny",
        "Route/plan",
        "Route/chat medium-model",
        "Route/chat large-model",
        "Route/settle",
    ]
    assert one(spans, "rung self_hosted")["status"] == "ERROR"
    assert one(spans, "rung self_hosted")["attributes"]["tinyroute.rung.skip_reason"] == "UNAVAILABLE"
    assert one(spans, "rung cloud_tiny")["attributes"]["tinyroute.rung.skip_reason"] == "DISABLED"
    assert one(spans, "chat medium-model")["attributes"]["tinyroute.attempt.outcome"] == "BACKEND_ERROR"
    assert one(spans, "chat medium-model")["status"] == "ERROR"
    assert one(spans, "Route")["attributes"]["tinyroute.fail_open"] is True


async def test_the_cloud_rung_is_a_sibling_of_the_one_it_stands_in_for(tmp_path: Path) -> None:
    """And the cloud's call carries the trace."""
    store = TraceStore()
    async with FakeOpenAI(Reply(("5",)), latency=CLOUD_LATENCY) as cloud:
        changes = {"cloud_analysis": {"enabled": True, "base_url": cloud.base_url, "model": "cloud-tiny"}}
        async with watched(tmp_path, store, **changes) as world:
            world.analyzer.answer = refusal(grpc.StatusCode.UNAVAILABLE)
            await world.router.stub.Decide(router_pb2.DecideRequest(messages=said("x")), metadata=METADATA)
    spans = Traces(store).of_caller()
    rung = one(spans, "rung cloud_tiny")
    assert rung["parent_id"] == one(spans, "analysis")["span_id"] == one(spans, "rung self_hosted")["parent_id"]
    assert cloud.seen[0].headers["traceparent"].split("-")[2] == rung["span_id"]
    assert rung["end_ns"] - rung["start_ns"] > CLOUD_LATENCY * 0.9e9


async def test_a_stream_is_the_same_tree(tmp_path: Path) -> None:
    """However slowly its caller reads."""
    store = TraceStore()
    async with watched(tmp_path, store, Reply(("a", "b"))) as world:
        request = router_pb2.StreamRouteRequest(messages=said("x"))
        async for _ in world.router.stub.StreamRoute(request, metadata=METADATA):
            await asyncio.sleep(0.02)
    spans = Traces(store).of_caller()
    assert [path.partition("/")[2] for path in tree(spans)] == [
        "",
        "analysis",
        "analysis/rung self_hosted",
        "plan",
        "chat small-model",
        "settle",
    ]


async def test_a_cancelled_call_is_marked_so(tmp_path: Path) -> None:
    """Its attempt too."""
    store = TraceStore()
    async with watched(tmp_path, store, Reply(first_token_after=30)) as world:
        call = world.router.stub.Route(asking(), metadata=METADATA)
        await until(lambda: bool(world.model.seen))
        call.cancel()
        await asyncio.sleep(0.2)
    spans = Traces(store).of_caller()
    assert one(spans, "chat small-model")["attributes"]["tinyroute.attempt.outcome"] == "CANCELLED"
    assert one(spans, "Route")["attributes"]["rpc.response.status_code"] == "CANCELLED"
    assert one(spans, "settle")["parent_id"] == one(spans, "Route")["span_id"]


async def test_a_refused_call_has_its_status_on_the_root(tmp_path: Path) -> None:
    """It is not traced as OK."""
    store = TraceStore()
    async with watched(tmp_path, store) as world:
        with pytest.raises(grpc.aio.AioRpcError):
            await world.router.stub.Route(asking(" "), metadata=METADATA)
    (root,) = Traces(store).of_caller()
    assert root["attributes"]["rpc.response.status_code"] == "INVALID_ARGUMENT"


async def test_each_item_of_a_batch_is_a_request_of_its_own(tmp_path: Path) -> None:
    """Below the batch's span."""
    store = TraceStore()

    async def requests() -> AsyncIterator[router_pb2.BatchRouteRequest]:
        for name in ("a", "b"):
            yield router_pb2.BatchRouteRequest(request=asking(request_id=name))

    async with watched(tmp_path, store) as world:
        async for _ in world.router.stub.BatchRoute(requests(), metadata=METADATA):
            pass
    spans = Traces(store).of_caller()
    items = [span for span in spans if span["name"] == "Route"]
    assert {span["attributes"]["tinyroute.request_id"] for span in items} == {"a", "b"}
    assert {span["parent_id"] for span in items} == {one(spans, "BatchRoute")["span_id"]}


async def test_no_text_of_prompt_or_answer_is_in_any_span(tmp_path: Path) -> None:
    """Whatever goes well or wrong."""
    store = TraceStore()
    script = (
        Reply((CANARY,)),
        status(400, error=CANARY),
        Reply(body=b'data: {"error": {"message": "' + CANARY.encode() + b'"}}\n\n'),
        Reply((CANARY,), finish_reason=None),
    )
    async with watched(tmp_path, store, *script) as world:
        for _ in range(4):
            try:
                await world.router.stub.Route(asking(f"Say {CANARY}"), timeout=5)
            except grpc.aio.AioRpcError as error:
                assert CANARY not in str(error.details())  # noqa: PT017 - some fail, none may tell
    assert "chat small-model" in Traces(store).everything()
    assert CANARY not in Traces(store).everything()
    assert not files_with(CANARY, tmp_path)


def files_with(text: str, folder: Path) -> list[str]:
    """Files that hold the text, ledger and spool among them."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_texts_are_on_spans_where_it_is_switched_on_redacted_and_cut(tmp_path: Path) -> None:
    """Opted in, and bounded."""
    store = TraceStore()
    capture = {"capture_content": True, "capture_characters_max": 60}
    async with watched(tmp_path, store, Reply((CANARY, " done")), telemetry=capture) as world:
        await world.router.stub.Route(asking(f"{CANARY} mail ada@example.org or {'x' * 100}"), metadata=METADATA)
    told = one(Traces(store).of_caller(), "chat small-model")["attributes"]
    assert CANARY in told["gen_ai.input.messages"]
    assert "ada@example.org" not in told["gen_ai.input.messages"]
    assert "x" * 60 not in told["gen_ai.input.messages"]
    assert f"{CANARY} done" in told["gen_ai.output.messages"]
