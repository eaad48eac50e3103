"""Policies in the ledger's SQLite file: every version is kept, one of them serves. Every method blocks."""

import sqlite3
from dataclasses import replace

from router.adapters.sqlite_file import SqliteFile
from router.learning.ports import Serving
from router.learning.versions import State, Version, from_json, to_json
from servicekit.errors import Unavailable

TOP = "SELECT place, revision, since FROM serving ORDER BY place DESC LIMIT 1"


class PolicyStore:
    """Changes are made in transactions, so two routers never promote or go back at the same time."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def __repr__(self) -> str:
        return f"PolicyStore({self._file.path})"

    def put(self, version: Version) -> None:
        """Keeps a new version."""
        with self._file.transaction() as connection:
            row = (version.policy.revision, version.created, to_json(version))
            connection.execute("INSERT INTO policies VALUES (?, ?, ?)", row)

    def get(self, revision: str) -> Version | None:
        """Returns a version; None when there is none of that name."""
        with self._file.connection() as connection:
            return _read(connection, revision)

    def revisions(self) -> list[str]:
        """Returns the names of all versions, oldest first."""
        with self._file.connection() as connection:
            return [row[0] for row in connection.execute("SELECT revision FROM policies ORDER BY created, revision")]

    def serving(self) -> Serving | None:
        """Returns the version that serves; None when it is the configuration's own."""
        with self._file.connection() as connection:
            return _serving(connection)

    def promote(self, revision: str, now: str) -> Serving | None:
        """Makes a version serve, unless it does; None when there is none of that name."""
        with self._file.transaction() as connection:
            version = _read(connection, revision)
            if version is None:
                return None
            before = _serving(connection)
            if before is None or before.version.policy.revision != revision:
                if before is not None:
                    _write(connection, replace(before.version, state=State.RETIRED, note=f"Replaced by {revision}."))
                _write(connection, replace(version, state=State.PROMOTED, note=""))
                connection.execute("INSERT INTO serving (revision, since) VALUES (?, ?)", (revision, now))
            return _serving(connection)

    def rollback(self, now: str, note: str, expected: str = "") -> bool:
        """Goes back one version; whether it did.

        It does not when the configuration's own serves, or another version than `expected`, if that is given.
        """
        with self._file.transaction() as connection:
            top = connection.execute(TOP).fetchone()
            if top is None or expected not in {"", top[1]}:
                return False
            connection.execute("DELETE FROM serving WHERE place = ?", (top[0],))
            if (left := _read(connection, top[1])) is not None:
                _write(connection, replace(left, state=State.RETIRED, note=note))
            again = connection.execute(TOP).fetchone()
            if again is not None and (version := _read(connection, again[1])) is not None:
                _write(connection, replace(version, state=State.PROMOTED, note=""))
                connection.execute("UPDATE serving SET since = ? WHERE place = ?", (now, again[0]))
        return True


def _serving(connection: sqlite3.Connection) -> Serving | None:
    top = connection.execute(TOP).fetchone()
    if top is None:
        return None
    version = _read(connection, top[1])
    return None if version is None else Serving(version, top[2])


def _read(connection: sqlite3.Connection, revision: str) -> Version | None:
    row = connection.execute("SELECT document FROM policies WHERE revision = ?", (revision,)).fetchone()
    if row is None:
        return None
    try:
        return from_json(row[0])
    except ValueError as error:
        raise Unavailable("POLICY_UNREADABLE", f"The policy {revision} was written by another version.") from error


def _write(connection: sqlite3.Connection, version: Version) -> None:
    row = (to_json(version), version.policy.revision)
    connection.execute("UPDATE policies SET document = ? WHERE revision = ?", row)
