"""Load generators: open loop (arrivals don't wait for answers) and closed loop (each worker waits for its own)."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """How one call ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True)
class Reply:
    """What a target says of one call; `batch_size` 0 and `source` empty where it does not tell."""

    outcome: Outcome
    source: str = ""
    batch_size: int = 0
    token_count: int = 0


@dataclass(frozen=True)
class Sample:
    """One call: when it was due and how long it took from then on, in seconds."""

    due: float
    latency: float
    reply: Reply


Call = Callable[[int], Awaitable[Reply]]
Clock = Callable[[], float]


def poisson_arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Arrival times in seconds from the start: exponential gaps of mean 1 / `rate` per second."""
    gaps = random.Random(seed)
    at = gaps.expovariate(rate)
    while at < seconds:
        yield at
        at += gaps.expovariate(rate)


async def open_loop(call: Call, arrivals: Iterator[float], clock: Clock = time.perf_counter) -> list[Sample]:
    """Makes call i at the i-th arrival, however many are still open.

    Latency counts from the moment a call was due, not from when it was sent, so a generator or a target that stalls
    can't hide the calls it held up (coordinated omission).
    """
    start = clock()
    tasks = []
    for index, arrival in enumerate(arrivals):
        await asyncio.sleep(max(0.0, start + arrival - clock()))
        tasks.append(asyncio.create_task(_timed(call, index, start, arrival, clock)))
    return list(await asyncio.gather(*tasks))


async def closed_loop(call: Call, workers: int, seconds: float, clock: Clock = time.perf_counter) -> list[Sample]:
    """Keeps `workers` calls open for `seconds`: the rate is what the target can do."""
    start = clock()
    indexes = iter(range(2**31))

    async def work() -> list[Sample]:
        samples = []
        while (now := clock() - start) < seconds:
            samples.append(await _timed(call, next(indexes), start, now, clock))
        return samples

    return [sample for samples in await asyncio.gather(*(work() for _ in range(workers))) for sample in samples]


async def _timed(call: Call, index: int, start: float, due: float, clock: Clock) -> Sample:
    reply = await call(index)
    return Sample(due, clock() - start - due, reply)


@dataclass(frozen=True)
class Load:
    """A load to put on a target: open loop at `rate` calls a second or, without one, closed loop with `workers`."""

    rate: float | None = None
    workers: int = 1
    seconds: float = 20.0
    deadline_ms: float = 100.0
    seed: int = 1


async def put(load: Load, call: Call) -> list[Sample]:
    """Puts the load on a target."""
    if load.rate:
        return await open_loop(call, poisson_arrivals(load.rate, load.seconds, load.seed))
    return await closed_loop(call, load.workers, load.seconds)
