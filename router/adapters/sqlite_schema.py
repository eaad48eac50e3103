"""The SQLite ledger's tables, as steps from the empty file on; a file remembers in `user_version` how far it is."""

import sqlite3

from router.adapters.policy_schema import LEARNING

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE requests (
        record INTEGER PRIMARY KEY,
        segment TEXT NOT NULL,
        segment_offset INTEGER NOT NULL,
        request_id TEXT NOT NULL,
        tenant TEXT NOT NULL,
        rpc TEXT NOT NULL,
        time TEXT NOT NULL,
        day TEXT NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        finish_reason TEXT NOT NULL,
        team TEXT NOT NULL,
        feature TEXT NOT NULL,
        labels TEXT NOT NULL,
        session_id TEXT NOT NULL,
        decided_tier INTEGER,
        tier INTEGER,
        backend TEXT NOT NULL,
        cause TEXT NOT NULL,
        policy_revision TEXT NOT NULL,
        price_revision TEXT NOT NULL,
        cost_micros INTEGER,
        top_tier_micros INTEGER,
        analysis_source TEXT NOT NULL,
        analysis_cost_micros INTEGER,
        analysis TEXT NOT NULL,
        predicted_success TEXT NOT NULL,
        timings TEXT NOT NULL,
        UNIQUE (segment, segment_offset)
    );
    CREATE INDEX requests_by_id ON requests (tenant, request_id);
    CREATE INDEX requests_by_time ON requests (time);
    CREATE TABLE attempts (
        record INTEGER NOT NULL REFERENCES requests (record),
        position INTEGER NOT NULL,
        tier INTEGER NOT NULL,
        backend TEXT NOT NULL,
        model TEXT NOT NULL,
        outcome TEXT NOT NULL,
        duration REAL NOT NULL,
        time_to_first_token REAL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        estimated INTEGER NOT NULL,
        cost_micros INTEGER,
        PRIMARY KEY (record, position)
    ) WITHOUT ROWID;
    CREATE TABLE segments (name TEXT PRIMARY KEY, moved_bytes INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE outcomes (
        tenant TEXT NOT NULL,
        request_id TEXT NOT NULL,
        score REAL NOT NULL,
        preferred_tier INTEGER,
        time TEXT NOT NULL,
        PRIMARY KEY (tenant, request_id)
    ) WITHOUT ROWID;
    """,
    LEARNING,
)


class NewerSchema(Exception):
    """The file was written by a later version of this program."""


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the file to the newest schema, each step whole or not at all."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise NewerSchema(f"the ledger has schema {version}, this version knows {len(MIGRATIONS)}; update the router")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
