"""Every request that is let in is booked exactly once, however it ends."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from router.account import Account
from router.budgets import Budgets, Reservation
from router.observer import Fault, Observer, Settled, Stage, notify, staged
from router.ports import Ledger, WallClock
from router.records import RequestRecord
from router.request import RouteRequest
from router.sessions import Sessions
from router.terms import Terms
from servicekit.deadline import Clock
from servicekit.errors import ServiceError

ROUTE, STREAM_ROUTE, DECIDE = "Route", "StreamRoute", "Decide"
"""The RPC a request came by."""

SHADOW = "Shadow"
"""What stands there for an answer that nobody asked for, made to compare tiers."""


@dataclass(frozen=True)
class Books:
    """Opens an account for a request; settles it with the tenant's budget, the ledger and the session at the end."""

    ledger: Ledger
    budgets: Budgets
    sessions: Sessions
    observer: Observer
    now: WallClock
    clock: Clock = time.monotonic

    @contextmanager
    def open(self, request: RouteRequest, rpc: str, terms: Terms) -> Iterator[tuple[Account, Reservation]]:
        """Enters an open account and its reservation, and closes both at the end of the block."""
        account, reservation = Account(request, rpc, terms), self.budgets.open(request.tenant)
        started = self.clock()
        status, reason = "INTERNAL", ""
        try:
            yield account, reservation
            status = "OK"
        except ServiceError as error:
            status, reason = error.code, error.reason
            raise
        except (asyncio.CancelledError, GeneratorExit):
            status = "CANCELLED"
            raise
        except BaseException as error:
            reason = type(error).__name__
            raise
        finally:
            account.seconds["total"] = self.clock() - started
            with staged(self.observer, Stage.SETTLE, request):
                self._settle(account, reservation, status, reason)

    @contextmanager
    def timed(self, account: Account, stage: str) -> Iterator[None]:
        """Books the length of the block."""
        started = self.clock()
        try:
            yield
        finally:
            account.seconds[stage] = self.clock() - started

    def _settle(self, account: Account, reservation: Reservation, status: str, reason: str) -> None:
        now = self.now()
        if account.rpc == SHADOW:
            account.top_tier_micros = 0  # with the top tier alone nobody would have made it
        else:
            account.count_top_tier(now)
        record = account.record(status, reason, now)
        answered = account.answered_tier()
        reservation.settle(record.cost_micros, answered)
        if answered is not None:
            self.sessions.used(account.request.tenant, account.request.session_id, answered)
        notify(self.observer.settled, Settled(record, kept=self._keep(record)))

    def _keep(self, record: RequestRecord) -> bool:
        """Returns whether the ledger has it; a Decide that cost nothing is not worth a row."""
        if record.rpc == DECIDE and record.cost_micros == 0:
            return True
        try:
            self.ledger.append(record)
        except Exception as error:  # noqa: BLE001 - a full disk costs a row, not an answer
            notify(self.observer.fault, Fault("ledger", error))
            return False
        return True
