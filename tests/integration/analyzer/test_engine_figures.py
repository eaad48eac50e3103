"""Figures of the engine's parts on this machine; printed, not judged. Run by `make bench`."""

# ruff: noqa: T201 - prints are its purpose

import asyncio
import os
import random
import resource
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from analyzer.adapters.modelstore import ModelStore, default_root
from analyzer.analyzing import PromptAnalyzer
from analyzer.backlog import BacklogSettings
from analyzer.batching import BatchSettings, MicroBatcher, running
from analyzer.loading import ModelLoader
from analyzer.models import Models
from tests.support.fake_model import FakeScorer, fake_model, prompt

WORDS = "how does a router choose between large and small models when latency matters more than price".split()  # noqa: SIM905 - reads better
PATIENT = BatchSettings(BacklogSettings(longest_wait_seconds=3600.0, most_waiting=10_000))


def resident_megabytes() -> float:
    """The memory of this process now."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize() / 1e6


@pytest.mark.bench
@pytest.mark.timeout(1800)
async def test_memory_over_a_million_distinct_prompts() -> None:
    """Through the whole cache ladder, the model faked: what stays resident stops growing."""
    async with AsyncExitStack() as stack:
        batcher = MicroBatcher(PATIENT)
        running(batcher, stack)
        scorer = FakeScorer()
        analyzer = PromptAnalyzer(Models(active=fake_model(scorer)), batcher)
        sizes = []
        for block in range(20):
            for start in range(0, 50_000, 500):
                numbers = range(block * 50_000 + start, block * 50_000 + start + 500)
                asked = [prompt(f"Explain item {n} of list {n * 3}", seconds=600.0) for n in numbers]
                await asyncio.gather(*map(analyzer.analyze, asked))
                scorer.passes.clear()
            sizes.append(resident_megabytes())
            print(f"{(block + 1) * 50_000:>9} prompts: {sizes[-1]:.0f} MB")
    print(f"slope over the second half: {(sizes[-1] - sizes[9]) / 0.5:.2f} MB per million prompts")


@pytest.mark.bench
@pytest.mark.model
async def test_the_longest_the_event_loop_is_held_up() -> None:
    """200 real analyses, 16 at a time, with a task that only looks at the clock."""
    async with AsyncExitStack() as stack:
        loaded = await asyncio.to_thread(ModelLoader(ModelStore(default_root(os.environ)), None).load)
        batcher = MicroBatcher(PATIENT)
        running(batcher, stack)
        analyzer = PromptAnalyzer(Models(active=loaded.model), batcher)
        lags: list[float] = []

        async def watch() -> None:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.001)
                lags.append(time.perf_counter() - before - 0.001)

        watching = asyncio.create_task(watch())
        room, choice = asyncio.Semaphore(16), random.Random(1)

        async def one(number: int) -> None:
            async with room:
                text = " ".join(choice.choices(WORDS, k=choice.randint(20, 90)))
                await analyzer.analyze(prompt(f"{text} {number}", seconds=60))

        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(200)))
        spent = time.perf_counter() - started
        watching.cancel()
    lags.sort()
    print(f"{200 / spent:.0f} analyses/s in {batcher.pass_count} passes")
    median, high = lags[len(lags) // 2] * 1e3, lags[int(len(lags) * 0.99)] * 1e3
    print(f"event loop held up: p50 {median:.2f} ms, p99 {high:.2f} ms, longest {lags[-1] * 1e3:.1f} ms")
