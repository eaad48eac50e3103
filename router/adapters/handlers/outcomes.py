"""Callers' verdicts, kept beside the request they are about."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Protocol

from tinyroute.router.v1 import router_pb2

from servicekit.errors import NotFound, Unimplemented

SCORES = {router_pb2.VERDICT_GOOD: 1.0, router_pb2.VERDICT_BAD: 0.0}


class OutcomeStore(Protocol):
    """Where requests and verdicts are. Blocks."""

    def knows(self, tenant: str, request_id: str) -> bool:
        """Whether the tenant's request is there."""
        ...

    def put_outcome(self, tenant: str, request_id: str, score: float, preferred_tier: int | None, time: str) -> bool:
        """Keeps a verdict; whether it replaced one."""
        ...


class StoredOutcomes:
    """Verdicts in the ledger's store. `flush` brings the store up to date: an answer of a moment ago can be judged."""

    def __init__(self, store: OutcomeStore, flush: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._flush = flush

    async def report(self, tenant: str, report: router_pb2.ReportOutcomeRequest) -> bool:
        """Keeps a verdict; raises NotFound for a request that is not the tenant's."""
        await self._flush()
        if not await asyncio.to_thread(self._store.knows, tenant, report.request_id):
            raise NotFound("REQUEST_NOT_FOUND", "There is no request of that id.")
        score = SCORES[report.verdict] if report.HasField("verdict") else report.score
        now = dt.datetime.now(dt.UTC).isoformat()
        preferred = report.preferred_tier or None
        return await asyncio.to_thread(self._store.put_outcome, tenant, report.request_id, score, preferred, now)


class NoOutcomes:
    """What a router without a ledger says."""

    async def report(self, tenant: str, report: router_pb2.ReportOutcomeRequest) -> bool:  # noqa: ARG002
        """Not here."""
        raise Unimplemented("LEDGER_SWITCHED_OFF", "Verdicts are kept in the ledger, which is switched off here.")
