"""Three times as many requests as the analyzers can take: as much good work as ever, the critical first, soon over."""

import asyncio
import random
import time
from collections import Counter

import grpc
import pytest

from analyzer.bench.load import open_loop, poisson_arrivals
from analyzer.bench.summary import percentiles
from tests.support.chaos_calls import Caller, Told, self_hosted_share
from tests.support.chaos_fleet import ChaosFleet
from tests.support.chaos_load import capacity, fresh_prompts, under_load
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.promises import Promises, load_seconds

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

MIX = ("CRITICAL", "STANDARD", "SHEDDABLE")
WEIGHTS = (1, 6, 3)


def mixed(number: int) -> str:
    """A class, by lot."""
    return random.Random(number).choices(MIX, WEIGHTS)[0]


async def overload(address: str, rate: float, seconds: float) -> list[Told]:
    """Decisions asked for by callers of all classes."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        caller = Caller(channel, fresh_prompts(), criticality=mixed, dispatched=False)
        await open_loop(caller, poisson_arrivals(rate, seconds, seed=2))
    return caller.told


def served(told: list[Told], criticality: str) -> float:
    """The share of a class that was answered."""
    own = [each for each in told if each.criticality == criticality]
    return sum(each.answered for each in own) / len(own) if own else 1.0


async def test_three_times_overload(fleet: ChaosFleet, promises: Promises) -> None:
    """Goodput is self-hosted decisions; refusals are RESOURCE_EXHAUSTED and come at once."""
    async with FakeOpenAI(port=fleet.tier_port), FakeOpenAI(Reply(("3",)), latency=0.4, port=fleet.cloud_port):
        most = await capacity(fleet.envoy_target)
        lasting = load_seconds(60)
        cpu, began = time.process_time(), time.monotonic()
        told = await overload(fleet.router, 3 * most, lasting)
        cpu = (time.process_time() - cpu) / (time.monotonic() - began)
        good = sum(each.self_hosted for each in told) / lasting
        promises.timed(
            "goodput", f"≥ 85 % of {most:.0f}/s", f"{good:.0f}/s, {good / most:.0%}", holds=good >= 0.85 * most
        )
        critical = served(told, "CRITICAL")
        promises.count("CRITICAL served", "≥ 99.9 %", f"{critical:.2%}", holds=critical >= 0.999)
        ordered = served(told, "SHEDDABLE") <= served(told, "STANDARD") + 0.05
        classes = {name: f"{served(told, name):.0%}" for name in MIX}
        promises.count("served by class", "SHEDDABLE gives way first", classes, holds=ordered)
        codes = Counter(each.code for each in told)
        promises.count(
            "ends", "OK or RESOURCE_EXHAUSTED", dict(codes), holds=set(codes) <= {"OK", "RESOURCE_EXHAUSTED"}
        )
        refusals = percentiles(each.seconds for each in told if not each.answered)
        p50 = refusals.get("p50", 0.0)
        promises.timed("refusals, median", "≤ 10 ms", f"{p50:.1f} ms", holds=p50 <= 10)
        await recovered(fleet, promises, most)
        reasons = Counter(reason for each in told for rung, reason in each.skipped if rung == "SELF_HOSTED")
        promises.note(f"self-hosted rung skipped: {dict(reasons)}")
        promises.note(f"{len(told)} calls; the generator took {cpu:.0%} of a core")
    promises.settle()


async def recovered(fleet: ChaosFleet, promises: Promises, most: float) -> None:
    """Adds what a usual load meets from 5 s after the overload on."""
    await asyncio.sleep(5)
    after = await under_load(fleet.router, most / 3, load_seconds(10), dispatched=False)
    share, answered = self_hosted_share(after.told), sum(each.answered for each in after.told)
    promises.count("answered 5 s later", "all", f"{answered} of {len(after.told)}", holds=answered == len(after.told))
    promises.timed("self-hosted 5 s later", "≥ 99 %", f"{share:.1%}", holds=share >= 0.99)
