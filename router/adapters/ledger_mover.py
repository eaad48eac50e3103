"""Moves records from the spool into the store, each exactly once, while requests go on."""

import asyncio
from collections.abc import Iterator
from typing import Protocol

import structlog

from router.adapters.ledger_spool import Line, Segments, Spool
from router.adapters.sqlite_rows import Entry
from router.records import RequestRecord

_log = structlog.get_logger(__name__)


class Store(Protocol):
    """Where records end up."""

    def migrate(self) -> None:
        """Makes the store ready."""
        ...

    def moved_bytes(self) -> dict[str, int]:
        """How much of each segment is in the store."""
        ...

    def take(self, segment: str, begin: int, end: int, entries: list[Entry]) -> bool:
        """Keeps a piece of a segment, all or none; False when it was taken before."""
        ...

    def forget(self, segment: str) -> None:
        """Drops the memory of a deleted segment."""
        ...


class LedgerMover:
    """Moves at intervals, and whenever `flush` is awaited. A store that is away is tried again at the next interval."""

    def __init__(self, spool: Spool, segments: Segments, store: Store, interval_seconds: float) -> None:
        self._spool = spool
        self._segments = segments
        self._store = store
        self._interval = interval_seconds
        self._one_at_a_time = asyncio.Lock()
        self._ready = False
        self.moved = 0
        self.unreadable = 0
        self.failures = 0

    def __repr__(self) -> str:
        return f"LedgerMover({self.moved} moved, {self.unreadable} unreadable, {self.failures} failures)"

    async def run(self) -> None:
        """Moves until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - whatever ails the store, the spool keeps the records until it is well
                self._count_failure(error)

    async def flush(self) -> None:
        """Moves what is there now. Raises what the store raises; nothing is lost by that."""
        async with self._one_at_a_time:
            await _to_its_end(asyncio.create_task(asyncio.to_thread(self._move_all)))
            self._spool.rotate()
        self.failures = 0

    def _count_failure(self, error: Exception) -> None:
        if self.failures == 0:
            _log.warning("the ledger's store takes no records; they wait in the spool", error=type(error).__name__)
        self.failures += 1

    def _move_all(self) -> None:
        if not self._ready:
            self._store.migrate()
            self._ready = True
        moved = self._store.moved_bytes()
        waiting = 0
        for name in self._segments.names():
            end = self._move(name, moved.get(name, 0))
            if name != self._spool.active:
                waiting += self._segments.size(name) - end
                self._drop(name, end)
        self._spool.set_waiting(waiting)

    def _move(self, name: str, offset: int) -> int:
        """Moves all whole lines of a segment; returns how far it is moved."""
        while lines := list(self._segments.lines(name, offset)):
            end = lines[-1].offset + len(lines[-1].text)
            entries = list(self._entries(lines))
            if not self._store.take(name, offset, end, entries):
                return offset
            self.moved += len(entries)
            offset = end
        return offset

    def _entries(self, lines: list[Line]) -> Iterator[Entry]:
        for line in lines:
            if not line.text.strip():
                continue
            try:
                yield Entry(line.segment, line.offset, RequestRecord.from_json(line.text))
            except ValueError:  # half a line that a full disk left behind, or a later version's
                self.unreadable += 1

    def _drop(self, name: str, moved_bytes: int) -> None:
        if self._segments.drop_if_abandoned(name, moved_bytes):
            self._store.forget(name)


async def _to_its_end(work: asyncio.Task[None]) -> None:
    """Waits for what runs in a thread, which no cancellation ends: whoever moves next must not meet it at work."""
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait((work,))
        if not work.cancelled():
            work.exception()  # told to nobody: the next flush meets the same store
        raise
