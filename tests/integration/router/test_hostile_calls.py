"""Calls that no honest client makes: the right status, nothing of the inside told, and the next caller is served."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2

from tests.support.fake_analyzer import FakeAnalyzer
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.running_router import Running, asking, configuration, running_router, said

SERVICE = "/tinyroute.router.v1.RouterService"
LARGEST_REPLY_BYTES = 2_000
SPELLINGS = {
    "zero-width": "wh\u200bat\u200d is\ufeff it",
    "NUL": "a\x00b",
    "control characters": "".join(chr(code) for code in range(1, 32)) + "x",
    "right to left": "\u202egnihtemos",
    "beyond the basic plane": "\U0001f9ea" * 500,
    "unassigned": "\U000e0fff\U0010ffff",
    "combining": "e" + "\u0301" * 5_000,
    "one token of 100,000 characters": "a" * 100_000,
    "256 KiB in sum": "x y " * 65_535,
}


@dataclass
class World:
    """A router and what it leans on."""

    router: Running
    analyzer: FakeAnalyzer
    model: FakeOpenAI


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All of it, well."""
    async with (
        FakeAnalyzer() as analyzer,
        FakeOpenAI(Reply(("Four", "."))) as model,
        running_router(tmp_path, configuration(tmp_path, analyzer.target, model.base_url)) as router,
    ):
        yield World(router, analyzer, model)


async def sent(world: World, method: str, data: bytes, seconds: float = 10.0) -> grpc.aio.AioRpcError:
    """The error that bytes as they are bring."""
    call = world.router.channel.unary_unary(
        f"{SERVICE}/{method}", request_serializer=bytes, response_deserializer=bytes
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(data, timeout=seconds)
    assert "Traceback" not in str(refused.value.details())
    assert ".py" not in str(refused.value.details())
    assert len(str(refused.value.details())) < LARGEST_REPLY_BYTES
    return refused.value


async def test_a_hundred_malformed_messages(world: World) -> None:
    """Each is INVALID_ARGUMENT; the hundred and first caller is answered."""
    malformed = [bytes([0x0A, 0xFF, number % 256]) for number in range(100)]
    errors = await asyncio.gather(*(sent(world, "Route", data) for data in malformed))
    assert {error.code() for error in errors} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert (await world.router.stub.Route(asking())).text == "Four."


async def test_unknown_methods(world: World) -> None:
    """UNIMPLEMENTED, with bytes or without."""
    errors = [await sent(world, method, b"\xff" * 9) for method in ("Nonsense", "route", "Route/x", "%00")]
    assert {error.code() for error in errors} == {grpc.StatusCode.UNIMPLEMENTED}


async def test_ten_megabytes_are_refused_at_the_door(world: World) -> None:
    """RESOURCE_EXHAUSTED; nothing is parsed, nothing is asked."""
    error = await sent(world, "Route", asking("x" * 10_000_000).SerializeToString())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not world.analyzer.seen


async def test_a_lone_surrogate_is_no_text(world: World) -> None:
    """As bytes that no client library would send: the message is not one of the expected type."""
    surrogate = b"\xed\xa0\x80 what is it"
    message = b"\x08\x02\x12" + bytes([len(surrogate)]) + surrogate
    good = asking("x").SerializeToString()
    assert prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content="x").SerializeToString() in good
    error = await sent(world, "Route", field_of(good) + bytes([len(message)]) + message)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def field_of(request: bytes) -> bytes:
    """The tag with which a RouteRequest's messages begin."""
    return request[:1]


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
async def test_any_text_is_a_prompt(world: World, text: str) -> None:
    """What UTF-8 can carry is analysed and answered, by whole and by stream."""
    response = await world.router.stub.Route(asking(text), timeout=30)
    assert response.text == "Four."
    pieces = [
        piece async for piece in world.router.stub.StreamRoute(router_pb2.StreamRouteRequest(messages=said(text)))
    ]
    assert pieces[-1].finish_reason == router_pb2.FINISH_REASON_STOP
    assert [request.messages[0].content for request, _ in world.analyzer.seen] == [text] * 2


async def test_the_most_turns_and_one_more(world: World) -> None:
    """256 messages are a conversation, 257 are not."""
    turns = [
        prompt_pb2.Message(role=prompt_pb2.ROLE_USER if number % 2 else prompt_pb2.ROLE_ASSISTANT, content=f"{number}")
        for number in range(256)
    ]
    assert (await world.router.stub.Route(router_pb2.RouteRequest(messages=turns), timeout=30)).text == "Four."
    error = await sent(world, "Route", router_pb2.RouteRequest(messages=[*turns, turns[-1]]).SerializeToString())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@asynccontextmanager
async def watched() -> AsyncIterator[list[float]]:
    """Notes by how much, in seconds, the loop that router and test share was late in each of its turns."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - began - 0.001)

    ticking = asyncio.create_task(tick())
    try:
        yield late
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


@pytest.mark.chaos
async def test_large_prompts_don_t_stop_the_others(world: World) -> None:
    """The event loop, shared with the client and the servers of this test, stands still for at most 20 ms."""
    await world.router.stub.Route(asking())
    async with watched() as late:
        for text in (SPELLINGS["256 KiB in sum"], SPELLINGS["one token of 100,000 characters"]):
            await world.router.stub.Decide(router_pb2.DecideRequest(messages=said(text)), timeout=30)
    assert max(late) <= 0.02, f"{max(late) * 1e3:.0f} ms"
