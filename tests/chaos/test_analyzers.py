"""Analyzers end, freeze and restart under load: nothing is lost, and nearly every decision stays in the house."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.chaos_calls import failures, self_hosted_share, unexplained
from tests.support.chaos_fleet import ChaosFleet
from tests.support.chaos_load import Run, capacity, under_load
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.process_faults import freeze, kill, thaw
from tests.support.promises import Promises, load_seconds
from tests.support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

CLOUD_SECONDS = 0.4


@pytest.fixture
async def world(fleet: ChaosFleet) -> AsyncIterator[ChaosFleet]:
    """The fleet with tiers that answer at once and a cloud that takes its time."""
    async with (
        FakeOpenAI(Reply(("Four", ".")), port=fleet.tier_port),
        FakeOpenAI(Reply(("3",)), latency=CLOUD_SECONDS, port=fleet.cloud_port),
    ):
        yield fleet


async def baseline(world: ChaosFleet, promises: Promises) -> tuple[float, Run]:
    """Half of the capacity, and what it is like when nothing breaks."""
    most = await capacity(world.envoy_target)
    run = await under_load(world.router, most / 2, load_seconds(10))
    promises.note(f"capacity {most:.0f}/s, load {most / 2:.0f}/s; without a fault p99 {run.ms()['p99']:.0f} ms")
    return most / 2, run


def nothing_lost(promises: Promises, run: Run) -> None:
    """Adds what every fault has to leave whole."""
    promises.count("failed calls", "0", dict(failures(run.told)), holds=not failures(run.told))
    silent = unexplained(run.told)
    promises.count("answers that don't say why", "0", len(silent), holds=not silent)
    promises.note(f"{len(run.told)} calls; the generator took {run.generator_cpu_share:.0%} of a core")


async def test_one_of_three_analyzers_killed(world: ChaosFleet, promises: Promises) -> None:
    """No decision leaves the self-hosted rung."""
    rate, before = await baseline(world, promises)
    lasting = load_seconds(30)

    async def strike() -> None:
        await asyncio.sleep(lasting / 3)
        kill(world.analyzers[1].pid)

    run = await under_load(world.router, rate, lasting, strike)
    nothing_lost(promises, run)
    gone = [each for each in run.told if not each.self_hosted]
    promises.timed("decisions off the self-hosted rung", "0", len(gone), holds=not gone)
    limit, seen = 2 * before.ms()["p99"], run.ms()["p99"]
    promises.timed("p99", f"≤ {limit:.0f} ms", f"{seen:.0f} ms", holds=seen <= limit)
    promises.settle()


async def test_one_of_three_analyzers_frozen(world: ChaosFleet, promises: Promises) -> None:
    """Only its share leaves the rung, for at most 1.5 s; it takes calls again within 10 s of going on."""
    rate, _ = await baseline(world, promises)
    lasting = load_seconds(30)
    struck = lasting / 3

    async def strike() -> None:
        await asyncio.sleep(struck)
        freeze(world.analyzers[1].pid)
        await asyncio.sleep(lasting / 3)
        thaw(world.analyzers[1].pid)

    run = await under_load(world.router, rate, lasting, strike)
    nothing_lost(promises, run)
    gone = [each.at - run.began - struck for each in run.since(struck) if not each.self_hosted]
    share = sum(at <= 1.5 for at in gone) / max(1, len(run.since(struck, struck + 1.5)))
    promises.timed("share of decisions that leave the rung", "≤ 1/3 in 1.5 s", f"{share:.1%}", holds=share <= 1 / 3)
    last = max(gone, default=0.0)
    promises.timed("last decision that leaves it", "≤ 1.5 s", f"{last:.1f} s", holds=last <= 1.5)
    back = await calls_again(world, 1, 10.0)
    promises.timed("takes calls again", "≤ 10 s", f"{back:.1f} s", holds=back <= 10)
    promises.settle()


async def calls_again(world: ChaosFleet, index: int, patience: float) -> float:
    """Returns how many seconds it took until Envoy found the analyzer well; `patience` + 1 when it did not."""
    began = asyncio.get_running_loop().time()
    while (took := asyncio.get_running_loop().time() - began) < patience:
        if await asyncio.to_thread(world.analyzers[index].plan.ready) is None and await all_healthy(world):
            return took
        await asyncio.sleep(0.2)
    return patience + 1


async def all_healthy(world: ChaosFleet) -> bool:
    """Whether Envoy finds every analyzer well."""
    return await asyncio.to_thread(world.envoy.plan.ready) is None


async def test_rolling_restart_of_all_analyzers(world: ChaosFleet, promises: Promises) -> None:
    """One after the other by SIGTERM, as a rolling update does."""
    rate, _ = await baseline(world, promises)
    done = asyncio.Event()

    async def roll() -> None:
        for analyzer in world.analyzers:
            await asyncio.to_thread(analyzer.restart)
            await until(lambda: all_healthy(world), "Envoy finds it well", 60)
        done.set()

    run = await under_load(world.router, rate, load_seconds(30), roll)
    nothing_lost(promises, run)
    share = self_hosted_share(run.told)
    promises.timed("self-hosted decisions", "≥ 99.9 %", f"{share:.2%}", holds=share >= 0.999)
    promises.count("analyzers that came back", "3", sum(each.runs for each in world.analyzers), holds=done.is_set())
    promises.settle()
