"""Deadlines of any length, and callers that leave: what is below a call ends with it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.router.v1 import router_pb2

from tests.support.fake_analyzer import FakeAnalyzer, refusal
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.running_router import Running, asking, configuration, running_router, said
from tests.support.waiting import until

SLOW = Reply(first_token_after=60)


@dataclass
class World:
    """A router with both rungs, and what it leans on."""

    router: Running
    analyzer: FakeAnalyzer
    cloud: FakeOpenAI
    model: FakeOpenAI

    def ask(self, *, streamed: bool = False) -> Any:
        """A call under way."""
        if streamed:
            request = router_pb2.StreamRouteRequest(messages=said("x"))
            return self.router.stub.StreamRoute(request, timeout=60)
        return self.router.stub.Route(asking(), timeout=60)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An analyzer that answers; cloud and tiers that take a minute."""
    async with FakeAnalyzer() as analyzer, FakeOpenAI(SLOW) as cloud, FakeOpenAI(SLOW) as model:
        changes = {"cloud_analysis": {"enabled": True, "base_url": cloud.base_url, "model": "cloud-tiny"}}
        made = configuration(tmp_path, analyzer.target, model.base_url, changes)
        async with running_router(tmp_path, made) as router:
            yield World(router, analyzer, cloud, model)


async def holds(check: Callable[[], bool], what: str) -> None:
    """Returns once it does."""

    async def checked() -> bool:
        return check()

    await until(checked, what, 10)


@pytest.mark.parametrize("seconds", [0.001, 0.0, -5.0], ids=["1 ms", "now", "past"])
async def test_without_time_nobody_below_is_left_at_work(world: World, seconds: float) -> None:
    """DEADLINE_EXCEEDED, and no call to cloud or tier stays open."""
    decide = router_pb2.DecideRequest(messages=said("x"))
    for call in (world.router.stub.Route(asking(), timeout=seconds), world.router.stub.Decide(decide, timeout=seconds)):
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await call
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await holds(lambda: world.model.abandoned == len(world.model.seen), "every call to a tier is closed")
    await holds(lambda: world.cloud.abandoned == len(world.cloud.seen), "every call to the cloud is closed")


@pytest.mark.parametrize("seconds", [None, 1e6, 1e9], ids=["none", "11 days", "31 years"])
async def test_much_time_is_no_fault(world: World, seconds: float | None) -> None:
    """The answer is the same, and as soon."""
    world.model.script = [Reply(("Four",))]
    assert (await world.router.stub.Route(asking(), timeout=seconds)).text == "Four"


async def test_a_caller_that_leaves_ends_the_analysis(world: World) -> None:
    """While the analyzer works; neither cloud nor tier is asked after that."""
    world.analyzer.latency = 0.9
    call = world.ask()
    await holds(lambda: bool(world.analyzer.seen), "the analyzer is asked")
    call.cancel()
    await holds(lambda: world.analyzer.cancelled == 1, "its call is cancelled")
    await asyncio.sleep(0.2)
    assert (len(world.cloud.seen), len(world.model.seen)) == (0, 0)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_a_caller_that_leaves_ends_the_cloud_call(world: World, *, streamed: bool) -> None:
    """While the cloud thinks; no tier is asked after that."""
    world.analyzer.answer = refusal(grpc.StatusCode.UNAVAILABLE)
    call = world.ask(streamed=streamed)
    await holds(lambda: bool(world.cloud.seen), "the cloud is asked")
    call.cancel()
    await holds(lambda: world.cloud.abandoned == 1, "its call is closed")
    await asyncio.sleep(0.2)
    assert not world.model.seen


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_a_caller_that_leaves_ends_the_tiers_call(world: World, *, streamed: bool) -> None:
    """And no other backend is asked for one that is gone."""
    call = world.ask(streamed=streamed)
    await holds(lambda: bool(world.model.seen), "the tier is asked")
    call.cancel()
    await holds(lambda: world.model.abandoned == 1, "its call is closed")
    await asyncio.sleep(0.2)
    assert len(world.model.seen) == 1


@pytest.mark.chaos
async def test_a_cancelled_call_is_closed_within_a_tenth_of_a_second(world: World) -> None:
    """At the tier, from the moment the caller leaves."""
    for count in range(1, 11):
        call = world.ask(streamed=count % 2 == 0)
        await holds(lambda count=count: len(world.model.seen) == count, "the tier is asked")  # type: ignore[misc]
        began = time.monotonic()
        call.cancel()
        while world.model.abandoned < count:
            await asyncio.sleep(0.002)
            assert time.monotonic() - began <= 0.1
