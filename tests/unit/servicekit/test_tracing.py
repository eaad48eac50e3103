"""One trace goes through a call's two sides, and a refused call is traced with its real status."""

# ruff: noqa: N802, ARG002 - a servicer's methods are named and called by gRPC

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc
from tinyroute.prompt.v1 import prompt_pb2

from servicekit.errors import InvalidArgument, Unavailable
from servicekit.health import HealthServicer
from servicekit.interceptors import RequestInterceptor
from servicekit.serving import bind, create_server
from servicekit.tracing import (
    TracingClientInterceptor,
    TracingServerInterceptor,
    TracingStreamClientInterceptor,
    context_from,
)
from servicekit.validation import MessageValidator

REQUEST = analyzer_pb2.AnalyzePromptRequest(messages=[prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content="hello")])


class Servicer(analyzer_pb2_grpc.AnalyzerServiceServicer):
    """Does whatever the test says."""

    def __init__(self, behaviour: Callable[[], Any]) -> None:
        self.behaviour = behaviour

    async def AnalyzePrompt(self, request: Any, context: Any) -> Any:
        """Answers, or raises, what the behaviour does."""
        await self.behaviour()
        return analyzer_pb2.AnalyzePromptResponse()


@dataclass
class Pair:
    """A channel, and the spans of both its ends."""

    channel: Any
    exporter: InMemorySpanExporter

    def span(self, kind: SpanKind) -> ReadableSpan:
        """The only span of a kind."""
        (found,) = [span for span in self.exporter.get_finished_spans() if span.kind is kind]
        return found

    async def call(self) -> Any:
        """Makes one call."""
        return await analyzer_pb2_grpc.AnalyzerServiceStub(self.channel).AnalyzePrompt(REQUEST, timeout=5)


@asynccontextmanager
async def traced(behaviour: Callable[[], Any]) -> AsyncIterator[Pair]:
    """A traced server behind a traced channel."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer, meter = provider.get_tracer("test"), NoOpMeterProvider().get_meter("test")
    server = create_server([TracingServerInterceptor(tracer, meter), RequestInterceptor(MessageValidator())])
    analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(Servicer(behaviour), server)
    HealthServicer([]).add_to(server)
    port = bind(server, "127.0.0.1", 0)
    await server.start()
    interceptors = [TracingClientInterceptor(tracer), TracingStreamClientInterceptor(tracer)]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
            yield Pair(channel, exporter)
    finally:
        await server.stop(None)
        provider.shutdown()


async def nothing() -> None:
    """Succeeds."""


async def test_both_sides_are_one_trace_and_the_handler_runs_inside_it() -> None:
    """The server's span is the client's child, and current in the handler."""
    seen = []

    async def behaviour() -> None:
        seen.append(get_current_span().get_span_context().span_id)

    async with traced(behaviour) as pair:
        await pair.call()
        client, server = pair.span(SpanKind.CLIENT), pair.span(SpanKind.SERVER)
    assert server.name == client.name == "AnalyzePrompt"
    assert server.parent is not None
    assert client.context is not None
    assert server.context is not None
    assert server.parent.span_id == client.context.span_id
    assert seen == [server.context.span_id]
    assert server.attributes is not None
    assert server.attributes["rpc.method"] == "tinyroute.analyzer.v1.AnalyzerService/AnalyzePrompt"
    assert server.attributes["rpc.response.status_code"] == "OK"


@pytest.mark.parametrize(
    ("raised", "code", "server_status"),
    [
        (InvalidArgument("BAD", "Bad."), "INVALID_ARGUMENT", StatusCode.UNSET),
        (Unavailable("GONE", "Gone."), "UNAVAILABLE", StatusCode.ERROR),
        (RuntimeError("bug"), "INTERNAL", StatusCode.ERROR),
    ],
)
async def test_a_failed_call_is_traced_with_its_status(raised: Exception, code: str, server_status: StatusCode) -> None:
    """What is the caller's fault is no error of the server."""

    async def behaviour() -> None:
        raise raised

    async with traced(behaviour) as pair:
        with pytest.raises(grpc.aio.AioRpcError):
            await pair.call()
        client, server = pair.span(SpanKind.CLIENT), pair.span(SpanKind.SERVER)
    assert server.attributes is not None
    assert client.attributes is not None
    assert server.attributes["rpc.response.status_code"] == code
    assert client.attributes["rpc.response.status_code"] == code
    assert server.status.status_code is server_status
    assert client.status.status_code is StatusCode.ERROR


async def test_a_cancelled_call_ends_both_spans() -> None:
    """And the handler below them."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def behaviour() -> None:
        started.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    async with traced(behaviour) as pair:
        calling = asyncio.create_task(pair.call())
        await asyncio.wait_for(started.wait(), 5)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.wait_for(ended.wait(), 5)
        await asyncio.sleep(0.05)
        for kind in (SpanKind.CLIENT, SpanKind.SERVER):
            attributes = pair.span(kind).attributes
            assert attributes is not None
            assert attributes["rpc.response.status_code"] == "CANCELLED"


async def test_health_checks_make_no_server_spans_and_watches_are_streams() -> None:
    """A probe a second would drown everything else; a stream's client span ends with it."""
    async with traced(nothing) as pair:
        stub = health_pb2_grpc.HealthStub(pair.channel)
        await stub.Check(health_pb2.HealthCheckRequest())
        call = stub.Watch(health_pb2.HealthCheckRequest(), timeout=0.2)
        states = []
        with pytest.raises(grpc.aio.AioRpcError):  # noqa: PT012 - the error comes after the first
            async for state in call:
                states.append(state.status)  # noqa: PERF401
        await asyncio.sleep(0.05)
        spans = pair.exporter.get_finished_spans()
    assert states == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert sorted((span.name, span.kind) for span in spans) == [("Check", SpanKind.CLIENT), ("Watch", SpanKind.CLIENT)]


def test_malformed_trace_context_starts_a_new_trace() -> None:
    """A caller can't break a request by it."""
    assert not get_current_span(context_from([("traceparent", "00-zz-1-01")])).get_span_context().is_valid
