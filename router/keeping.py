"""The ledger as one service keeps it: spool, mover and store, or nothing when it is switched off."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from router.adapters.ledger_mover import LedgerMover
from router.adapters.ledger_spool import Segments, Spool
from router.adapters.sqlite_ledger import SqliteLedger
from router.records import RequestRecord
from router.settings import LedgerSettings

LAST_FLUSH_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class NoLedger:
    """Keeps nothing."""

    def append(self, record: RequestRecord) -> None:
        """Forgets the record."""


@dataclass(frozen=True)
class Keeping:
    """A ledger that is being kept."""

    spool: Spool
    mover: LedgerMover
    store: SqliteLedger

    def counts(self) -> Mapping[str, int]:
        """What became of records, for metrics."""
        return {
            "appended": self.spool.appended,
            "dropped": self.spool.dropped,
            "moved": self.mover.moved,
            "unreadable": self.mover.unreadable,
        }


@asynccontextmanager
async def keep_ledger(settings: LedgerSettings) -> AsyncIterator[Keeping | None]:
    """Moves records while entered, and what is left of them at the end. None when the ledger is switched off."""
    if not settings.enabled:
        yield None
        return
    spool = Spool(settings.folder / "spool", settings.spool_bytes_max)
    store = SqliteLedger(settings.folder / "ledger.sqlite")
    mover = LedgerMover(spool, Segments(settings.folder / "spool"), store, settings.flush_interval_ms / 1000)
    moving = asyncio.create_task(mover.run())
    try:
        yield Keeping(spool, mover, store)
    finally:
        moving.cancel()
        with suppress(asyncio.CancelledError):
            await moving
        spool.close()
        await _flush_the_rest(mover)


async def _flush_the_rest(mover: LedgerMover) -> None:
    try:
        async with asyncio.timeout(LAST_FLUSH_SECONDS):
            await mover.flush()
    except Exception as error:  # noqa: BLE001 - the records are safe in the spool; the next start moves them
        _log.warning("records wait in the spool for the next start", error=type(error).__name__)
