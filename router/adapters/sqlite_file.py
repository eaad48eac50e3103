"""One SQLite file (WAL). Each piece of work opens a connection: a disk that heals heals it, and it costs little."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from router.adapters.sqlite_schema import migrate
from servicekit.errors import Unavailable

BUSY_SECONDS = 2.0


class SqliteFile:
    """Opens connections. Everything here blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"SqliteFile({self.path})"

    def migrate(self) -> None:
        """Makes or updates the file. Raises Unavailable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable("STORE_UNREACHABLE", f"The ledger's folder can't be made: {error}.") from error
        with self.connection() as connection:
            migrate(connection)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own. Raises Unavailable for whatever ails the file."""
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise Unavailable("STORE_UNREACHABLE", f"The ledger's store can't be used: {error}.") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together, or not at all when the block raises."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
