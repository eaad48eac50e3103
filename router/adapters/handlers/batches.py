"""A stream of requests in, a stream of results out as they finish, a bounded number of them at work."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batch(Generic[Item, Result]):
    """Runs `work` on every item, at most `concurrency` at a time; a result keeps its place until it is taken.

    `work` answers every item, failures included; what it raises ends the whole batch. Closing the results cancels all
    that is at work.
    """

    def __init__(self, work: Callable[[Item], Awaitable[Result]], concurrency: int) -> None:
        self._work = work
        self._places = asyncio.Semaphore(concurrency)
        self._results: asyncio.Queue[asyncio.Task[Result] | None] = asyncio.Queue()
        self._working: set[asyncio.Task[Result]] = set()

    def __repr__(self) -> str:
        return f"Batch({len(self._working)} at work, {self._results.qsize()} finished)"

    async def results(self, items: AsyncIterator[Item]) -> AsyncGenerator[Result, None]:
        """Yields results in the order they finish. Raises what reading the items raises."""
        feeder = asyncio.create_task(self._feed(items))
        feeder.add_done_callback(lambda _: self._results.put_nowait(None))
        fed = False
        try:
            while not fed or self._working or not self._results.empty():
                finished = await self._results.get()
                if finished is None:
                    fed = True
                    await feeder
                    continue
                self._places.release()
                yield finished.result()
        finally:
            await _cancel_all({feeder, *self._working})

    async def _feed(self, items: AsyncIterator[Item]) -> None:
        async for item in items:
            await self._places.acquire()
            task = asyncio.ensure_future(self._work(item))
            self._working.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Result]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            self._results.put_nowait(task)


async def _cancel_all(tasks: set[asyncio.Task[None] | asyncio.Task[Result]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
