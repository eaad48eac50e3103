"""Ten thousand prompts through `router batch`: near-duplicates once, a SIGKILL in the middle, single calls beside."""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

import grpc.aio
import pytest
from rich.table import Table

from analyzer.bench.load import Load, put
from analyzer.bench.prompts import PromptSource, made_prompt
from analyzer.bench.service import ServiceTarget
from analyzer.bench.summary import Summary, summarise
from tests.bench.conftest import Publish, seconds
from tests.support.chaos_fleet import ChaosFleet, FleetOptions, chaos_fleet
from tests.support.fake_openai import FakeOpenAI
from tests.support.waiting import until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

LINES = int(os.environ.get("BENCH_LINES", "10000"))
DUPLICATES = 0.3
ROUTER = Path(sys.executable).with_name("router")
FRESH = "ANALYSIS_SOURCE_MODEL"


def lines_of(count: int) -> list[dict[str, str]]:
    """Prompts of which three in ten are an earlier one, politer or louder."""
    fresh = round(count * (1 - DUPLICATES))
    prompts = [made_prompt(index, 12 + index % 20, seed=40) for index in range(fresh)]
    again = [f"Please, {prompts[index]}  " if index % 2 else prompts[index].upper() for index in range(count - fresh)]
    return [{"id": f"line-{number}", "prompt": prompt} for number, prompt in enumerate(prompts + again)]


async def test_bulk_beside_single_calls(tmp_path: Path, publish: Publish) -> None:
    """Counts what was computed and what stands in the results; times single calls without and with the batch."""
    source, results = tmp_path / "prompts.jsonl", tmp_path / "prompts.results.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines_of(LINES)))
    with chaos_fleet(tmp_path, FleetOptions(analyzers=1)) as fleet:
        async with FakeOpenAI(port=fleet.tier_port):
            alone = await single_calls(fleet, seconds(20))
            beside, killed_at = await bulk_with_a_kill(fleet, source, results)
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    ids = Counter(row["request_id"] for row in rows)
    sources = Counter(row["response"]["decision"]["analysis_source"] for row in rows if "response" in row)
    computed = sources[FRESH]
    table = Table("", "", title=f"{LINES} lines, {DUPLICATES:.0%} near-duplicates, killed once after {killed_at}")
    table.add_row("answered", f"{sum('response' in row for row in rows)}")
    table.add_row("lost, twice", f"{LINES - len(ids)}, {sum(count - 1 for count in ids.values())}")
    table.add_row("forward passes", f"{computed} ({computed / LINES:.1%} of the lines)")
    table.add_row("single calls' p99 alone", f"{alone.latency_ms['p99']:.1f} ms")
    table.add_row("single calls' p99 beside the batch", f"{beside.latency_ms['p99']:.1f} ms")
    table.caption = ", ".join(f"{count} {name.removeprefix('ANALYSIS_SOURCE_')}" for name, count in sources.items())
    publish("bulk", table, {"computed": computed, "lines": LINES, "alone": alone, "beside": beside})


async def bulk_with_a_kill(fleet: ChaosFleet, source: Path, results: Path) -> tuple[Summary, int]:
    """Runs the batch, kills it at a third, runs it again; returns single calls meanwhile and when it was killed."""
    first = await batch(fleet, source, results)
    await until(lambda: _reached(results, LINES // 3), "a third of the results", seconds=600)
    first.kill()
    await first.wait()
    killed_at = written(results)
    second = await batch(fleet, source, results)
    beside = await single_calls(fleet, seconds(20))
    assert await second.wait() == 0
    return beside, killed_at


async def batch(fleet: ChaosFleet, source: Path, results: Path) -> asyncio.subprocess.Process:
    """Starts `router batch`."""
    target = fleet.routers[0].plan.address
    return await asyncio.create_subprocess_exec(
        ROUTER, "batch", str(source), "--out", str(results), "--target", target, stderr=asyncio.subprocess.DEVNULL
    )


async def single_calls(fleet: ChaosFleet, lasting: float) -> Summary:
    """Five analyses a second, none from a cache."""
    load = Load(rate=5, seconds=lasting, deadline_ms=1000, seed=written_seed())
    async with grpc.aio.insecure_channel(fleet.analyzers[0].plan.address) as channel:
        target = ServiceTarget(channel, PromptSource(words=(20, 60), seed=load.seed), load.deadline_ms / 1e3)
        return summarise(await put(load, target), load.seconds, load.deadline_ms)


async def _reached(results: Path, lines: int) -> bool:
    return written(results) >= lines


def written(results: Path) -> int:
    """Lines there are."""
    return results.read_bytes().count(b"\n") if results.exists() else 0


def written_seed() -> int:
    """A seed no earlier run had, so that no cache knows its prompts."""
    return int.from_bytes(os.urandom(3), "big")
