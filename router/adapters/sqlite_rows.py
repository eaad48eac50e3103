"""A ledger record as rows of SQLite."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from router.records import RequestRecord


@dataclass(frozen=True)
class Entry:
    """A record and where in the spool it stood."""

    segment: str
    offset: int
    record: RequestRecord


def insert(connection: sqlite3.Connection, entry: Entry) -> None:
    """Keeps the record: one row for the request, one for each attempt."""
    record = entry.record
    values: dict[str, Any] = {
        "segment": entry.segment,
        "segment_offset": entry.offset,
        "request_id": record.request_id,
        "tenant": record.tenant,
        "rpc": record.rpc,
        "time": record.time,
        "day": record.time[:10],
        "status": record.status,
        "reason": record.reason,
        "finish_reason": record.finish_reason,
        "team": record.team,
        "feature": record.feature,
        "labels": json.dumps(dict(record.labels)),
        "session_id": record.session_id,
        "decided_tier": record.decided_tier,
        "tier": record.tier,
        "backend": record.backend,
        "cause": record.cause,
        "policy_revision": record.policy_revision,
        "price_revision": record.price_revision,
        "cost_micros": record.cost_micros,
        "top_tier_micros": record.top_tier_micros,
        "analysis_source": record.analysis.source,
        "analysis_cost_micros": record.analysis.cost_micros,
        "analysis": json.dumps(vars(record.analysis)),
        "predicted_success": json.dumps(dict(record.predicted_success)),
        "estimated_costs": json.dumps(dict(record.estimated_costs)),
        "timings": json.dumps(dict(record.timings)),
    }
    row = _insert_into(connection, "requests", values)
    for position, attempt in enumerate(record.attempts):
        _insert_into(connection, "attempts", {"record": row, "position": position, **vars(attempt)})


def _insert_into(connection: sqlite3.Connection, table: str, values: dict[str, Any]) -> int | None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    # Names come from this file and from the record's own fields, never from a caller.
    cursor = connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608
    return cursor.lastrowid
