"""A read-only connection pool to a department's database, with a time limit on every statement.

Engines differ in what they can promise, so each gets what it has: SQLite opens the file with `mode=ro` and
interrupts long statements; PostgreSQL and MySQL set a read-only session and a statement timeout. For others
give the node an account that can only read.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from services.manifest import SourceSettings

POOL_TIMEOUT_SECONDS: Final = 5
_STEPS_BETWEEN_CHECKS: Final = 10_000

_SESSION: Final[dict[str, Callable[[int], tuple[str, ...]]]] = {
    "postgresql": lambda seconds: (
        f"SET statement_timeout = {seconds * 1000}",
        "SET default_transaction_read_only = on",
    ),
    "mysql": lambda seconds: (
        f"SET SESSION max_execution_time = {seconds * 1000}",
        "SET SESSION TRANSACTION READ ONLY",
    ),
    "mariadb": lambda seconds: (
        f"SET SESSION max_statement_time = {seconds}",
        "SET SESSION TRANSACTION READ ONLY",
    ),
}


def make_engine(settings: SourceSettings) -> sa.Engine:
    """Makes the engine; nothing is connected yet.

    Raises:
        ValueError: the driver that the URL names is not installed.
    """
    url = sa.make_url(settings.url)
    options: dict[str, Any] = {
        "poolclass": QueuePool,
        "pool_size": settings.pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_TIMEOUT_SECONDS,
    }
    backend = url.get_backend_name()
    if backend == "sqlite":
        options["creator"] = lambda: _open_sqlite(str(url.database), settings.statement_timeout_seconds)
    else:
        # A network connection may have died in the pool; a local file has not.
        options["pool_pre_ping"] = True
    try:
        engine = sa.create_engine(url, **options)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise ValueError(f"the driver of {url.drivername} is not installed: {error}") from None
    if backend == "sqlite":
        event.listen(engine, "checkout", _require_same_file)
    if backend in _SESSION:
        _prepare_sessions(engine, _SESSION[backend](settings.statement_timeout_seconds))
    return engine


class _Deadlined(sqlite3.Connection):
    """A SQLite connection that interrupts whatever has run since `begin` for too long."""

    path: str = ""
    file: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    deadline: float = float("inf")

    def begin(self) -> None:
        self.deadline = time.monotonic() + self.seconds

    def expired(self) -> int:
        return int(time.monotonic() > self.deadline)


def _open_sqlite(path: str, seconds: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=ro",
        uri=True,
        check_same_thread=False,
        timeout=seconds,
        factory=_Deadlined,
    )
    connection.path, connection.seconds = path, float(seconds)
    try:
        connection.file = _identity(path)
    except OSError:
        connection.close()
        raise sqlite3.OperationalError("the database file has gone") from None
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.set_progress_handler(connection.expired, _STEPS_BETWEEN_CHECKS)
    return connection


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _require_same_file(raw: Any, _record: object, _proxy: object) -> None:
    # A pooled connection keeps a file open that has been moved away or replaced by last night's copy.
    try:
        current = _identity(raw.path)
    except OSError:
        current = None
    if current != raw.file:
        raise sa.exc.DisconnectionError


def start_clock(connection: sa.Connection) -> None:
    """Gives what this connection runs next its full time; only SQLite needs to be told."""
    raw = connection.connection.driver_connection
    if isinstance(raw, _Deadlined):
        raw.begin()


def _prepare_sessions(engine: sa.Engine, statements: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _: object) -> None:
        cursor = raw.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        # A rollback by the pool would otherwise take the settings back.
        raw.commit()
