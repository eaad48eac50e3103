"""The whole self-hosted rung goes away, and Envoy with it: answered from the cloud, then by default, and soon back."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import pytest

from tests.support.chaos_calls import Caller, Told, failures, unexplained
from tests.support.chaos_fleet import ChaosFleet, FleetOptions, chaos_fleet
from tests.support.chaos_load import Run, capacity, fresh_prompts, under_load
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.promises import Promises, load_seconds
from tests.support.tcp_proxy import FaultProxy

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(900)]

CLOUD_SECONDS = 0.4
OPEN = ("SELF_HOSTED", "BREAKER_OPEN")


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosFleet]:
    """Three analyzers; the router reaches Envoy through a proxy of the test."""
    with chaos_fleet(tmp_path_factory.mktemp("fleet"), FleetOptions(through_proxy=True)) as running:
        yield running


@dataclass
class World:
    """The fleet, what breaks its way to the analyzers, and a cloud that can be closed."""

    fleet: ChaosFleet
    proxy: FaultProxy
    cloud: AsyncExitStack

    async def open_cloud(self) -> None:
        """Starts a cloud that takes its time."""
        cloud = FakeOpenAI(Reply(("3",)), latency=CLOUD_SECONDS, port=self.fleet.cloud_port)
        await self.cloud.enter_async_context(cloud)


@pytest.fixture
async def world(fleet: ChaosFleet) -> AsyncIterator[World]:
    """All of it, the self-hosted rung found well."""
    async with (
        FakeOpenAI(Reply(("Four", ".")), port=fleet.tier_port),
        FaultProxy(fleet.envoy_target, fleet.proxy_port) as proxy,
        AsyncExitStack() as cloud,
    ):
        made = World(fleet, proxy, cloud)
        await made.open_cloud()
        await until_self_hosted(fleet.router)
        yield made


async def until_self_hosted(address: str, seconds: float = 60.0) -> float:
    """Returns how long it took until an analyzer made a decision again."""
    async with grpc.aio.insecure_channel(address) as channel:
        caller = Caller(channel, fresh_prompts(), dispatched=False)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            await caller(len(caller.told))
            if caller.told[-1].self_hosted:
                return time.monotonic() - began
            await asyncio.sleep(0.1)
    raise TimeoutError(f"no analyzer made a decision within {seconds} s: {caller.told[-3:]}")


def nothing_lost(promises: Promises, run: Run) -> None:
    """Adds what every fault has to leave whole."""
    promises.count("failed calls", "0", dict(failures(run.told)), holds=not failures(run.told))
    silent = unexplained(run.told)
    promises.count("answers that don't say why", "0", len(silent), holds=not silent)
    promises.note(f"{len(run.told)} calls; the generator took {run.generator_cpu_share:.0%} of a core")


def left_alone(promises: Promises, told: list[Told], lasting: float) -> None:
    """Adds that the breaker lets at most one probe a second through."""
    probes = [each for each in told if OPEN not in each.skipped]
    promises.timed("probes a second", "≤ 1", f"{len(probes)} in {lasting:.0f} s", holds=len(probes) <= lasting + 1)


async def test_all_analyzers_dead_then_the_cloud_too(world: World, promises: Promises) -> None:
    """The cloud decides, then the default tier; each says why. All are back within 5 s of their return."""
    rate = await capacity(world.fleet.envoy_target) / 2
    phase = load_seconds(30) / 3
    marks: dict[str, float] = {}

    async def strike() -> None:
        await asyncio.sleep(phase)
        for analyzer in world.fleet.analyzers:
            await asyncio.to_thread(analyzer.kill)
        marks["dead"] = time.monotonic()
        await asyncio.sleep(phase)
        await world.cloud.aclose()
        marks["cloudless"] = time.monotonic()
        await asyncio.sleep(phase)

    run = await under_load(world.fleet.router, rate, 3 * phase, strike)
    nothing_lost(promises, run)
    dead, cloudless = (marks[name] - run.began for name in ("dead", "cloudless"))
    by_cloud = run.since(dead + 1, cloudless - 1)
    left_alone(promises, by_cloud, phase - 2)
    sources = Counter(each.source for each in by_cloud)
    promises.count("decided by", "CLOUD_TINY alone", dict(sources), holds=set(sources) <= {"CLOUD_TINY"})
    by_default = run.since(cloudless + 1.5)
    ways = Counter((each.source, each.cause, each.tier) for each in by_default)
    holds = set(ways) == {("NONE", "DEFAULT", "MEDIUM")}
    promises.count("then by", "NONE, DEFAULT, MEDIUM", dict(ways), holds=holds)
    added = run.ms(by_default)["p99"] - run.ms(run.since(0, phase))["p50"]
    promises.timed("p99 over a usual answer's median, breakers open", "≤ 20 ms", f"{added:.0f} ms", holds=added <= 20)
    await world.open_cloud()
    await asyncio.to_thread(world.fleet.revive)
    back = await until_self_hosted(world.fleet.router)
    promises.timed("back after the analyzers' return", "≤ 5 s", f"{back:.1f} s", holds=back <= 5)
    promises.settle()


@pytest.mark.parametrize("fault", ["killed", "blackholed"])
async def test_envoy_gone(world: World, promises: Promises, fault: str) -> None:
    """As with dead analyzers; recovered within 2 s of its return."""
    promises.title = f"envoy {fault}"
    rate = await capacity(world.fleet.envoy_target) / 2
    before, lasting = load_seconds(10) / 3, load_seconds(60)
    marks: dict[str, float] = {}

    async def strike() -> None:
        await asyncio.sleep(before)
        marks["gone"] = time.monotonic()
        if fault == "killed":
            world.fleet.envoy.kill()
            await asyncio.sleep(lasting)
            world.fleet.envoy.start()
            await asyncio.to_thread(world.fleet.envoy.wait_ready)
        else:
            world.proxy.blackhole()
            await asyncio.sleep(lasting)
            world.proxy.heal()
        marks["back"] = time.monotonic()

    run = await under_load(world.fleet.router, rate, before + lasting + 10, strike)
    nothing_lost(promises, run)
    gone, back = (marks[name] - run.began for name in ("gone", "back"))
    without = run.since(gone + 1, gone + lasting - 0.2)
    left_alone(promises, without, lasting - 1)
    sources = Counter(each.source for each in without)
    promises.count("decided by", "CLOUD_TINY alone", dict(sources), holds=set(sources) == {"CLOUD_TINY"})
    first = min((each.at - run.began - back for each in run.since(back) if each.self_hosted), default=99.0)
    promises.timed("self-hosted again after its return", "≤ 2 s", f"{first:.1f} s", holds=first <= 2)
    promises.settle()
