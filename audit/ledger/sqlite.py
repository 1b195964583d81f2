"""SQLite as the ledger's store: one writer at a time, durable before COMMIT returns, readers never wait.

WAL with `synchronous=FULL`: the log is synced to disk before a COMMIT succeeds. `BEGIN IMMEDIATE` takes the write
lock before anything is read, so what a transaction reads is what it writes upon.
"""

import math
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from audit.ledger.errors import LedgerRefused
from audit.ledger.schema import tiles

_READERS = 8
_READERS_AT_MOST = 64
_WAL_PAGES = 4000  # 16 MiB between checkpoints of the WAL: each costs an fsync of the whole database.
_DURABLE = (
    "busy_timeout = 0",
    "synchronous = FULL",
    "foreign_keys = ON",
    f"wal_autocheckpoint = {_WAL_PAGES}",
    "cache_size = -65536",
)
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0003, 0.005
_STEPS = 20_000  # Of SQLite's virtual machine, well under a millisecond.
_TEMPORARY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_OUTSIDE = _TEMPORARY | {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}

_MEND: Final = (
    "stop whatever uses it and run `isthmus audit rebuild-index` on it, which makes every index anew from the records, or "
    "says that the damage is elsewhere"
)


class SqliteStore:
    """The connections to one database file.

    Args:
        url: `sqlite:///` and a path.
        timeout: seconds to wait for another process's lock.

    Raises:
        LedgerRefused: a database in memory, which no restart survives and no other process shares.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        database = make_url(url).database
        if not database or database == ":memory:" or "mode=memory" in database:
            raise LedgerRefused("a ledger needs a file, not a database in memory")
        self._path = Path(database)
        self._timeout = timeout
        self._patience = timeout
        self._writers = sa.create_engine(url, poolclass=NullPool, connect_args={"check_same_thread": False})
        self._readers = sa.create_engine(
            url,
            poolclass=QueuePool,
            pool_size=_READERS,
            max_overflow=_READERS_AT_MOST - _READERS,
            pool_timeout=timeout,
            connect_args={"check_same_thread": False},
        )
        sa.event.listen(self._writers, "connect", self._prepare_writer)
        sa.event.listen(self._readers, "connect", self._prepare_reader)
        sa.event.listen(self._writers, "begin", self._begin_writing)
        sa.event.listen(self._readers, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))

    errors: Final = (sa.exc.DBAPIError, sqlite3.Error)
    """What the database raises, through SQLAlchemy and past it."""
    conflict: Final = sqlite3.IntegrityError
    """What `run` raises when a row contradicts a constraint."""

    @property
    def dialect(self) -> sa.Dialect:
        """The dialect that statements are compiled for."""
        return self._writers.dialect

    def writer(self) -> sa.Connection:
        """A new connection whose transactions hold the write lock from their beginning."""
        return self._writers.connect()

    def reader(self) -> sa.Connection:
        """A connection that can only read; each transaction sees one snapshot."""
        return self._readers.connect()

    def wait_at_most(self, seconds: float) -> None:
        """Let the next BEGIN of the writer wait so long for the write lock."""
        self._patience = seconds

    @contextmanager
    def stop_after(self, connection: sa.Connection, seconds: float | None) -> Iterator[None]:
        """Interrupt the statements inside that are still under way after so many seconds."""
        if seconds is None:
            yield
            return
        driver = connection.connection.driver_connection
        deadline = time.monotonic() + seconds
        driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)  # type: ignore[union-attr]
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)  # type: ignore[union-attr]

    def run(self, connection: sa.Connection, sql: str, rows: Sequence[Sequence[Any]] = ()) -> list[Any]:
        """Run compiled SQL, once or once for each of `rows`, past all that SQLAlchemy would add to it.

        Raises:
            sqlite3.Error: as the driver does; `explain` reads it.
        """
        cursor = connection.connection.cursor()
        try:
            if rows:
                cursor.executemany(sql, rows)
                return []
            return list(cursor.execute(sql))
        finally:
            cursor.close()

    def put_tiles(self) -> sa.Insert:
        """The statement that stores a tile in place of a narrower one."""
        statement = insert(tiles)
        return statement.on_conflict_do_update(
            index_elements=["level", "idx"], set_={"data": statement.excluded.data}
        )

    def explain(self, error: Exception) -> str | None:
        """What prevents the database from working, in words; None for an error of the statement itself."""
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_CORRUPT:
            return f"{cause}; {_MEND}"
        return str(cause) if code in _OUTSIDE else None

    def storage(self) -> tuple[float, float]:
        """How many bytes the database and what SQLite keeps beside it take, and how many are free on their disk."""
        try:
            sides = [Path(f"{self._path}{side}") for side in ("", "-wal", "-shm")]
            taken = sum(each.stat().st_size for each in sides if each.exists())
            return taken, shutil.disk_usage(self._path.parent).free
        except OSError:
            return math.nan, math.nan

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._writers.dispose()
        self._readers.dispose()

    def _prepare_writer(self, connection: Any, _: object) -> None:
        connection.isolation_level = None  # Transactions begin where SQLAlchemy says so, and nowhere else.
        _patiently(lambda: _use_wal(connection), self._timeout)
        _pragmas(connection, _DURABLE)

    def _begin_writing(self, connection: sa.Connection) -> None:
        cursor = connection.connection.cursor()
        _patiently(lambda: cursor.execute("BEGIN IMMEDIATE"), self._patience)

    def _prepare_reader(self, connection: Any, _: object) -> None:
        connection.isolation_level = None
        _pragmas(connection, [f"busy_timeout = {int(self._timeout * 1000)}", "query_only = ON"])


def _pragmas(connection: Any, settings: Sequence[str]) -> None:
    for setting in settings:
        connection.execute(f"PRAGMA {setting}")


def _use_wal(connection: Any) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise LedgerRefused(f"its file system does not support a write-ahead log (journal mode {mode})")


def _patiently(action: Callable[[], object], seconds: float) -> None:
    # SQLite's own busy handler soon sleeps for 100 ms, where another gateway's commit takes one.
    deadline, pause = time.monotonic() + seconds, _SHORTEST_PAUSE
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            remaining = deadline - time.monotonic()
            if error.sqlite_errorcode & 0xFF not in _TEMPORARY or remaining <= 0:
                raise
        time.sleep(min(remaining, pause * random.uniform(0.5, 1.5)))
        pause = min(2 * pause, _LONGEST_PAUSE)
