"""What affinity is worth: the fleet's hit rate with it and under least-request, three replicas behind a real Envoy."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from rich.table import Table

from analyzer.bench.load import Load, put
from analyzer.bench.prompts import PromptSource, made_prompt
from analyzer.bench.service import ServiceTarget
from analyzer.bench.summary import summarise
from deploy.envoy.render import named
from tests.bench.conftest import Publish, seconds
from tests.support.analyzers import ports_of, running_analyzers
from tests.support.envoy import RunningEnvoy

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

REPLICAS = 3
TIMES_EACH = 3
CALLS_A_SECOND = 30.0
HITS = ("cache_exact", "cache_similar", "coalesced")


def least_request(config: dict[str, Any]) -> None:
    """Takes consistent hashing out of a configuration."""
    cluster = named(config["static_resources"]["clusters"])["analyzers"]
    cluster["lb_policy"] = "LEAST_REQUEST"
    cluster.get("common_lb_config", {}).pop("consistent_hashing_lb_config", None)
    for listener in config["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        for host in manager["route_config"]["virtual_hosts"]:
            for route in host["routes"]:
                route.get("route", {}).pop("hash_policy", None)


def traffic(count: int) -> list[str]:
    """Prompts that each come three times, in random order."""
    prompts = [made_prompt(index, 30, seed=30) for index in range(count // TIMES_EACH)] * TIMES_EACH
    random.Random(1).shuffle(prompts)
    return prompts


@pytest.mark.parametrize("hot_key", [False, True], ids=["repeats", "one hot prompt"])
async def test_hit_rate_of_three_replicas(*, hot_key: bool, tmp_path: Path, publish: Publish) -> None:
    """Each prompt three times; or nine calls of ten the same prompt, which one replica must not carry alone."""
    name = "hot prompt" if hot_key else "each prompt three times"
    table = Table("balancing", "hits", "p50 ms", "p99 ms", "largest share", title=f"three replicas, {name}")
    figures = {}
    for policy, change in (("affinity, bounded load", None), ("least request", least_request)):
        rate, summary, share = await _run(tmp_path, change, hot_key=hot_key)
        figures[policy] = {"hit_rate": rate, "largest_share": share, "load": summary}
        cells = (f"{summary.latency_ms[key]:.1f}" for key in ("p50", "p99"))
        table.add_row(policy, f"{rate:.1%}", *cells, f"{share * REPLICAS:.2f} x its part")
    rates = [figure["hit_rate"] for figure in figures.values()]
    table.caption = f"affinity finds {rates[0] / max(rates[1], 1e-9):.2f} times as much"
    publish(f"affinity-{'hot' if hot_key else 'repeats'}", table, figures)


async def _run(
    folder: Path, change: Callable[[dict[str, Any]], None] | None, *, hot_key: bool
) -> tuple[float, Any, float]:
    load = Load(rate=CALLS_A_SECOND, seconds=seconds(40), deadline_ms=2000)
    prompts = traffic(int(load.seconds * CALLS_A_SECOND * 1.2))
    source = PromptSource(prompts)
    if hot_key:
        hot = random.Random(2)
        source = PromptSource([prompts[0] if hot.random() < 0.9 else prompt for prompt in prompts])
    with running_analyzers(folder, REPLICAS, {"TINYROUTE_ANALYZER__MODEL__THREADS": "1"}) as analyzers:
        async with RunningEnvoy(folder, analyzers=ports_of(analyzers), change=change) as envoy:
            await envoy.wait_healthy(REPLICAS)
            async with grpc.aio.insecure_channel(envoy.analyzer_target) as channel:
                samples = await put(load, ServiceTarget(channel, source, load.deadline_ms / 1e3))
            calls = await envoy.calls_by_host()
    summary = summarise(samples, load.seconds, load.deadline_ms)
    hits = sum(summary.sources.get(source, 0) for source in HITS)
    return hits / summary.sent, summary, max(calls.values()) / sum(calls.values())
