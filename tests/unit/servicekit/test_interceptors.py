"""Every request is parsed and validated inside its handler, and every raised error leaves as one clean status."""

# ruff: noqa: N802, ARG002 - a servicer's methods are named and called by gRPC

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc
from tinyroute.prompt.v1 import prompt_pb2

from servicekit.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unimplemented
from servicekit.health import HealthServicer
from servicekit.interceptors import RequestInterceptor
from servicekit.serving import bind, create_server
from servicekit.status import received_reason, received_status
from servicekit.validation import MessageValidator

SINGLE = "/tinyroute.analyzer.v1.AnalyzerService/AnalyzePrompt"
BATCH = "/tinyroute.analyzer.v1.AnalyzerService/BatchAnalyzePrompts"


class Servicer(analyzer_pb2_grpc.AnalyzerServiceServicer):
    """Does whatever the test says."""

    def __init__(self, behaviour: Callable[[], Any]) -> None:
        self.behaviour = behaviour

    async def AnalyzePrompt(self, request: Any, context: Any) -> Any:
        """Answers, or raises, what the behaviour does."""
        result = self.behaviour()
        return await result if asyncio.iscoroutine(result) else result

    async def BatchAnalyzePrompts(self, request: Any, context: Any) -> Any:
        """Answers as many results as there were requests."""
        return analyzer_pb2.BatchAnalyzePromptsResponse(
            results=[analyzer_pb2.BatchAnalyzeResult() for _ in request.requests]
        )


def answer() -> Any:
    """An answer."""
    return analyzer_pb2.AnalyzePromptResponse(analysis=analyzer_pb2.Analysis(complexity=0.5))


@asynccontextmanager
async def channel_to(behaviour: Callable[[], Any], health: HealthServicer | None = None) -> AsyncIterator[Any]:
    """A channel to a server with the interceptor under test."""
    server = create_server([RequestInterceptor(MessageValidator(), itemwise={BATCH: "requests"})])
    analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(Servicer(behaviour), server)
    (health or HealthServicer(["tinyroute.analyzer.v1.AnalyzerService"])).add_to(server)
    port = bind(server, "127.0.0.1", 0)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


def prompt(role: int = prompt_pb2.ROLE_USER, content: str = "hello") -> Any:
    """A request of one message."""
    return analyzer_pb2.AnalyzePromptRequest(messages=[prompt_pb2.Message(role=role, content=content)])


async def failure(channel: Any, request: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await analyzer_pb2_grpc.AnalyzerServiceStub(channel).AnalyzePrompt(request, timeout=5)
    return caught.value


def details(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """The first detail of a kind."""
    for each in received_status(error).details:
        found = kind()
        if each.Unpack(found):
            return found
    pytest.fail(f"no {kind.__name__} in {received_status(error)}")


async def test_a_good_request_reaches_its_handler() -> None:
    """The wrapper is transparent."""
    async with channel_to(answer) as channel:
        response = await analyzer_pb2_grpc.AnalyzerServiceStub(channel).AnalyzePrompt(prompt())
    assert response.analysis.complexity == 0.5


async def test_an_unparsable_message_is_the_callers_fault() -> None:
    """UNKNOWN would count against the host."""
    async with channel_to(answer) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(SINGLE)(b"\xff\xff\xff\xff", timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert received_reason(caught.value) == "UNPARSABLE_MESSAGE"


async def test_a_broken_rule_names_the_field() -> None:
    """Paths read as callers write them."""
    async with channel_to(answer) as channel:
        error = await failure(channel, prompt(role=0))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error, error_details_pb2.BadRequest).field_violations[0].field == "messages[0].role"
    assert "messages[0].role" in (error.details() or "")


async def test_a_request_wrong_in_many_places_still_gets_its_details() -> None:
    """The details stay within what metadata can carry."""
    message = prompt_pb2.Message(role=0, content="x")
    async with channel_to(answer) as channel:
        error = await failure(channel, analyzer_pb2.AnalyzePromptRequest(messages=[message] * 256))
    assert len(details(error, error_details_pb2.BadRequest).field_violations) == 20


async def test_rules_inside_the_items_of_an_itemwise_method_are_left_to_its_handler() -> None:
    """An invalid item fails alone; a rule on the list itself still fails the call."""
    async with channel_to(answer) as channel:
        stub = analyzer_pb2_grpc.AnalyzerServiceStub(channel)
        response = await stub.BatchAnalyzePrompts(
            analyzer_pb2.BatchAnalyzePromptsRequest(requests=[prompt(), prompt(role=0)])
        )
        assert len(response.results) == 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.BatchAnalyzePrompts(analyzer_pb2.BatchAnalyzePromptsRequest())
    assert details(caught.value, error_details_pb2.BadRequest).field_violations[0].field == "requests"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (InvalidArgument("BAD", "Bad."), grpc.StatusCode.INVALID_ARGUMENT),
        (ResourceExhausted("FULL", "Full.", retry_after_seconds=0.25), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (DeadlineExceeded("LATE", "Late."), grpc.StatusCode.DEADLINE_EXCEEDED),
        (Unimplemented("NOT_YET", "Not yet."), grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_an_expected_error_becomes_its_status(raised: Exception, code: grpc.StatusCode) -> None:
    """Code, sentence and reason arrive."""

    def behaviour() -> Any:
        raise raised

    async with channel_to(behaviour) as channel:
        error = await failure(channel, prompt())
    assert error.code() is code
    info = details(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (raised.args and received_reason(error), "tinyroute")
    assert error.details() == str(raised)


async def test_a_refusal_under_load_says_when_to_come_again() -> None:
    """RetryInfo carries the estimate."""

    def behaviour() -> Any:
        raise ResourceExhausted("QUEUE_FULL", "Full.", retry_after_seconds=0.25)

    async with channel_to(behaviour) as channel:
        error = await failure(channel, prompt())
    assert details(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 250


async def test_a_bug_tells_the_caller_nothing_of_itself() -> None:
    """Exception texts may hold prompts."""

    def behaviour() -> Any:
        raise RuntimeError("secret prompt text")

    async with channel_to(behaviour) as channel:
        error = await failure(channel, prompt())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(received_status(error))
    assert received_reason(error) == "INTERNAL_ERROR"


async def test_a_cancelled_call_stays_cancelled_and_ends_its_handler() -> None:
    """Work below ends with the call."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait() -> Any:
        started.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    async with channel_to(wait) as channel:
        call = analyzer_pb2_grpc.AnalyzerServiceStub(channel).AnalyzePrompt(prompt())
        task = asyncio.ensure_future(call.code())
        await asyncio.wait_for(started.wait(), 5)
        call.cancel()
        assert await task is grpc.StatusCode.CANCELLED
        await asyncio.wait_for(ended.wait(), 5)


async def test_an_unknown_method_is_unimplemented() -> None:
    """The interceptor passes on that there is no handler."""
    async with channel_to(answer) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/no.Such/Method")(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_details_of_a_foreign_server_are_not_taken_for_ours() -> None:
    """A proxy's own refusal has no reason."""
    foreign = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff")),
        "no healthy upstream",
    )
    assert received_reason(foreign) is None
    assert received_status(foreign) == status_pb2.Status(code=14, message="no healthy upstream")
