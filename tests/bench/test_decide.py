"""Decide through the whole system: latency, the router's own share, and how many a second."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from rich.table import Table

from analyzer.bench.load import Load, Reply, put
from analyzer.bench.prompts import PromptSource
from analyzer.bench.summary import Summary, percentiles, summarise
from tests.bench.conftest import Publish, seconds
from tests.support.decisions import SELF_HOSTED, Decider
from tests.support.local_stack import LocalStack, StackOptions, local_stack

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

TWENTY_TO_A_HUNDRED_TOKENS = (18, 95)
WARM_UP = Load(seconds=3.0)


@pytest.fixture(scope="module", params=[1, 2], ids=["one analyzer", "two analyzers"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The local stack as `make up` starts it; the cores are shared by everything, the load generator too."""
    options = StackOptions(replicas=request.param)
    with local_stack(tmp_path_factory.mktemp(f"stack{request.param}"), options) as running:
        yield running


async def measure(address: str, load: Load, prompts: PromptSource) -> tuple[Summary, dict[str, float]]:
    """Puts a load on a router; returns the summary and percentiles of the router's own share."""
    async with grpc.aio.insecure_channel(address) as channel:
        await put(WARM_UP, lambda number: Decider(channel).decide(f"{prompts(number)} (to warm up)"))
        decider = Decider(channel)

        async def call(number: int) -> Reply:
            return await decider.decide(prompts(number))

        samples = await put(load, call)
    return summarise(samples, load.seconds, load.deadline_ms), percentiles(own / 1e3 for own in decider.own_ms)


def add_row(table: Table, name: str, summary: Summary, own: dict[str, float]) -> dict[str, Any]:
    """Adds a run to the table and returns its figures."""
    self_hosted = sum(count for source, count in summary.sources.items() if source in SELF_HOSTED)
    share = self_hosted / summary.sent
    latency = [f"{summary.latency_ms[key]:.1f}" for key in ("p50", "p99", "max")]
    table.add_row(name, f"{summary.throughput:.0f}", *latency, f"{share:.2%}", f"{own['p50']:.2f}", f"{own['p99']:.2f}")
    return {"self_hosted": share, "latency_ms": summary.latency_ms, "own_ms": own, "per_second": summary.throughput}


async def test_decide_through_the_whole_system(stack: LocalStack, publish: Publish) -> None:
    """One at a time without cache hits; at 50 a second and as fast as it goes with cached analyses."""
    replicas = len(stack.pids("analyzer"))
    columns = ("load", "answers/s", "p50 ms", "p99", "max", "self-hosted", "router's own p50 ms", "p99")
    table = Table(*columns, title=f"Decide, 20 to 100 tokens, {replicas} analyzer(s) behind Envoy")
    direct, front = (PromptSource(words=TWENTY_TO_A_HUNDRED_TOKENS, seed=seed) for seed in (1, 2))
    cached = PromptSource(words=TWENTY_TO_A_HUNDRED_TOKENS, repeats=1.0, seed=3)
    runs = (
        ("one at a time, gRPC", stack.document["router"], Load(seconds=seconds(20)), direct),
        ("one at a time, through the front", stack.document["json"], Load(seconds=seconds(10)), front),
        ("Poisson 50/s, cached analyses", stack.document["router"], Load(rate=50, seconds=seconds(15)), cached),
        ("eight at once, cached analyses", stack.document["router"], Load(workers=8, seconds=seconds(10)), cached),
    )
    figures = {}
    for name, address, load, prompts in runs:
        summary, own = await measure(address, load, prompts)
        figures[name] = add_row(table, name, summary, own)
        await asyncio.sleep(0.5)
    publish(f"decide-{replicas}", table, figures)
