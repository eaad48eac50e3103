"""What a collector that is down, hung or slow costs callers, memory and the end of the process: nothing, in figures."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from rich.table import Table
from tinyroute.router.v1 import router_pb2

from analyzer.bench.load import Load, Outcome, put
from analyzer.bench.summary import percentiles
from deploy.local.processes import StackProcess
from tests.bench.conftest import Publish, seconds
from tests.support.broken_collectors import KINDS, broken_collector
from tests.support.decisions import Decider
from tests.support.fake_analyzer import FakeAnalyzer
from tests.support.lone_router import lone_router, receiver

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROUNDS = 5
RATE = 40.0
MEGABYTE = 2**20


async def test_a_broken_collector_slows_nobody(tmp_path: Path, publish: Publish) -> None:
    """Decide at a steady rate, in turns. The promise: p99 at most max(10 ms, 20 %) above that with a good collector."""
    latencies: dict[str, list[float]] = {}
    figures: dict[str, Any] = {}
    async with FakeAnalyzer(latency=0.01) as analyzer:
        with ExitStack() as running:
            routers = start(running, tmp_path, analyzer.target)
            for _ in range(ROUNDS):
                for name, process in routers.items():
                    latencies.setdefault(name, []).extend(await turn(process))
            for name, process in routers.items():
                memory = psutil.Process(process.pid).memory_info().rss / MEGABYTE
                figures[name] = percentiles(latencies[name][1:]) | {"memory_mb": memory, "stop_s": stop(process)}
    table = Table("collector", "calls", "p50 ms", "p99", "above good", "memory MB", "stop s", title="Decide, 40/s")
    good = figures["good"]["p99"]
    for name, told in figures.items():
        above = f"{told['p99'] - good:+.1f} of {max(10.0, 0.2 * good):.1f} allowed"
        cells = (f"{told[key]:.1f}" for key in ("p50", "p99"))
        table.add_row(
            name, str(len(latencies[name])), *cells, above, f"{told['memory_mb']:.0f}", f"{told['stop_s']:.1f}"
        )
    publish("collector", table, figures)


def start(running: ExitStack, folder: Path, analyzer: str) -> dict[str, StackProcess]:
    """Starts a router for each kind of collector."""
    endpoints = {"good": running.enter_context(receiver(folder / "receiver"))}
    endpoints |= {kind: running.enter_context(broken_collector(kind)) for kind in KINDS}
    return {
        name: running.enter_context(
            lone_router(folder / name.replace(" ", "-"), analyzer, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        )
        for name, endpoint in endpoints.items()
    }


async def turn(process: StackProcess) -> list[float]:
    """One router's turn; returns latencies in seconds. The first calls only open the channel."""
    async with grpc.aio.insecure_channel(process.plan.address) as channel:
        # Critical: a busy machine is no reason to refuse.
        decider = Decider(channel, criticality=router_pb2.CRITICALITY_CRITICAL)
        for number in range(5):
            await decider.decide(f"To warm up {number}")
        load = Load(rate=RATE, seconds=seconds(3.0))
        samples = await put(load, lambda number: decider.decide(f"Question {number}"))
    assert {sample.reply.outcome for sample in samples} == {Outcome.ANSWERED}
    return [sample.latency for sample in samples]


def stop(process: StackProcess) -> float:
    """Stops a router as an operator does; returns how long that took."""
    started = time.monotonic()
    process.ask_to_stop()
    while process.ended() is None:
        time.sleep(0.02)
    return time.monotonic() - started
