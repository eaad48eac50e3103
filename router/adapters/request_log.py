"""One line a request in the log, at most: what became of it, never what it said."""

import structlog

from router.observer import Fault, Observer, Refused, Settled
from router.request import Tier

_log = structlog.get_logger("router.requests")


class RequestLog(Observer):
    """Hears of ends, refusals and bugs."""

    def settled(self, fact: Settled) -> None:
        """Writes how the request ended; at the level of a warning when the caller got no answer."""
        record = fact.record
        write = _log.info if record.status in {"OK", "CANCELLED"} else _log.warning
        skipped = {rung.lower(): reason for rung, reason in record.analysis.skipped}
        write(
            "request",
            request_id=record.request_id,
            rpc=record.rpc,
            tenant=record.tenant,
            status=record.status,
            **({"reason": record.reason} if record.reason else {}),
            tier=None if record.tier is None else Tier(record.tier).name,
            backend=record.backend,
            cause=record.cause,
            analysis=record.analysis.source,
            **({"skipped": skipped} if skipped else {}),
            attempts=len(record.attempts),
            cost_micros=record.cost_micros,
            milliseconds=round(1000 * (record.timings.get("total") or 0.0), 1),
        )

    def refused(self, fact: Refused) -> None:
        """Writes that a request was turned away; below the level of operation: a flood must not flood the log."""
        _log.debug("refused", request_id=fact.request.request_id, tenant=fact.request.tenant, reason=fact.reason)

    def fault(self, fact: Fault) -> None:
        """Writes a bug's place and kind."""
        _log.error("fault", where=fact.where, exc_info=fact.error)
