"""One analyzer of this machine's cores: latency, throughput, overload, caches."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.table import Table

from analyzer.bench.load import Load, Outcome
from analyzer.bench.prompts import PromptSource
from analyzer.bench.service import load_service
from analyzer.bench.summary import Summary
from deploy.local.processes import StackProcess
from tests.bench.conftest import Publish, seconds
from tests.support.analyzers import ports_of, running_analyzers
from tests.support.envoy import RunningEnvoy

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

WORDS_FOR_64_TOKENS = (62, 62)
SHORT_TO_LONG = (18, 125)


@pytest.fixture(scope="module")
def analyzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """One replica with all cores, telemetry off."""
    with running_analyzers(tmp_path_factory.mktemp("analyzer")) as started:
        yield started[0]


def row(table: Table, name: str, summary: Summary) -> None:
    """Adds a run to a table of loads."""
    latency = summary.latency_ms
    cells = [f"{latency[key]:.1f}" if latency else "" for key in ("p50", "p99", "p99.9", "max")]
    refused = f"{summary.share(Outcome.REFUSED):.1%}"
    lost = f"{summary.share(Outcome.LATE) + summary.share(Outcome.FAILED):.1%}"
    table.add_row(name, f"{summary.throughput:.0f}", f"{summary.goodput:.0f}", *cells, refused, lost)


def loads(title: str) -> Table:
    """An empty table of loads."""
    return Table("load", "answers/s", "in time/s", "p50 ms", "p99", "p99.9", "max", "refused", "lost", title=title)


async def test_latency_one_at_a_time_and_under_poisson_arrivals(
    analyzer: StackProcess, tmp_path: Path, publish: Publish
) -> None:
    """AnalyzePrompt directly and through Envoy, no cache hits."""
    table, figures = loads("AnalyzePrompt, 20 to 128 tokens unless said, no cache hits"), {}
    direct = analyzer.plan.address
    async with RunningEnvoy(tmp_path, analyzers=ports_of([analyzer])) as envoy:
        await envoy.wait_healthy(1)
        for name, target, words, load in (
            ("one at a time, 64 tokens, Envoy", envoy.analyzer_target, WORDS_FOR_64_TOKENS, Load(seconds=seconds(15))),
            ("one at a time, 64 tokens, direct", direct, WORDS_FOR_64_TOKENS, Load(seconds=seconds(15))),
            ("Poisson 10/s, direct", direct, SHORT_TO_LONG, Load(rate=10, seconds=seconds(30))),
            ("Poisson 30/s, direct", direct, SHORT_TO_LONG, Load(rate=30, seconds=seconds(30))),
        ):
            figures[name] = await load_service(target, PromptSource(words=words, seed=len(figures)), load)
            row(table, name, figures[name])
    publish("latency", table, figures)


async def test_throughput_and_three_times_overload(analyzer: StackProcess, publish: Publish) -> None:
    """Closed loop for the capacity; open loop at three times of it: goodput, refusals, memory, recovery."""
    table, figures = loads("64 tokens through gRPC, deadline 100 ms unless said"), {}
    target, process = analyzer.plan.address, psutil.Process(analyzer.pid)
    figures["capacity"] = await load_service(
        target,
        PromptSource(words=WORDS_FOR_64_TOKENS, seed=10),
        Load(workers=24, seconds=seconds(15), deadline_ms=2000),
    )
    capacity = figures["capacity"].throughput
    before = process.memory_info().rss
    cpu = time.process_time()
    overload = Load(rate=3 * capacity, seconds=seconds(60))
    figures["3 x capacity"] = await load_service(target, PromptSource(words=WORDS_FOR_64_TOKENS, seed=11), overload)
    cpu = time.process_time() - cpu
    after = process.memory_info().rss
    await asyncio.sleep(2.0)
    figures["2 s later, a quarter"] = await load_service(
        target, PromptSource(words=WORDS_FOR_64_TOKENS, seed=12), Load(rate=capacity / 4, seconds=seconds(10))
    )
    for name, summary in figures.items():
        row(table, name, summary)
    refusals = figures["3 x capacity"].refusal_ms
    generator = cpu / overload.seconds
    table.caption = (
        f"goodput {figures['3 x capacity'].goodput / capacity:.0%} of capacity; "
        f"refusals p50 {refusals.get('p50', 0):.1f}, p99 {refusals.get('p99', 0):.1f} ms; "
        f"memory {(after - before) / 2**20:+.0f} MB; the generator took {generator:.0%} of a core"
    )
    publish("overload", table, {**figures, "memory_bytes": [before, after], "generator_cpu_share": generator})


async def test_cached_repeats(analyzer: StackProcess, publish: Publish) -> None:
    """The rate over the share of repeated prompts, and what an exact hit takes."""
    table, figures = loads("64 tokens, 16 callers, by share of repeats"), {}
    target = analyzer.plan.address
    for share in (0.0, 0.5, 0.9, 0.99):
        source = PromptSource(words=WORDS_FOR_64_TOKENS, repeats=share, seed=20)
        load = Load(workers=16, seconds=seconds(10), deadline_ms=2000)
        figures[f"{share:.0%} repeats"] = await load_service(target, source, load)
    hot = PromptSource(["What is the capital of France, and which river runs through it?"])
    figures["exact hits, one at a time"] = await load_service(target, hot, Load(seconds=seconds(5)))
    figures["exact hits, 16 callers"] = await load_service(target, hot, Load(workers=16, seconds=seconds(10)))
    for name, summary in figures.items():
        row(table, name, summary)
    ratio = figures["90% repeats"].throughput / figures["0% repeats"].throughput
    table.caption = f"90 % repeats: {ratio:.1f} times the uncached rate"
    publish("cache", table, figures)
