"""What there is to learn from, out of the ledger's SQLite file; and shadow pairs into it. Every method blocks."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from router.adapters.sqlite_file import SqliteFile
from router.analysis import Task
from router.learning.evidence import Case, Evidence, Outcome, Pair
from router.learning.shadowing import Compared
from router.request import Tier

CASES_MAX = 5_000
OUTCOMES_MAX = 20_000
PAIRS_MAX = 20_000
RECEIVED_MAX = 2_000

OWN_ANALYSES = "('MODEL', 'CACHE_EXACT', 'CACHE_SIMILAR', 'COALESCED')"
"""Where scores come from that are on the analyzer's own scale."""

FIELDS = "requests.request_id, requests.tenant, requests.analysis, requests.estimated_costs"

ANSWERED = f"""
    requests.rpc IN ('Route', 'StreamRoute') AND requests.status = 'OK' AND requests.tier IS NOT NULL
    AND requests.analysis_source IN {OWN_ANALYSES} AND json_extract(requests.analysis, '$.revision') = :analyzer
"""

LATEST_ANALYZER = f"""
    SELECT json_extract(analysis, '$.revision') FROM requests
    WHERE analysis_source IN {OWN_ANALYSES} ORDER BY record DESC LIMIT 1
"""  # noqa: S608 - this file's own words

CASES = f"SELECT {FIELDS} FROM requests WHERE {ANSWERED} AND time >= :since ORDER BY record DESC LIMIT :most"  # noqa: S608 - this file's own words

OUTCOMES = f"""
    SELECT {FIELDS}, requests.tier, outcomes.score
    FROM outcomes JOIN requests USING (tenant, request_id)
    WHERE {ANSWERED} AND outcomes.time >= :since ORDER BY outcomes.time DESC LIMIT :most
"""  # noqa: S608 - this file's own words

PAIRS = f"""
    SELECT {FIELDS}, lower_tier, upper_tier, lower_score, upper_score
    FROM shadow_pairs JOIN requests USING (tenant, request_id)
    WHERE {ANSWERED} AND shadow_pairs.time >= :since ORDER BY shadow_pairs.time DESC LIMIT :most
"""  # noqa: S608 - this file's own words


class EvidenceStore:
    """Reads the newest of each kind, as long as they were made by the analyzer revision in use."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def __repr__(self) -> str:
        return f"EvidenceStore({self._file.path})"

    def evidence(self, tiers: tuple[Tier, ...]) -> Evidence:
        """Returns all there is to learn from, oldest first."""
        return self._read(tiers, "", (CASES_MAX, OUTCOMES_MAX, PAIRS_MAX))

    def received(self, tiers: tuple[Tier, ...], since: str) -> Evidence:
        """Returns the newest verdicts and pairs from a moment on (ISO 8601, UTC), oldest first, and no cases."""
        return self._read(tiers, since, (0, RECEIVED_MAX, RECEIVED_MAX))

    def _read(self, tiers: tuple[Tier, ...], since: str, most: tuple[int, int, int]) -> Evidence:
        with self._file.connection() as connection:
            latest = connection.execute(LATEST_ANALYZER).fetchone()
            given = {"analyzer": latest[0] if latest else "", "since": since}
            cases, outcomes, pairs = (
                connection.execute(query, given | {"most": limit}).fetchall()
                for query, limit in zip((CASES, OUTCOMES, PAIRS), most, strict=True)
            )
        return Evidence(
            tiers,
            tuple(_case(row) for row in reversed(cases)),
            tuple(Outcome(_case(row), Tier(row[4]), row[5]) for row in _within(tiers, reversed(outcomes), 1)),
            tuple(_pair(row) for row in _within(tiers, reversed(pairs), 2)),
        )

    def put_pair(self, pair: Compared, time: str) -> None:
        """Keeps a pair; a request has one at most."""
        row = (pair.tenant, pair.request_id, time, pair.policy_revision)
        scores = (int(pair.lower), int(pair.upper), pair.lower_score, pair.upper_score)
        with self._file.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO shadow_pairs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, *scores))


def _case(row: Sequence[Any]) -> Case:
    request_id, tenant, analysis, costs = row[:4]
    told = json.loads(analysis)
    small, medium, frontier = told["success"]
    known = {Tier[name]: float(cost) for name, cost in json.loads(costs).items() if cost is not None}
    return Case(request_id, tenant, Task(told["task"]), (small, medium, frontier), told["confidence"], known)


def _pair(row: Sequence[Any]) -> Pair:
    return Pair(_case(row), Tier(row[4]), Tier(row[5]), row[6], row[7])


def _within(tiers: tuple[Tier, ...], rows: Iterable[Sequence[Any]], columns: int) -> Iterable[Sequence[Any]]:
    """Yields rows whose tiers are in use, next to each other where there are two."""
    for row in rows:
        found = tuple(Tier(value) for value in row[4 : 4 + columns])
        if any(found == tiers[i : i + columns] for i in range(len(tiers))):
            yield row
