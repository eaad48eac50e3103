"""One replica of three fails every call, or stalls now and then: what Envoy makes of it, in tries and in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from analyzer.bench.load import Load, Outcome
from analyzer.bench.service import load_service
from analyzer.bench.summary import Summary
from tests.support.chaos_load import fresh_prompts
from tests.support.envoy import RunningEnvoy
from tests.support.fake_analyzer import refusal
from tests.support.promises import Promises, load_seconds
from tests.support.scripted_replica import ScriptedReplica

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

RATE = 60.0
USUAL_SECONDS = 0.015
CALMED_SECONDS = 5.0
Change = Callable[[dict[str, Any]], None]


@asynccontextmanager
async def fleet(
    folder: Path, replicas: list[ScriptedReplica], change: Change | None = None
) -> AsyncIterator[RunningEnvoy]:
    """The replicas behind an Envoy, all found well."""
    async with AsyncExitStack() as running:
        for replica in replicas:
            await running.enter_async_context(replica)
        envoy = RunningEnvoy(folder, analyzers=tuple(replica.port for replica in replicas), change=change)
        await running.enter_async_context(envoy)
        await envoy.wait_healthy(len(replicas))
        yield envoy


async def loaded(envoy: RunningEnvoy, seconds: float) -> Summary:
    """What a steady load comes to."""
    return await load_service(
        envoy.analyzer_target, fresh_prompts(), Load(rate=RATE, seconds=seconds, deadline_ms=2000)
    )


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL], ids=lambda code: code.name)
async def test_one_of_three_fails_every_call(tmp_path: Path, promises: Promises, code: grpc.StatusCode) -> None:
    """From 5 s after the onset on, at most 1.2 tries for each request: it is taken out."""
    promises.title += f" {code.name}"
    replicas = [ScriptedReplica(USUAL_SECONDS) for _ in range(3)]
    calm = load_seconds(20)
    async with fleet(tmp_path, replicas) as envoy:
        replicas[0].answer = refusal(code)
        onset = time.monotonic()
        summary = await loaded(envoy, CALMED_SECONDS + calm)
    tries = sum(came >= onset + CALMED_SECONDS for replica in replicas for came in replica.came)
    requests = summary.sent * calm / (CALMED_SECONDS + calm)
    promises.timed("tries for each request", "≤ 1.2", f"{tries / requests:.2f}", holds=tries <= 1.2 * requests)
    lost = summary.sent - summary.outcomes.get(Outcome.ANSWERED.value, 0)
    if code is grpc.StatusCode.UNAVAILABLE:
        promises.count("requests that no replica answered", "0", lost, holds=lost == 0)
    promises.note(f"{summary.sent} requests at {RATE:.0f}/s")
    promises.settle()


def without_hedge(config: dict[str, Any]) -> None:
    """Takes the hedge, and the timer that starts it, out of Envoy's configuration."""
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        action = route.get("route", {})
        action.pop("hedge_policy", None)
        action.get("retry_policy", {}).pop("per_try_timeout", None)


async def test_hedging_cuts_the_tail_of_a_replica_that_stalls(tmp_path: Path, promises: Promises) -> None:
    """1 % of its calls stall for 500 ms: p99.9 at least halved, for at most 5 % more tries."""
    tails: dict[str, float] = {}
    for name, change in (("without", without_hedge), ("with", None)):
        replicas = [ScriptedReplica(USUAL_SECONDS, stall_share=0.01 if index == 0 else 0.0) for index in range(3)]
        folder = tmp_path / name
        await asyncio.to_thread(folder.mkdir)
        async with fleet(folder, replicas, change) as envoy:
            summary = await loaded(envoy, load_seconds(60))
        tails[name] = summary.latency_ms["p99.9"]
        tries = sum(len(replica.came) for replica in replicas)
        extra = tries / (summary.sent + 5) - 1
        promises.note(f"{name} a hedge: p50 {summary.latency_ms['p50']:.0f}, p99.9 {tails[name]:.0f} ms, {extra:+.1%}")
        lost = summary.sent - summary.outcomes.get(Outcome.ANSWERED.value, 0)
        promises.count(f"calls lost {name} a hedge", "0", lost, holds=lost == 0)
    half = tails["without"] / 2
    promises.timed("p99.9 with a hedge", f"≤ {half:.0f} ms", f"{tails['with']:.0f} ms", holds=tails["with"] <= half)
    promises.timed("more tries", "≤ 5 %", f"{extra:.1%}", holds=extra <= 0.05)
    promises.settle()
