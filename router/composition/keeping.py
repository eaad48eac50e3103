"""The ledger as one service keeps it: spool, mover and store, or nothing when it is switched off."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from router.adapters.ledger_mover import LedgerMover
from router.adapters.ledger_spool import Segments, Spool
from router.adapters.sqlite_ledger import SqliteLedger
from router.budgets import TenantBudgets
from router.once import FirstCall
from router.records import RequestRecord
from router.request import Tier
from router.settings import LedgerSettings
from servicekit.errors import Unavailable

LAST_FLUSH_SECONDS = 5.0
END_OF_TIME = "9999"

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

    async def earlier(self, tenant: str, request_id: str) -> FirstCall | None:
        """What is known of a request that was answered before."""
        row = await asyncio.to_thread(self.store.first_call, tenant, request_id)
        return None if row is None else FirstCall(row[0])

    async def restore(self, budgets: TenantBudgets) -> None:
        """Books what the ledger says was spent today. A store that is away leaves the budgets untouched."""
        midnight = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            await self.mover.flush()
            sums = await asyncio.to_thread(self.store.usage, ["TENANT", "TIER"], midnight.isoformat(), END_OF_TIME)
        except Unavailable as error:
            _log.warning("budgets begin anew: the ledger can't be read", reason=error.message)
            return
        for tenant in {each.group[0] for each in sums}:
            spent = {each.group[1]: each.cost_micros for each in sums if each.group[0] == tenant}
            budgets.restore(tenant, sum(spent.values()), spent.get(Tier.LARGE.name, 0))

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
