"""The ledger's store in SQLite (WAL): records in, sums and verdicts out. Every method blocks; call it in a thread."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from router.adapters.sqlite_file import SqliteFile
from router.adapters.sqlite_rows import Entry, insert
from router.request import Tier
from router.usage import UsageSum

DIMENSIONS = {
    "TENANT": "requests.tenant",
    "TEAM": "requests.team",
    "FEATURE": "requests.feature",
    "TIER": "requests.tier",
    "BACKEND": "requests.backend",
    "DAY": "requests.day",
}
"""What usage is grouped by: the wire's names, and nothing of a caller's gets into the SQL."""

USAGE = """
    WITH tried AS (
        SELECT record, COUNT(*) AS attempts,
            SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens
        FROM attempts GROUP BY record
    )
    SELECT {groups}
        COUNT(*), COALESCE(SUM(attempts), 0), COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0),
        COALESCE(SUM(cost_micros), 0) AS cost, COALESCE(SUM(analysis_cost_micros), 0),
        COALESCE(SUM(top_tier_micros - cost_micros), 0), SUM(cost_micros IS NULL)
    FROM requests LEFT JOIN tried USING (record)
    WHERE time >= ? AND time < ? AND (? = '' OR tenant = ?)
    {clause} ORDER BY cost DESC
"""


class SqliteLedger:
    """Requests, attempts and verdicts in one file."""

    def __init__(self, path: Path) -> None:
        self.file = SqliteFile(path)

    def __repr__(self) -> str:
        return f"SqliteLedger({self.file.path})"

    def migrate(self) -> None:
        """Makes or updates the file."""
        self.file.migrate()

    def moved_bytes(self) -> dict[str, int]:
        """How much of each segment is in the store."""
        with self.file.connection() as connection:
            return dict(connection.execute("SELECT name, moved_bytes FROM segments"))

    def take(self, segment: str, begin: int, end: int, entries: Iterable[Entry]) -> bool:
        """Keeps the entries of one piece of a segment, all or none; False when another process took it before."""
        with self.file.transaction() as connection:
            row = connection.execute("SELECT moved_bytes FROM segments WHERE name = ?", (segment,)).fetchone()
            if (row[0] if row else 0) != begin:
                return False
            for entry in entries:
                insert(connection, entry)
            connection.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (segment, end))
        return True

    def forget(self, segment: str) -> None:
        """Drops the memory of a segment that is deleted."""
        with self.file.transaction() as connection:
            connection.execute("DELETE FROM segments WHERE name = ?", (segment,))

    def usage(self, dimensions: Sequence[str], start: str, end: str, tenant: str = "") -> list[UsageSum]:
        """Sums by the dimensions named (keys of DIMENSIONS), dearest first; times in ISO 8601, UTC."""
        columns = [DIMENSIONS[name] for name in dimensions]
        clause = f"GROUP BY {', '.join(columns)}" if columns else ""
        groups = "".join(f"{column}, " for column in columns)
        query = USAGE.format(groups=groups, clause=clause)
        with self.file.connection() as connection:
            rows = connection.execute(query, (start, end, tenant, tenant)).fetchall()
        # Without groups SQL gives one row even for nothing at all.
        return [_sum(row, dimensions) for row in rows if row[len(dimensions)]]

    def knows(self, tenant: str, request_id: str) -> bool:
        """Whether the tenant's request is in the store."""
        query = "SELECT 1 FROM requests WHERE tenant = ? AND request_id = ? LIMIT 1"
        with self.file.connection() as connection:
            return connection.execute(query, (tenant, request_id)).fetchone() is not None

    def first_call(self, tenant: str, request_id: str) -> tuple[int | None] | None:
        """Returns the cost of the tenant's request of that id; None when it was not answered, not even in part.

        A decision alone, and a call that failed, stand in nobody's way.
        """
        query = """
            SELECT cost_micros FROM requests WHERE tenant = ? AND request_id = ? AND rpc != 'Decide'
            AND (status = 'OK' OR (rpc = 'StreamRoute' AND tier IS NOT NULL)) ORDER BY record LIMIT 1
        """
        with self.file.connection() as connection:
            row: tuple[int | None] | None = connection.execute(query, (tenant, request_id)).fetchone()
            return row

    def put_outcome(self, tenant: str, request_id: str, score: float, preferred_tier: int | None, time: str) -> bool:
        """Keeps a verdict; whether it replaced an earlier one."""
        key = (tenant, request_id)
        with self.file.transaction() as connection:
            found = connection.execute("SELECT 1 FROM outcomes WHERE tenant = ? AND request_id = ?", key).fetchone()
            connection.execute(
                "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?)", (*key, score, preferred_tier, time)
            )
        return found is not None


def _sum(row: Sequence[Any], dimensions: Sequence[str]) -> UsageSum:
    width = len(dimensions)
    group = tuple(_shown(name, value) for name, value in zip(dimensions, row[:width], strict=True))
    return UsageSum(group, *(int(value or 0) for value in row[width:]))


def _shown(dimension: str, value: Any) -> str:
    if value is None:
        return ""
    return Tier(value).name if dimension == "TIER" else str(value)
