"""Single flight: work that several callers want at once is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Flights(Generic[Result]):
    """Work in flight, found by any of its keys.

    The work is a task of its own: it goes on when the caller that began it is cancelled while others wait, and ends
    when the last one leaves. Errors of the `personal` types concern its first caller alone.
    """

    def __init__(self, personal: tuple[type[Exception], ...] = ()) -> None:
        self._personal = personal
        self._flights: dict[bytes, _Flight[Result]] = {}

    def __repr__(self) -> str:
        flights = set(self._flights.values())
        return f"<Flights {len(flights)} in the air, {sum(flight.passengers for flight in flights)} waiting>"

    def find(self, keys: Iterable[bytes]) -> bytes | None:
        """Returns the first of some keys under which there is a flight."""
        return next((key for key in keys if key in self._flights), None)

    async def join(self, key: bytes) -> Result | None:
        """Returns the result of the flight under a key, or raises its error; None when that was personal."""
        flight = self._flights[key]
        try:
            return await flight.result()
        except self._personal:
            return None
        except asyncio.CancelledError:
            if flight.task.cancelled() and not _being_cancelled():
                return None  # the work was taken down, not this caller
            raise

    async def lead(self, keys: Iterable[bytes], work: Coroutine[Any, Any, Result]) -> Result:
        """Does the work under some keys; returns its result or raises its error."""
        flight = _Flight(asyncio.create_task(work))
        taken = [key for key in keys if key not in self._flights]
        self._flights.update(dict.fromkeys(taken, flight))
        flight.task.add_done_callback(lambda task: self._land(taken, task))
        return await flight.result()

    def _land(self, keys: Iterable[bytes], task: asyncio.Task[Result]) -> None:
        for key in keys:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # taken note of, also when nobody waits any more


class _Flight(Generic[Result]):
    """One piece of work and how many wait for it."""

    def __init__(self, task: asyncio.Task[Result]) -> None:
        self.task = task
        self.passengers = 0

    async def result(self) -> Result:
        """Returns the result; the last passenger to leave before the end takes the work down."""
        self.passengers += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.passengers -= 1
            if not self.passengers and not self.task.done():
                self.task.cancel()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
