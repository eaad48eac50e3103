"""What telemetry costs: decisions a second and CPU time of each with spans, metrics and export on, against off."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import psutil
import pytest
from rich.table import Table
from tinyroute.router.v1 import router_pb2

from analyzer.bench.load import Call, Load, put
from analyzer.bench.prompts import PromptSource
from analyzer.bench.service import ServiceTarget
from deploy.local.processes import StackProcess
from tests.bench.conftest import Publish, seconds
from tests.support.analyzers import running_analyzers
from tests.support.decisions import Decider
from tests.support.fake_analyzer import FakeAnalyzer
from tests.support.lone_router import lone_router, receiver

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROUNDS = 7
OFF = {"OTEL_SDK_DISABLED": "true"}
SEEDS = count(100)
"""Each turn has prompts of its own, so that none finds another's analysis."""

MakeCall = Callable[[grpc.aio.Channel], Call]


def on(endpoint: str) -> dict[str, str]:
    """Everything, exported."""
    return {"OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}


async def test_the_routers_telemetry(tmp_path: Path, publish: Publish) -> None:
    """The worst case: an analyzer that answers at once, so that the router is all there is."""
    async with FakeAnalyzer() as analyzer:
        with ExitStack() as running:
            endpoint = running.enter_context(receiver(tmp_path / "receiver"))
            pair = {
                name: running.enter_context(lone_router(tmp_path / name, analyzer.target, environment))
                for name, environment in (("off", OFF), ("on", on(endpoint)))
            }
            figures = await take_turns(pair, lambda channel: deciding(critical(channel)))
    publish("telemetry-router", shown("Decide, router alone (its analyzer costs nothing)", figures), figures)


@pytest.mark.model
async def test_the_analyzers_telemetry(tmp_path: Path, publish: Publish) -> None:
    """Real forward passes; nothing from the cache."""
    prompts = PromptSource(words=(18, 95), seed=7)
    with ExitStack() as running:
        endpoint = running.enter_context(receiver(tmp_path / "receiver"))
        pair = {}
        for name, environment in (("off", OFF), ("on", on(endpoint))):
            (folder := tmp_path / name).mkdir()
            (pair[name],) = running.enter_context(running_analyzers(folder, 1, environment))
        figures = await take_turns(pair, lambda channel: ServiceTarget(channel, prompts, 10.0))
    publish("telemetry-analyzer", shown("AnalyzePrompt, 20 to 100 tokens", figures), figures)


@pytest.mark.model
async def test_the_telemetry_of_a_decision(tmp_path: Path, publish: Publish) -> None:
    """Router and real analyzer together, nothing from the cache: what a service pays. The promise: at most 10 %."""
    with ExitStack() as running:
        endpoint = running.enter_context(receiver(tmp_path / "receiver"))
        pair = {}
        for name, environment in (("off", OFF), ("on", on(endpoint))):
            (folder := tmp_path / name).mkdir()
            (analyzer,) = running.enter_context(running_analyzers(folder, 1, environment))
            router = lone_router(folder / "router", analyzer.plan.address, environment)
            pair[name] = running.enter_context(router)
        figures = await take_turns(pair, lambda channel: deciding(critical(channel)))
    publish("telemetry-decision", shown("Decide, router and analyzer (CPU: the router's)", figures), figures)


def critical(channel: grpc.aio.Channel) -> Decider:
    """Decisions that are not refused for load: the load is what is measured."""
    return Decider(channel, criticality=router_pb2.CRITICALITY_CRITICAL)


def deciding(decider: Decider) -> Call:
    """Makes decisions about prompts that differ."""
    prompts = PromptSource(words=(18, 95), seed=next(SEEDS))
    return lambda number: decider.decide(prompts(number))


async def take_turns(pair: dict[str, StackProcess], make: MakeCall) -> dict[str, Any]:
    """Puts the same load on each in turn; returns medians and the share that telemetry costs."""
    rates: dict[str, list[float]] = {name: [] for name in pair}
    cpu: dict[str, list[float]] = {name: [] for name in pair}
    for number in range(ROUNDS + 1):
        for name, process in sorted(pair.items(), reverse=number % 2 == 1):
            rate, each = await turn(process, make)
            if number:  # the first round warms up
                rates[name].append(rate)
                cpu[name].append(each)
    figures: dict[str, Any] = {
        name: {"per_second": median(rates[name]), "cpu_ms_each": median(cpu[name])} for name in pair
    }
    ratios = [on_rate / off_rate for on_rate, off_rate in zip(rates["on"], rates["off"], strict=True)]
    return figures | {"throughput_lost": 1 - median(ratios), "rounds": rates}


async def turn(process: StackProcess, make: MakeCall) -> tuple[float, float]:
    """Returns calls a second and CPU milliseconds of each."""
    watched = psutil.Process(process.pid)
    async with grpc.aio.insecure_channel(process.plan.address) as channel:
        before, load = sum(watched.cpu_times()[:2]), Load(workers=8, seconds=seconds(2.5))
        samples = await put(load, make(channel))
    return len(samples) / load.seconds, (sum(watched.cpu_times()[:2]) - before) * 1e3 / len(samples)


def shown(title: str, figures: dict[str, Any]) -> Table:
    """A table of both."""
    table = Table("telemetry", "answers/s", "CPU ms each", title=title)
    for name in ("off", "on"):
        table.add_row(name, f"{figures[name]['per_second']:.0f}", f"{figures[name]['cpu_ms_each']:.2f}")
    table.caption = f"throughput lost: {figures['throughput_lost']:.1%} (median of {ROUNDS} pairs)"
    return table
