"""The faults of `make chaos` in short: a real router and a real Envoy, scripted analyzers, no load and no clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.router.v1 import router_pb2

from tests.support.chaos_calls import Caller, Told
from tests.support.envoy import RunningEnvoy
from tests.support.fake_analyzer import refusal
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.running_router import asking, configuration, running_router
from tests.support.scripted_replica import ScriptedReplica
from tests.support.tcp_proxy import FaultProxy
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


@dataclass
class World:
    """A router, its way to Envoy, Envoy, and three replicas, the first of which is reached through a proxy."""

    caller: Caller
    stub: Any
    to_envoy: FaultProxy
    to_first: FaultProxy
    envoy: RunningEnvoy
    replicas: list[ScriptedReplica]
    cloud: FakeOpenAI

    async def decisions(self, count: int) -> list[Told]:
        """What so many decisions, one after the other, tell."""
        for _ in range(count):
            await self.caller(len(self.caller.told))
        return self.caller.told[-count:]

    async def until_source(self, source: str) -> None:
        """Returns once decisions come from there."""

        async def come() -> bool:
            return (await self.decisions(1))[0].source == source

        await until(come, f"decisions by {source}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All well."""
    async with AsyncExitStack() as running:
        replicas = [await running.enter_async_context(ScriptedReplica()) for _ in range(3)]
        to_first = await running.enter_async_context(FaultProxy(replicas[0].target))
        ports = (int(to_first.address.rpartition(":")[2]), *(replica.port for replica in replicas[1:]))
        envoy = await running.enter_async_context(RunningEnvoy(tmp_path, analyzers=ports))
        await envoy.wait_healthy(3)
        to_envoy = await running.enter_async_context(FaultProxy(envoy.analyzer_target))
        cloud = await running.enter_async_context(FakeOpenAI(Reply(("3",)), latency=0.4))
        tiers = await running.enter_async_context(FakeOpenAI())
        changes = {"cloud_analysis": {"enabled": True, "base_url": cloud.base_url, "model": "cloud-tiny"}}
        made = configuration(tmp_path, to_envoy.address, tiers.base_url, changes)
        router = await running.enter_async_context(running_router(tmp_path, made))
        caller = Caller(router.channel, lambda number: f"What is {number} + {number}?", 20.0, dispatched=False)
        yield World(caller, router.stub, to_envoy, to_first, envoy, replicas, cloud)


async def test_a_frozen_replica_costs_no_decision(world: World) -> None:
    """Its connections stay open and silent: the hedge answers until Envoy finds it sick; then it comes back."""
    world.to_first.blackhole()
    told = await world.decisions(20)
    assert {each.source for each in told} == {"MODEL"}
    await world.envoy.wait_healthy(2)
    world.to_first.heal()
    await world.envoy.wait_healthy(3)
    assert {each.source for each in await world.decisions(5)} == {"MODEL"}


async def test_a_rolling_restart_costs_no_decision(world: World) -> None:
    """Each says NOT_SERVING, ends, and comes back on its port, while decisions are asked for all the time."""
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            await world.decisions(1)

    asking_all_the_time = asyncio.create_task(ask())
    for replica in world.replicas:
        replica.health.set_serving(serving=False)
        await world.envoy.wait_healthy(2)
        await replica.stop()
        await replica.start(replica.port)
        await world.envoy.wait_healthy(3)
    done.set()
    await asking_all_the_time
    assert {(each.code, each.source) for each in world.caller.told} == {("OK", "MODEL")}


async def test_a_replica_that_fails_every_call_is_taken_out(world: World) -> None:
    """Its calls are answered by the others; after five it is asked no more for a while."""
    world.replicas[0].answer = refusal(grpc.StatusCode.UNAVAILABLE)

    async def ejected() -> bool:
        told = await world.decisions(5)
        assert {each.source for each in told} == {"MODEL"}
        return await world.envoy.counter("cluster.analyzers.outlier_detection.ejections_active") == 1

    await until(ejected, "the failing replica is ejected")


async def test_without_a_way_to_envoy_the_cloud_decides_until_it_is_back(world: World) -> None:
    """The breaker opens, tells so in every decision, and closes by itself."""
    world.to_envoy.blackhole()

    async def opened() -> bool:
        (told,) = await world.decisions(1)
        assert (told.code, told.source) == ("OK", "CLOUD_TINY")
        return ("SELF_HOSTED", "BREAKER_OPEN") in told.skipped

    await until(opened, "the breaker opens")
    world.to_envoy.heal()
    await world.until_source("MODEL")


async def test_too_much_at_once_turns_the_least_critical_away(world: World) -> None:
    """With RetryInfo and at once; every critical one is served."""
    for replica in world.replicas:
        replica.latency = 0.8
    classes = ("CRITICALITY_CRITICAL", "CRITICALITY_SHEDDABLE")
    requests = [asking(f"What is {number}?", criticality=classes[number % 2]) for number in range(120)]
    calls = [world.stub.Route(request, timeout=60) for request in requests]
    results = await asyncio.gather(*calls, return_exceptions=True)
    critical, sheddable = results[::2], results[1::2]
    assert all(isinstance(each, router_pb2.RouteResponse) for each in critical)
    refused = [each for each in sheddable if isinstance(each, grpc.aio.AioRpcError)]
    assert refused
    assert {each.code() for each in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all("grpc-status-details-bin" in dict(each.trailing_metadata() or ()) for each in refused)
