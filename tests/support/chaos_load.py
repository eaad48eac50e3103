"""An open-loop load on a router while something breaks: half of what its analyzers can do, as promises are stated."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc

from analyzer.bench.load import Load, open_loop, poisson_arrivals
from analyzer.bench.prompts import PromptSource
from analyzer.bench.service import load_service
from analyzer.bench.summary import percentiles
from tests.support.chaos_calls import Caller, Told

WORDS = (18, 95)
CAPACITY_SECONDS = 4.0
_seeds = itertools.count(1000)


def fresh_prompts() -> PromptSource:
    """Prompts that no cache has seen."""
    return PromptSource(words=WORDS, seed=next(_seeds))


async def capacity(target: str, workers: int = 12) -> float:
    """Analyses a second that the analyzers behind `target` make when asked for as many as they can."""
    found = await load_service(
        target, fresh_prompts(), Load(workers=workers, seconds=CAPACITY_SECONDS, deadline_ms=5000)
    )
    return found.throughput


@dataclass
class Run:
    """What a load came to; `began` is on the clock of `Told.at`."""

    told: list[Told]
    began: float
    generator_cpu_share: float
    marks: dict[str, float] = field(default_factory=dict)

    def since(self, seconds: float, until: float = float("inf")) -> list[Told]:
        """The calls made from so many seconds after the beginning on."""
        return [each for each in self.told if seconds <= each.at - self.began < until]

    def ms(self, told: list[Told] | None = None) -> dict[str, float]:
        """Percentiles of how long answers took."""
        return percentiles(each.seconds for each in (self.told if told is None else told) if each.answered)


Faults = Callable[[], Awaitable[object]]


async def nothing() -> None:
    """No fault: the baseline."""


async def under_load(
    address: str, rate: float, seconds: float, faults: Faults = nothing, *, dispatched: bool = True
) -> Run:
    """Puts a load on a router while `faults` runs beside it; its caller gets every call's story."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        caller = Caller(channel, fresh_prompts(), dispatched=dispatched)
        cpu, began = time.process_time(), time.monotonic()
        load = open_loop(caller, poisson_arrivals(rate, seconds, seed=1))
        await asyncio.gather(load, faults())
        took = time.monotonic() - began
    return Run(caller.told, began, (time.process_time() - cpu) / took)
