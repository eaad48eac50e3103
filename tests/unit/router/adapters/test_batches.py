"""A batch without a network."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.adapters.handlers.batches import Batch


async def numbers(count: int) -> AsyncIterator[int]:
    """The first numbers from 0 on."""
    for number in range(count):
        yield number


async def test_results_come_as_they_finish() -> None:
    """The slow first one last."""
    gate = asyncio.Event()

    async def work(number: int) -> int:
        if number == 0:
            await gate.wait()
        if number == 4:
            gate.set()
        return number

    assert [result async for result in Batch(work, 8).results(numbers(5))] == [1, 2, 3, 4, 0]


async def test_no_more_than_allowed_are_at_work_or_wait_to_be_taken() -> None:
    """A caller that does not read holds the work back, not the memory up."""
    started = []

    async def work(number: int) -> int:
        started.append(number)
        return number

    results = Batch(work, 3).results(numbers(100))
    await anext(results)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(started) <= 4
    assert len([result async for result in results]) == 99


async def test_an_empty_batch_has_no_results() -> None:
    """And ends."""

    async def work(number: int) -> int:
        return number

    assert [result async for result in Batch(work, 3).results(numbers(0))] == []


async def test_closing_the_results_cancels_the_work() -> None:
    """A caller that goes away stops it all."""
    cancelled = []

    async def work(number: int) -> int:
        if number == 0:
            return 0
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    results = Batch(work, 5).results(numbers(5))
    assert await anext(results) == 0
    await asyncio.sleep(0)
    await results.aclose()  # type: ignore[attr-defined]
    assert sorted(cancelled) == [1, 2, 3, 4]


async def test_a_broken_stream_of_items_ends_the_batch() -> None:
    """With its own error, after the results that were there."""

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("unparsable")

    async def work(number: int) -> int:
        return number

    with pytest.raises(ValueError, match="unparsable"):
        [result async for result in Batch(work, 2).results(broken())]
